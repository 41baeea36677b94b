"""How the instances that an event reached stand now, and whether the event still waits there.

Read from the log, so it is true now, whatever the lists have seen.
"""

from __future__ import annotations

from msgspec import Struct

from sagas.names import BadName
from store.client import SagaClient
from store.event_story import Place, Story

STANDING_MAX = 20  # instances whose present status is looked up


class Standing(Struct, frozen=True):
    """How an instance stands now, and where in it the event still waits."""

    status: str
    waits: Place | None


async def standing_of(client: SagaClient, story: Story) -> dict[tuple[str, str], Standing]:
    """The standing of the first instances of the event itself, by saga and key; those that do not
    exist are left out. Raises Unreachable.
    """
    addresses = list(dict.fromkeys((one.saga, one.key) for one in story.own if one.key))
    found: dict[tuple[str, str], Standing] = {}
    for saga, key in addresses[:STANDING_MAX]:
        try:
            instance = await client.get(saga, key)
        except BadName:  # a dead letter may claim any key
            continue
        if instance is None:
            continue
        parked = instance.parked.cause if instance.parked else None
        waits: Place | None = None
        if parked is not None and (parked.kind, parked.seq) == ("event", story.seq):
            waits = "parked"
        elif any((one.kind, one.seq) == ("event", story.seq) for one in instance.backlog):
            waits = "backlog"
        found[saga, key] = Standing(instance.status, waits)
    return found
