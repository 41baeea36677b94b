"""Goal: each fault of the memory broker does what it says to the caller, and never breaks a batch.

Method: script one fault, make the call it is for, then read through a second process what really
happened.
"""

from __future__ import annotations

import asyncio

import pytest

from store.memory import (
    Again,
    Answer,
    Fail,
    Fault,
    Hold,
    HoldReply,
    Injected,
    Late,
    LoseReply,
    LoseRequest,
    MemoryBackend,
    MemoryBroker,
    ScriptedFaults,
    Stale,
    StoreLate,
)
from store.port import Busy, Committed, Conflict, Outgoing, Refused, Unknown, Unreachable

pytestmark = pytest.mark.asyncio


@pytest.fixture
def faults() -> ScriptedFaults:
    """No fault yet."""
    return ScriptedFaults()


@pytest.fixture
def broker(faults: ScriptedFaults) -> MemoryBroker:
    """A broker with those faults."""
    return MemoryBroker(faults=faults)


@pytest.fixture
def one(broker: MemoryBroker) -> MemoryBackend:
    """The process that faults happen to."""
    return broker.backend("one")


@pytest.fixture
def two(broker: MemoryBroker) -> MemoryBackend:
    """The process that sees what is."""
    return broker.backend("two")


def _batch(broker: MemoryBroker, expect: int | None = 0) -> list[Outgoing]:
    names = broker.names
    revision = Outgoing(names.instance("S", "a"), b"1", expect=expect)
    return [revision, Outgoing(names.command("pay", "a"), b"")]


async def _count(broker: MemoryBroker, backend: MemoryBackend) -> int:
    found = [m async for m in backend.log.history(f"$KV.{broker.names.bucket}.>")]
    return len(found) + len([m async for m in backend.log.history("saga.commands.>")])


@pytest.mark.parametrize(
    ("fault", "stored"),
    [(LoseRequest(), 0), (LoseReply(), 2), (Fail(Unreachable("gone")), 0), (StoreLate(5.0), 0)],
)
async def test_a_commit_without_an_answer_is_unknown(
    broker: MemoryBroker,
    faults: ScriptedFaults,
    one: MemoryBackend,
    two: MemoryBackend,
    fault: Fault,
    stored: int,
) -> None:
    faults.on("log.commit", fault)
    assert isinstance(await one.log.commit(_batch(broker)), Unknown)
    assert await _count(broker, two) == stored


async def test_a_late_batch_is_stored_whole_later(
    broker: MemoryBroker, faults: ScriptedFaults, one: MemoryBackend, two: MemoryBackend
) -> None:
    faults.on("log.commit", StoreLate(5.0))
    await one.log.commit(_batch(broker))
    await broker.advance(4.9)
    assert await _count(broker, two) == 0
    await broker.advance(0.2)
    assert await _count(broker, two) == 2


async def test_a_late_batch_loses_to_an_earlier_one(
    broker: MemoryBroker, faults: ScriptedFaults, one: MemoryBackend, two: MemoryBackend
) -> None:
    faults.on("log.commit", StoreLate(5.0))
    await one.log.commit(_batch(broker))
    assert isinstance(await two.log.commit(_batch(broker)), Committed)
    await broker.advance(6)
    assert await _count(broker, two) == 2


@pytest.mark.parametrize("outcome", [Busy("full"), Conflict("someone"), Unknown("who knows")])
async def test_a_commit_can_be_answered_for(
    broker: MemoryBroker,
    faults: ScriptedFaults,
    one: MemoryBackend,
    two: MemoryBackend,
    outcome: Busy | Conflict | Unknown,
) -> None:
    faults.on("log.commit", Answer(outcome))
    assert await one.log.commit(_batch(broker)) == outcome
    assert await _count(broker, two) == 0
    assert isinstance(await one.log.commit(_batch(broker)), Committed)


