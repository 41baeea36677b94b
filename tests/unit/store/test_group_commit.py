"""Goal: events of many callers share commits, and each caller learns the truth about its own.

Method: a door on the memory broker that notes how it was called, with faults said call by call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from store.events import Published, Receipt, Rejected
from store.group_commit import ALONE_MAX, BATCH_EVENTS_MAX, FLIGHTS_MAX
from store.memory import Answer, LoseReply, MemoryBroker, ScriptedFaults, SystemClock
from store.memory.faults import Fault
from store.port import (
    NO_HEADERS,
    Accepted,
    Busy,
    CommitOutcome,
    Door,
    Headers,
    Invalid,
    Outgoing,
    Refused,
)
from store.publishing import EventPublisher
from store.subjects import Names

pytestmark = pytest.mark.asyncio


class Watched:
    """A door that notes the sizes of batches, and refuses one type of event."""

    def __init__(self, door: Door, refused: str = "") -> None:
        self._door = door
        self._refused = refused
        self.batches: list[int] = []
        self.alone = 0
        self.together = self.together_most = 0

    async def publish(
        self, subject: str, payload: bytes, headers: Headers = NO_HEADERS, msg_id: str = ""
    ) -> Accepted:
        self.alone += 1
        if self._refused and f".{self._refused}" in subject:
            raise Refused("not this one; correct it")
        return await self._door.publish(subject, payload, headers, msg_id)

    async def publish_batch(self, batch: Sequence[Outgoing]) -> CommitOutcome:
        self.batches.append(len(batch))
        self.together += 1
        self.together_most = max(self.together_most, self.together)
        try:
            await asyncio.sleep(0)
            if self._refused and any(f".{self._refused}" in one.subject for one in batch):
                return Invalid(10054, "one of them is bad")
            return await self._door.publish_batch(batch)
        finally:
            self.together -= 1


def _open(refused: str = "", *faults: Fault) -> tuple[EventPublisher, Watched, MemoryBroker]:
    scripted = ScriptedFaults()
    for fault in faults:
        scripted.on("door.publish_batch", fault)
    broker = MemoryBroker(Names(), clock=SystemClock(), faults=scripted)
    backend = broker.backend()
    door = Watched(backend.door, refused)
    return EventPublisher(door, broker.names, backend.payload_max), door, broker


async def _publish(publisher: EventPublisher, count: int, type: str = "T") -> list[Receipt]:
    return await asyncio.gather(*(publisher.publish(type, n, key=f"k{n}") for n in range(count)))


async def test_what_waits_together_is_one_batch() -> None:
    publisher, door, broker = _open()
    receipts = await _publish(publisher, 100)
    assert door.batches == [100]
    assert receipts == [Published(seq=n) for n in range(1, 101)]
    stored = [int(message.data) for message in broker.events.since(0, [">"])]
    assert stored == list(range(100))
    await broker.close()


async def test_few_go_one_by_one() -> None:
    publisher, door, broker = _open()
    assert len(await _publish(publisher, ALONE_MAX)) == ALONE_MAX
    assert (door.batches, door.alone) == ([], ALONE_MAX)
    await broker.close()


async def test_a_crowd_goes_in_several_batches_few_at_a_time() -> None:
    publisher, door, broker = _open()
    receipts = await _publish(publisher, 4 * BATCH_EVENTS_MAX + 50)
    assert sorted(r.seq for r in receipts if isinstance(r, Published)) == list(range(1, 2051))
    assert max(door.batches) == BATCH_EVENTS_MAX
    assert door.together_most <= FLIGHTS_MAX
    await broker.close()


async def test_events_with_an_id_are_never_in_a_batch() -> None:
    publisher, door, broker = _open()
    receipts = await asyncio.gather(*(publisher.publish("T", id=f"i{n % 20}") for n in range(40)))
    assert door.batches == []
    assert sum(1 for r in receipts if isinstance(r, Published) and r.duplicate) == 20
    await broker.close()


async def test_one_bad_event_spoils_no_neighbour() -> None:
    publisher, door, broker = _open("Bad")
    bad = asyncio.create_task(publisher.publish("Bad", key="k"))
    receipts = await _publish(publisher, 50)
    assert all(isinstance(receipt, Published) for receipt in receipts)
    refused = await bad
    assert isinstance(refused, Rejected)
    assert not refused.retryable
    assert door.alone == 51
    await broker.close()


async def test_a_lost_answer_is_told_to_all_and_nothing_is_sent_again() -> None:
    publisher, door, broker = _open("", LoseReply())
    receipts = await _publish(publisher, 50)
    assert all(isinstance(r, Rejected) and r.retryable for r in receipts)
    assert len(list(broker.events.since(0, [">"]))) == 50
    assert door.batches == [50]
    again = await _publish(publisher, 1)
    assert isinstance(again[0], Published)
    await broker.close()


async def test_a_busy_broker_is_asked_again() -> None:
    publisher, door, broker = _open("", Answer(Busy("later")))
    receipts = await _publish(publisher, 20)
    assert all(isinstance(receipt, Published) for receipt in receipts)
    assert door.batches == [20, 20]
    await broker.close()


async def test_a_caller_that_leaves_takes_nobody_along() -> None:
    publisher, _, broker = _open()
    gone = asyncio.create_task(publisher.publish("T", key="gone"))
    others = asyncio.gather(*(publisher.publish("T", key=f"k{n}") for n in range(20)))
    await asyncio.sleep(0)
    gone.cancel()
    assert all(isinstance(receipt, Published) for receipt in await others)
    assert isinstance(await publisher.publish("T"), Published)
    await broker.close()


async def test_a_defect_of_the_door_reaches_those_who_wait() -> None:
    publisher, door, broker = _open()

    async def broken(batch: Sequence[Outgoing]) -> CommitOutcome:
        raise RuntimeError("a defect")

    whole, door.publish_batch = door.publish_batch, broken  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        await _publish(publisher, 20)
    door.publish_batch = whole  # type: ignore[method-assign]
    assert isinstance((await _publish(publisher, 20))[0], Published)
    await broker.close()
