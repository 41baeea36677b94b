"""Goal: no outcome of a commit, and no other writer, makes the lane lose or repeat a message.

Method: faults are scripted on the memory broker (lost requests, lost replies, late batches, stale
replicas, full brokers), or a second writer moves an instance or a position between load and commit.
Afterwards the histories hold each message once, with an unbroken chain.
"""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from sagas.instance import document_hash, encode
from store.codec import Position
from store.memory import (
    Answer,
    Fault,
    Hold,
    LoseReply,
    LoseRequest,
    ScriptedFaults,
    Stale,
    StoreLate,
)
from store.port import Busy, Conflict, Invalid, Unknown
from tests.unit.jobs.rig import Rig

pytestmark = pytest.mark.asyncio
KEYS = [f"o-{n}" for n in range(12)]


async def _place_all(rig: Rig) -> None:
    for key in KEYS:
        await rig.publish("Placed", key, {"order": key})


def _all_once(rig: Rig) -> None:
    assert rig.keys("Order") == set(KEYS)
    assert {rig.last("Order", key).version for key in KEYS} == {1}
    assert len(rig.command_ids("pay")) == len(set(rig.command_ids("pay"))) == len(KEYS)
    assert rig.letters() == []


@pytest.mark.parametrize(
    "fault",
    [
        LoseRequest(),
        LoseReply(),
        Answer(Busy("no room")),
        Answer(Conflict("10164 somebody writes")),
        Answer(Unknown("who knows")),
    ],
    ids=lambda fault: type(fault).__name__,
)
@pytest.mark.parametrize("times", [1, 3])
async def test_every_outcome_of_a_commit_ends_with_each_message_once(
    rig: Rig, faults: ScriptedFaults, fault: Fault, times: int
) -> None:
    faults.on("log.commit", fault, times=times, process="engine1")
    await _place_all(rig)
    await rig.lane()
    await rig.drained()
    for key in KEYS:
        await rig.publish("Noted", key, {"order": key, "n": 1})
    await rig.drained()
    assert {rig.last("Order", key).version for key in KEYS} == {2}
    assert len(rig.commands("pay")) == len(KEYS)
    assert rig.lanes[0].partitions == (0, 1, 2, 3)


async def test_a_commit_that_arrives_late_is_stored_instead_of_its_repetition_or_not_at_all(
    rig: Rig, faults: ScriptedFaults
) -> None:
    faults.on("log.commit", StoreLate(0.5), process="engine1")
    await _place_all(rig)
    lane = await rig.lane()
    await rig.drained()
    await rig.broker.advance(1)  # now the late one arrives, and is refused
    _all_once(rig)
    assert lane.partitions == (0, 1, 2, 3)


async def test_a_late_commit_that_wins_is_recognised_as_somebody_elses(
    rig: Rig, faults: ScriptedFaults
) -> None:
    held = asyncio.Event()
    faults.on("log.commit", StoreLate(0.5), process="engine1")
    faults.on("log.commit", Hold(held), process="engine1")
    await _place_all(rig)
    lane = await rig.lane()
    gone: list[int] = []
    lane.on_lost(gone.append)
    await rig.until(lambda: rig.counts[0].conflicts == 1, "the first commit being given up")
    await rig.broker.advance(1)  # the late one is stored while its repetition is on its way
    held.set()
    await rig.drained()
    await rig.until(lambda: lane.partitions == (), "the moved partitions being given up")
    assert sorted(gone) == [0, 1, 2, 3]
    _all_once(rig)


async def test_a_second_writer_between_load_and_commit_is_seen_and_decided_on_again(
    rig: Rig, faults: ScriptedFaults
) -> None:
    await rig.lane()
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    await rig.drained()
    first = rig.last("Order", "o-1")
    held = asyncio.Event()
    faults.on("log.commit", Hold(held), process="engine1")
    await rig.publish("Noted", "o-1", {"order": "o-1", "n": 2})
    await rig.until(lambda: not rig.is_drained(), "the message being on its way")
    second = msgspec.structs.replace(
        first,
        version=2,
        prev=document_hash(encode(first)),
        state=msgspec.Raw(b'{"seen":[1],"amount":1}'),
        effects=(),
    )
    await rig.write("Order", "o-1", encode(second))
    held.set()
    await rig.drained()
    assert rig.last("Order", "o-1").version == 3
    assert msgspec.json.decode(rig.last("Order", "o-1").state)["seen"] == [1, 2]


async def test_a_conflict_is_resolved_with_what_the_leader_says_and_not_a_replica(
    rig: Rig, faults: ScriptedFaults
) -> None:
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    await rig.lane()
    await rig.drained()
    faults.on("log.load", Stale(behind=50), process="engine2", times=100)
    for number in rig.lanes[0].partitions:
        await rig.lanes[0].release(number)
    await rig.lane()
    for n in range(3):
        await rig.publish("Noted", "o-1", {"order": "o-1", "n": n})
    await rig.drained()
    assert msgspec.json.decode(rig.last("Order", "o-1").state)["seen"] == [0, 1, 2]
    assert rig.letters() == []