async def test_a_held_request_is_decided_when_it_arrives(
    broker: MemoryBroker, faults: ScriptedFaults, one: MemoryBackend, two: MemoryBackend
) -> None:
    until = asyncio.Event()
    faults.on("log.commit", Hold(until), process="one")
    slow = asyncio.ensure_future(one.log.commit(_batch(broker)))
    await broker.advance(1)
    assert isinstance(await two.log.commit(_batch(broker)), Committed)
    until.set()
    assert isinstance(await slow, Conflict)


async def test_a_held_request_may_then_be_lost(
    broker: MemoryBroker, faults: ScriptedFaults, one: MemoryBackend, two: MemoryBackend
) -> None:
    until = asyncio.Event()
    until.set()
    faults.on("log.commit", Hold(until, LoseReply()))
    assert isinstance(await one.log.commit(_batch(broker)), Unknown)
    assert await _count(broker, two) == 2


async def test_a_held_reply_comes_after_the_deed(
    broker: MemoryBroker, faults: ScriptedFaults, one: MemoryBackend, two: MemoryBackend
) -> None:
    until = asyncio.Event()
    faults.on("log.commit", HoldReply(until))
    slow = asyncio.ensure_future(one.log.commit(_batch(broker)))
    await broker.advance(1)
    assert await _count(broker, two) == 2
    assert not slow.done()
    until.set()
    assert await slow == Committed(last=2, count=2)


async def test_a_publish_without_an_answer_raises(
    broker: MemoryBroker, faults: ScriptedFaults, one: MemoryBackend
) -> None:
    subject = broker.names.event("T", "a")
    faults.on("door.publish", LoseReply())
    with pytest.raises(Unreachable):
        await one.door.publish(subject, b"", msg_id="once")
    assert (await one.door.publish(subject, b"", msg_id="once")).duplicate


async def test_other_calls_raise_what_they_are_told(
    broker: MemoryBroker, faults: ScriptedFaults, one: MemoryBackend
) -> None:
    faults.on("door.publish", Fail(Refused("no")))
    faults.on("meta.put", Answer(Busy("full")))
    with pytest.raises(Refused):
        await one.door.publish(broker.names.event("T", "a"), b"")
    with pytest.raises(Injected):
        await one.meta.put("lease.0", b"")


async def test_a_stale_load_shows_the_past_and_a_read_does_not(
    broker: MemoryBroker, faults: ScriptedFaults, one: MemoryBackend
) -> None:
    subject = broker.names.instance("S", "a")
    for data in (b"1", b"2"):
        await one.log.commit([Outgoing(subject, data)])
    faults.on("log.load", Stale(behind=1))
    assert (await one.log.load([subject]))[subject].data == b"1"
    assert (await one.log.load([subject]))[subject].data == b"2"
    found = await one.log.read(subject)
    assert found is not None
    assert found.data == b"2"


async def test_a_command_may_reach_two_workers(
    broker: MemoryBroker, faults: ScriptedFaults, one: MemoryBackend, two: MemoryBackend
) -> None:
    await one.log.commit(_batch(broker))
    queues = [
        await backend.queues.open("pay", ack_wait_s=30, in_flight_max=9) for backend in (one, two)
    ]
    faults.on("queues.take", Again())
    (first,) = await queues[0].take(1, 0)
    (second,) = await queues[1].take(1, 0)
    assert (first.seq, first.attempt) == (second.seq, second.attempt - 1)


async def test_a_lost_ack_brings_the_command_again(
    broker: MemoryBroker, faults: ScriptedFaults, one: MemoryBackend
) -> None:
    await one.log.commit(_batch(broker))
    queue = await one.queues.open("pay", ack_wait_s=30, in_flight_max=9)
    faults.on("queues.ack", LoseRequest())
    (work,) = await queue.take(1, 0)
    with pytest.raises(Unreachable):
        await work.ack()
    await broker.advance(31)
    (again,) = await queue.take(1, 0)
    assert again.attempt == 2


