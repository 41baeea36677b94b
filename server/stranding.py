"""The look at running instances before an engine starts with changed code.

Refuses the start when instances could not go on, with how many and why; whoever knows better says
so. What workers of ours no longer serve is only told: they may run elsewhere, from another app.
"""

from __future__ import annotations

import logging

from server.connecting import Runtime
from server.errors import SetupError
from server.loading import App
from store.stranding import Survey, retire, survey

log = logging.getLogger("snorri")

SHOWN_MAX = 8


class WouldStrand(SetupError):
    """Instances that are not ended could not go on with this code."""

    def __init__(self, found: Survey) -> None:
        lines = [f"this code would strand {found.instances} of the instances that are not ended:"]
        lines += told(found)
        lines.append(
            "Bring back what is gone, give an upcaster for a changed state, or end the instances"
            " first; `snorri check` tells it without a start. To go on all the same:"
            " --allow-stranded."
        )
        super().__init__("\n".join(lines))


def told(found: Survey) -> list[str]:
    """The reasons, one a line, the most frequent first."""
    ordered = sorted(found.stranded, key=lambda one: (-one.instances, one.saga, one.reason))
    lines = [
        f"  {one.saga}: {one.reason} ({one.instances}"
        + (f", for example {one.example})" if one.example else " open)")
        for one in ordered[:SHOWN_MAX]
    ]
    more = len(ordered) - len(lines)
    return [*lines, f"  and for {more} more reasons"] if more > 0 else lines


async def look_before_start(runtime: Runtime, app: App, *, allow: bool) -> None:
    """Raises WouldStrand when code that has changed since the last start strands instances, unless
    ``allow`` says to tell it only; raises StoreError.
    """
    found = await survey(
        *(runtime.backend, runtime.names, app.registry, app.jobs.targets), changed_only=True
    )
    if found.looked:
        log.info("looked at %d instances of %d changed sagas", found.looked, found.sagas)
    if app.jobs.targets:
        for target, count in found.jobs.items():
            log.warning("%d commands wait for the job %r, which this app has not", count, target)
    if found.stranded and not allow:
        raise WouldStrand(found)
    await retire(runtime.backend.meta, found.idle)
    for line in told(found):
        log.warning("stranded: %s", line.strip())
