"""Goal: a position is believed only while its event is there; new events are never skipped.

Method: an events stream of a memory broker, and positions that claim more than it holds, as after
a power cut without synced writes.
"""

from __future__ import annotations

import pytest
from msgspec import Raw, structs

from jobs.recovery import events_after
from sagas.effects import Complete, Send
from sagas.instance import decode, encode
from sagas.messages import EPOCH, Cause
from store.audit import lost_events, positions_of, torn_commits
from store.codec import Position
from store.port import Stored
from tests.unit.jobs.rig import Rig

pytestmark = pytest.mark.asyncio


async def _events(rig: Rig, count: int) -> list[int]:
    """Publish that many events, a second apart; when each was stored."""
    stored_at: list[int] = []
    for _ in range(count):
        await rig.broker.advance(1)
        seq = await rig.publish("Placed", "o-1", {"order": "o-1"})
        event = rig.broker.events.get(seq)
        assert event is not None
        stored_at.append(event.at_ns)
    return stored_at


def _position(events: int, at_ns: int) -> Position:
    return Position(events=events, signals=0, owner="e", batch="b", events_at_ns=at_ns)


async def test_a_position_is_believed_while_its_event_is_there(rig: Rig) -> None:
    at = await _events(rig, 5)
    assert await events_after(rig.outside.log, _position(5, at[4]), 0) == 5
    assert await events_after(rig.outside.log, _position(5, 0), 0) == 5
    assert await events_after(rig.outside.log, _position(0, 0), 0) == 0


async def test_a_position_beyond_the_end_goes_back_to_the_end(rig: Rig) -> None:
    at = await _events(rig, 5)
    assert await events_after(rig.outside.log, _position(9, at[4] + 10), 0) == 5
    assert await events_after(rig.outside.log, _position(9, 0), 0) == 5


@pytest.mark.parametrize("kept", [0, 1, 3, 6])
async def test_sequences_given_out_again_are_read_again(rig: Rig, kept: int) -> None:
    at = await _events(rig, 8)
    lost_at = (at[kept - 1] if kept else at[0] - 1_000_000_000) + 1
    assert await events_after(rig.outside.log, _position(7, lost_at), 0) == kept


async def test_a_lane_reads_what_came_after_a_loss(rig: Rig) -> None:
    lane = await rig.lane()
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    await rig.drained()
    for number in lane.partitions:
        await lane.release(number)
    number = next(n for n in range(4) if rig.position(n).events)
    claimed = _position(40, rig.position(number).events_at_ns + 5)
    await rig.move(number, claimed)
    assert await lost_events(
        rig.outside.log, await positions_of(rig.outside.log, rig.names, 4)
    ) == [f"partition {number} was read up to event 40, which is gone"]
    await rig.broker.advance(1)
    await rig.publish("Noted", "o-1", {"order": "o-1", "n": 1})
    await rig.lane()
    await rig.until(lambda: rig.last("Order", "o-1").version == 2, "the new event being handled")
    assert rig.position(number).events == 2


async def test_a_commit_without_its_end_is_named(rig: Rig) -> None:
    lane = await rig.lane()
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    await rig.drained()
    for number in lane.partitions:
        await lane.release(number)
    positions = await positions_of(rig.outside.log, rig.names, 4)
    revisions = list(rig.broker.log.since(0, [rig.names.instances()]))
    assert torn_commits(revisions, positions, rig.names) == []
    torn = Stored(rig.names.instance("Order", "o-2"), 99, 0, b"{}")
    light = structs.replace(
        decode(revisions[0].data),
        effects=(Send(target="pay", id="x", inline=True), Complete()),
        cause=Cause(kind="event", type="t", id="", seq=0, at=EPOCH, execution=Raw(b"{}")),
    )
    whole = structs.replace(torn, data=encode(light))
    assert torn_commits([*revisions, whole], positions, rig.names) == []
    sends = structs.replace(light, effects=(Send(target="pay", id="x"),))
    assert torn_commits([structs.replace(torn, data=encode(sends))], positions, rig.names)
    (fault,) = torn_commits([*revisions, torn], positions, rig.names)
    assert "revision 99 of Order/o-2" in fault
    assert await lost_events(rig.outside.log, positions) == []