async def test_a_feed_may_be_late_and_wakes_again(
    broker: MemoryBroker, faults: ScriptedFaults, one: MemoryBackend
) -> None:
    woken: list[int] = []
    feed = await one.feeds.open("events", [">"], 0, lambda: woken.append(1))
    await one.door.publish(broker.names.event("T"), b"1")
    faults.on("feeds.take", Late(2.0))
    assert feed.take(10) == []
    before = len(woken)
    await broker.advance(2)
    assert len(woken) == before + 1
    assert [message.data for message in feed.take(10)] == [b"1"]


async def test_rules_skip_count_and_choose(
    broker: MemoryBroker, faults: ScriptedFaults, one: MemoryBackend, two: MemoryBackend
) -> None:
    faults.on("meta.get", LoseRequest(), skip=1, times=2, process="one", subject="lease")
    assert await two.meta.get("lease.0") is None
    assert await one.meta.get("engine.a") is None
    assert await one.meta.get("lease.0") is None
    for _ in range(2):
        with pytest.raises(Unreachable):
            await one.meta.get("lease.0")
    assert await one.meta.get("lease.0") is None
    faults.on("meta.get", LoseRequest())
    faults.clear()
    assert await one.meta.get("lease.0") is None


async def test_a_cut_process_knows_nothing_and_misses_nothing(
    broker: MemoryBroker, one: MemoryBackend, two: MemoryBackend
) -> None:
    subject = broker.names.event("T")
    woken = asyncio.Event()
    feed = await one.feeds.open("events", [">"], 0, woken.set)
    await two.door.publish(subject, b"1")
    one.cut()
    woken.clear()
    await two.door.publish(subject, b"2")
    assert isinstance(await one.log.commit(_batch(broker)), Unknown)
    with pytest.raises(Unreachable):
        await one.log.read("x")
    assert [message.data for message in feed.take(10)] == [b"1"]
    assert not woken.is_set()
    one.heal()
    await woken.wait()
    assert [message.data for message in feed.take(10)] == [b"2"]
    assert await _count(broker, two) == 0


async def test_a_restart_keeps_all_but_ids_of_what_is_gone(
    broker: MemoryBroker, one: MemoryBackend
) -> None:
    names = broker.names
    position = names.position(0)
    woken = asyncio.Event()
    feed = await one.feeds.open("log", [">", "$KV.>"], 0, woken.set)
    rollup = {"Nats-Rollup": "sub"}
    await one.door.publish(position, b"1", rollup, msg_id="p1")
    await one.door.publish(position, b"2", rollup, msg_id="p2")
    broker.restart()
    assert (await one.door.publish(position, b"2", rollup, msg_id="p2")).duplicate
    assert not (await one.door.publish(position, b"1", rollup, msg_id="p1")).duplicate
    broker.restart(forget_ids=True)
    assert not (await one.door.publish(position, b"1", rollup, msg_id="p1")).duplicate
    assert [message.data for message in feed.take(10)] == [b"1", b"2", b"1", b"1"]


async def test_a_message_id_is_forgotten_after_the_window(
    broker: MemoryBroker, one: MemoryBackend
) -> None:
    subject = broker.names.event("T", "a")
    await one.door.publish(subject, b"", msg_id="once")
    await broker.advance(119)
    assert (await one.door.publish(subject, b"", msg_id="once")).duplicate
    await broker.advance(2)
    assert not (await one.door.publish(subject, b"", msg_id="once")).duplicate


async def test_closing_ends_watches_and_refuses_calls(
    broker: MemoryBroker, one: MemoryBackend, two: MemoryBackend
) -> None:
    async def watched() -> int:
        return len([message async for message in one.log.watch("saga.>", 0)])

    watching = asyncio.ensure_future(watched())
    await two.log.commit(_batch(broker))
    await broker.advance(0)
    await one.close()
    await one.close()
    assert await watching == 1
    with pytest.raises(Unreachable):
        await one.meta.get("lease.0")
    assert await two.meta.get("lease.0") is None
