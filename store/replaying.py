"""What-if over stored histories: one instance, or all of a saga, in a bounded amount of memory.

Reads and decides; nothing is sent and nothing is stored. A history is given to ``sagas.replay``
version by version as it is read, and of an outcome only what was asked for is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from itertools import islice

from msgspec import MsgspecError, Struct

from sagas.definition import SagaDefinition
from sagas.errors import SagaError
from sagas.replay import Rerun, Step
from store.client import SagaClient
from store.closing import closing

AT_ONCE = 8  # histories read at the same time
BREATH = 50  # versions decided before others of this process have their turn


class Replayed(Struct, frozen=True, kw_only=True):
    """What the definition of now makes of an instance.

    ``changed`` of its ``versions`` would not be as they were; ``kept`` are the first of those.
    ``definition`` is the hash of the code that decided the last version. ``fault`` says why the
    history could not be replayed to its end, empty when it was.
    """

    key: str
    versions: int
    changed: int
    kept: tuple[Step, ...]
    definition: str
    fault: str = ""

    @property
    def first(self) -> Step | None:
        """The first version that would not be as it was."""
        return self.kept[0] if self.kept else None


async def replay_instance(
    client: SagaClient,
    definition: SagaDefinition,
    key: str,
    *,
    to: int | None = None,
    keep: int | None = None,
) -> Replayed:
    """Replay one instance up to version ``to``; of the versions that differ the first ``keep`` are
    kept (None: all). Without a history ``versions`` is 0. Raises Unreachable.
    """
    rerun = Rerun(definition)
    versions = changed = 0
    kept: list[Step] = []
    code = fault = ""
    try:
        async with closing(client.history(definition.id, key)) as history:
            async for revision in history:
                if to is not None and versions == to:
                    break
                step = rerun.step(revision.instance)
                versions += 1
                code = revision.instance.definition
                if not step.same:
                    changed += 1
                    if keep is None or len(kept) < keep:
                        kept.append(step)
                if versions % BREATH == 0:
                    await asyncio.sleep(0)
    except (SagaError, MsgspecError, ValueError) as error:
        fault = str(error)
    return Replayed(
        key=key,
        versions=versions,
        changed=changed,
        kept=tuple(kept),
        definition=code,
        fault=fault,
    )


async def replay_keys(
    client: SagaClient,
    definition: SagaDefinition,
    keys: Iterable[str],
    *,
    to: int | None = None,
    keep: int | None = 1,
) -> AsyncIterator[Replayed]:
    """Replay instances one after the other, in the order of ``keys``; raises Unreachable."""
    left = iter(keys)
    while some := list(islice(left, AT_ONCE)):
        replays = (replay_instance(client, definition, key, to=to, keep=keep) for key in some)
        for found in await asyncio.gather(*replays):
            yield found