async def test_an_answer_is_never_dead_lettered_on_a_replicas_word(
    rig: Rig, faults: ScriptedFaults
) -> None:
    await rig.lane()
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    await rig.drained()
    for number in rig.lanes[0].partitions:
        await rig.lanes[0].release(number)
    faults.on("log.load", Stale(behind=50), process="engine2", times=100)
    await rig.lane()
    await rig.answer("Paid", rig.command_ids()[0])
    await rig.drained()
    assert rig.last("Order", "o-1").status == "completed"
    assert (rig.letters(), rig.notes()) == ([], [])


async def test_a_batch_that_is_refused_is_taken_apart_and_the_culprit_alone_is_dead(
    rig: Rig, faults: ScriptedFaults
) -> None:
    bad = rig.names.command("pay", "o-5")
    faults.on("log.commit", Answer(Invalid(10054, "too large")), times=100, subject=bad)
    await _place_all(rig)
    await rig.lane()
    await rig.drained()
    assert rig.keys("Order") == set(KEYS) - {"o-5"}
    (letter,) = rig.letters()
    assert "10054" in letter.reason


async def test_nothing_of_a_refused_message_is_left_in_the_instance(
    rig: Rig, faults: ScriptedFaults
) -> None:
    await rig.lane()
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    await rig.drained()
    faults.on("log.commit", Answer(Invalid(1, "no")), process="engine1")
    await rig.publish("Noted", "o-1", {"order": "o-1", "n": 1})
    await rig.drained()
    await rig.publish("Noted", "o-1", {"order": "o-1", "n": 2})
    await rig.drained()
    last = rig.last("Order", "o-1")
    assert (last.version, msgspec.json.decode(last.state)["seen"]) == (2, [2])
    assert len(rig.letters()) == 1


async def test_an_engine_that_was_overtaken_gives_the_partition_up_and_writes_nothing(
    rig: Rig, faults: ScriptedFaults
) -> None:
    held = asyncio.Event()
    faults.on("log.commit", Hold(held), process="engine1")
    stale = await rig.lane()
    gone: list[int] = []
    stale.on_lost(gone.append)
    await _place_all(rig)
    await rig.broker.advance(0)
    await rig.lane()
    await rig.drained()
    held.set()
    await rig.until(lambda: len(gone) == 4, "the partitions being given up")
    assert stale.partitions == ()
    _all_once(rig)


async def test_two_lanes_on_the_same_partitions_do_no_harm(rig: Rig) -> None:
    await rig.lane()
    await rig.lane()
    await _place_all(rig)
    await rig.drained()
    for number in range(4):  # whoever lost one takes it up again, as its lease would let it
        for lane in rig.lanes:
            if number not in lane.partitions:
                await lane.acquire(number)
    for n in range(5):
        for key in KEYS:
            await rig.publish("Noted", key, {"order": key, "n": n})
    await rig.drained()
    for key in KEYS:
        assert msgspec.json.decode(rig.last("Order", key).state)["seen"] == [0, 1, 2, 3, 4]
    assert len(rig.commands("pay")) == len(KEYS)


async def test_a_commit_stored_before_a_take_over_is_not_decided_again(
    rig: Rig, faults: ScriptedFaults
) -> None:
    """The reply is lost; before the read-back another engine moves one of the partitions."""
    held = asyncio.Event()
    faults.on("log.commit", LoseReply(), process="engine1")
    faults.on("log.read", Hold(held), process="engine1", skip=4)
    lane = await rig.lane()
    await _place_all(rig)
    await rig.until(lambda: rig.keys("Order") == set(KEYS), "the batch being stored")
    moved = rig.position(0)
    record = Position(events=moved.events, signals=moved.signals, owner="other", batch="other.1")
    await rig.move(0, record)
    held.set()
    await rig.until(lambda: lane.partitions == (1, 2, 3), "partition 0 being given up")
    _all_once(rig)


async def test_a_lane_that_is_cut_off_goes_on_where_it_was(rig: Rig) -> None:
    await rig.lane()
    await _place_all(rig)
    await rig.drained()
    rig.backends[0].cut()
    for key in KEYS:
        await rig.publish("Noted", key, {"order": key, "n": 1})
    await rig.broker.advance(5)
    assert not rig.is_drained()
    rig.backends[0].heal()
    await rig.drained()
    assert {rig.last("Order", key).version for key in KEYS} == {2}


async def test_an_event_to_be_published_waits_for_the_broker(
    rig: Rig, faults: ScriptedFaults
) -> None:
    await rig.lane()
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    faults.on("door.publish", LoseReply(), times=2, process="engine1")
    await rig.publish("Told", "o-1", {"order": "o-1"})
    await rig.drained()
    assert len(rig.events("OrderTold")) == 1
    assert rig.last("Audit", "o-1").version == 1
