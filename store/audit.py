"""What the streams say about each other: whether a server has lost its last writes.

The chain of hashes proves that nothing within a history was lost; it can't see that the end of a
stream is gone. Two signs can: a position whose event is gone or another one, and revisions after
the last position, since each commit of messages ends with the positions it moved. Looks, never
writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from sagas.effects import Cancel, Compensate, Complete, Fail, Send
from sagas.errors import IllegalTransition
from sagas.instance import decode
from sagas.messages import NULL
from store.codec import Position
from store.port import Log, Stored
from store.subjects import BadName, Names


async def positions_of(log: Log, names: Names, partitions: int) -> dict[int, Stored]:
    """The position records from the leader, by partition; raises Unreachable."""
    found: dict[int, Stored] = {}
    for number in range(partitions):
        stored = await log.read(names.position(number))
        if stored is not None:
            found[number] = stored
    return found


async def lost_events(log: Log, positions: Mapping[int, Stored]) -> list[str]:
    """Partitions whose last event is not in its stream any more, in words; raises Unreachable."""
    faults: list[str] = []
    for number, stored in sorted(positions.items()):
        try:
            position = msgspec.json.decode(stored.data, type=Position)
        except msgspec.DecodeError as error:
            faults.append(f"the position of partition {number} can't be read: {error}")
            continue
        if position.events == 0:
            continue
        event = await log.at("events", position.events)
        if event is None:
            faults.append(
                f"partition {number} was read up to event {position.events}, which is gone"
            )
        elif position.events_at_ns not in (0, event.at_ns):
            faults.append(
                f"partition {number} was read up to event {position.events}, which was lost: its"
                " number was given out again"
            )
    return faults


def torn_commits(
    revisions: Iterable[Stored], positions: Mapping[int, Stored], names: Names
) -> list[str]:
    """Revisions stored after every position: the end of their commit is gone, in words.

    One that only records what a step of the engine's own came to is a whole commit by itself.
    """
    newest = max((stored.seq for stored in positions.values()), default=0)
    faults: list[str] = []
    for stored in revisions:
        if stored.seq <= newest or _is_whole(stored):
            continue
        try:
            saga, key = names.parse_instance(stored.subject)
        except BadName:
            continue
        faults.append(
            f"revision {stored.seq} of {saga}/{key} has lost the end of its commit: commands it"
            " sent may be missing (`snorri retry` sends an open one again)"
        )
    return faults


def _is_whole(stored: Stored) -> bool:
    try:
        instance = decode(stored.data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, IllegalTransition):
        return False
    silent = (Complete, Fail, Cancel, Compensate)
    return instance.cause.execution != NULL and all(
        isinstance(effect, silent) or (isinstance(effect, Send) and effect.inline)
        for effect in instance.effects
    )
