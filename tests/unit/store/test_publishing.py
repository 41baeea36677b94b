"""Goal: every event gets a true receipt, in its place, whatever the broker does.

Method: the memory broker with faults said call by call; what is stored is read back and compared.
"""

from __future__ import annotations

import asyncio

import pytest

from store.events import NewEvent, Published, Rejected
from store.group_commit import BATCH_EVENTS_MAX
from store.memory import Answer, LoseReply, LoseRequest, MemoryBroker, ScriptedFaults, SystemClock
from store.memory.faults import Fault
from store.port import Busy, Invalid
from store.publishing import EventPublisher
from store.subjects import Names

pytestmark = pytest.mark.asyncio


def _publisher(name: str = "", *faults: Fault) -> tuple[EventPublisher, MemoryBroker]:
    scripted = ScriptedFaults()
    for fault in faults:
        scripted.on(name, fault)
    broker = MemoryBroker(Names(), clock=SystemClock(), faults=scripted)
    backend = broker.backend()
    return EventPublisher(backend.door, broker.names, backend.payload_max), broker


def _stored(broker: MemoryBroker) -> list[tuple[str, str | None, bytes]]:
    found = broker.events.since(0, [">"])
    return [(*broker.names.parse_event(message.subject), message.data) for message in found]


async def test_one_event() -> None:
    publisher, broker = _publisher()
    assert await publisher.publish("T", {"a": 1}, key="k") == Published(seq=1)
    assert _stored(broker) == [("T", "k", b'{"a":1}')]
    await broker.close()


async def test_the_same_id_is_stored_once() -> None:
    publisher, broker = _publisher()
    assert await publisher.publish("T", id="one") == Published(seq=1)
    assert await publisher.publish("T", id="one") == Published(seq=1, duplicate=True)
    assert len(_stored(broker)) == 1
    await broker.close()


async def test_a_refused_event_is_a_receipt() -> None:
    publisher, broker = _publisher()
    receipt = await publisher.publish("")
    assert isinstance(receipt, Rejected)
    assert not receipt.retryable
    await broker.close()


async def test_an_unreachable_broker_is_a_receipt_that_may_be_repeated() -> None:
    publisher, broker = _publisher("door.publish", LoseReply())
    receipt = await publisher.publish("T")
    assert isinstance(receipt, Rejected)
    assert receipt.retryable
    assert "may be stored" in receipt.reason
    await broker.close()


async def test_sequential_stops_at_the_first_refusal() -> None:
    publisher, broker = _publisher()
    events = [NewEvent(type="A"), NewEvent(type=""), NewEvent(type="C")]
    first, second, third = await publisher.publish_many(events, "sequential")
    assert first == Published(seq=1)
    assert isinstance(second, Rejected)
    assert isinstance(third, Rejected)
    assert "event 2 before it" in third.reason
    assert third.retryable
    assert [type for type, _, _ in _stored(broker)] == ["A"]
    await broker.close()


async def test_parallel_sends_all_that_can_be_sent() -> None:
    publisher, broker = _publisher()
    events = [NewEvent(type="A", payload=n) if n % 3 else NewEvent(type="") for n in range(1, 1600)]
    receipts = await publisher.publish_many(events, "parallel")
    good = [r.seq for r in receipts if isinstance(r, Published)]
    assert good == list(range(1, len(good) + 1))
    assert len(good) == sum(1 for event in events if event.type)
    assert [type(r) for r in receipts[:3]] == [Published, Published, Rejected]
    await broker.close()


async def test_parallel_keeps_the_order_of_a_key() -> None:
    publisher, broker = _publisher()
    events = [
        NewEvent(type="T", payload=n, key=f"k{n % 3}", id=f"i{n}" if n % 5 == 0 else None)
        for n in range(200)
    ]
    receipts = await publisher.publish_many(events, "parallel")
    assert all(isinstance(receipt, Published) for receipt in receipts)
    for key in ("k0", "k1", "k2"):
        numbers = [int(data) for _, k, data in _stored(broker) if k == key]
        assert numbers == sorted(numbers)
        assert len(numbers) > 60
    await broker.close()


async def test_a_busy_broker_is_asked_again() -> None:
    busy = Answer(Busy("later"))
    publisher, broker = _publisher("door.publish_batch", busy, busy)
    receipts = await publisher.publish_many([NewEvent(type="A"), NewEvent(type="B")], "parallel")
    assert receipts == [Published(seq=1), Published(seq=2)]
    await broker.close()


@pytest.mark.parametrize("fault", [LoseRequest(), LoseReply()])
async def test_a_lost_batch_is_never_sent_again_by_itself(fault: Fault) -> None:
    publisher, broker = _publisher("door.publish_batch", fault)
    receipts = await publisher.publish_many([NewEvent(type="A"), NewEvent(type="B")], "parallel")
    assert [type(receipt) for receipt in receipts] == [Rejected, Rejected]
    assert all(isinstance(r, Rejected) and r.retryable for r in receipts)
    assert len(_stored(broker)) == (2 if isinstance(fault, LoseReply) else 0)
    await broker.close()


async def test_a_refused_batch_is_sent_one_by_one() -> None:
    publisher, broker = _publisher("door.publish_batch", Answer(Invalid(10199, "no")))
    receipts = await publisher.publish_many([NewEvent(type="A"), NewEvent(type="B")], "parallel")
    assert receipts == [Published(seq=1), Published(seq=2)]
    await broker.close()


async def test_large_payloads_go_in_several_batches() -> None:
    publisher, broker = _publisher()
    events = [NewEvent(type="T", payload="x" * 900_000) for _ in range(6)]
    receipts = await asyncio.wait_for(publisher.publish_many(events, "parallel"), 10)
    assert [isinstance(receipt, Published) for receipt in receipts] == [True] * 6
    assert BATCH_EVENTS_MAX < 1000
    await broker.close()
