"""Goal: a dead letter can be looked at, sent again or put aside, each exactly once.

Method: a real engine on the memory broker makes the letters: an event without an instance, one that
can't be decoded, a signal for an unknown saga, and a command that its job gave up.
"""

from __future__ import annotations

import pytest

from sagas.messages import EPOCH, Address, Cause
from store.codec import DeadLetter
from store.outbox import signal
from store.port import Unreachable
from tests.unit.store.shop import Floor, open_shop
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio


async def _letter(floor: Floor) -> DeadLetter:
    letters = await eventually(floor.client.dead_letters, what="a dead letter")
    assert len(letters) == 1
    return letters[0]


async def _status(floor: Floor, key: str) -> str:
    instance = await floor.client.get("Shop", key)
    return instance.status if instance else ""


async def test_an_event_is_sent_again_to_the_saga_that_missed_it() -> None:
    async with open_shop() as floor:
        await floor.client.publish("OrderClosed", {"orderId": "o-1"}, "o-1", id="once")
        letter = await _letter(floor)
        assert (letter.type, letter.saga, letter.status) == ("OrderClosed", "Shop", "open")
        found = await floor.client.dead_letter(letter.id)
        assert found is not None
        assert found[1] is not None
        assert found[1].data == b'{"orderId":"o-1"}'
        await floor.client.publish("OrderPlaced", {"orderId": "o-1", "amount": 5}, "o-1")
        reply = await floor.client.redrive(letter.id, by="ann", reason="now it is there")
        assert reply.done
        assert reply.seq
        await eventually(lambda: _ended(floor, "o-1"))
        assert await floor.client.dead_letters() == []
        closed = (await floor.client.dead_letters("redriven"))[0]
        assert (closed.by, closed.note) == ("ann", "now it is there")
        again = await floor.client.redrive(letter.id, by="bob")
        assert not again.done
        assert "redriven by ann before" in again.reason


async def _ended(floor: Floor, key: str) -> bool:
    return await _status(floor, key) == "completed"


async def test_a_payload_can_be_mended() -> None:
    async with open_shop() as floor:
        await floor.client.publish("OrderPlaced", {"orderId": "o-1", "amount": "much"}, "o-1")
        letter = await _letter(floor)
        mended = {"orderId": "o-1", "amount": 5}
        assert (await floor.client.redrive(letter.id, by="ann", payload=mended)).done
        assert await eventually(lambda: _status(floor, "o-1")) == "running"


async def test_a_redrive_that_fails_again_is_a_new_letter() -> None:
    async with open_shop() as floor:
        await floor.client.publish("OrderClosed", {"orderId": "o-1"}, "o-1")
        first = await _letter(floor)
        assert (await floor.client.redrive(first.id, by="ann")).done
        second = await _letter(floor)
        assert second.id != first.id


async def test_a_signal_is_sent_again() -> None:
    async with open_shop() as floor:
        to = Address("Unknown", "k")
        await floor.client.start("Unknown", {"a": 1}, key="k")
        letter = await _letter(floor)
        assert (letter.stream, letter.saga, letter.key) == ("log", to.saga, to.key)
        assert (await floor.client.redrive(letter.id, by="ann")).done
        second = await _letter(floor)
        assert second.seq > letter.seq


async def test_a_signal_that_can_not_be_read_can_only_be_discarded() -> None:
    async with open_shop() as floor:
        cause = Cause(kind="signal", type="x", id="", seq=0, at=EPOCH)
        subject = signal(floor.names, Address("Shop", "k"), cause).subject
        await floor.backend.door.publish(subject, b"not json")
        letter = await _letter(floor)
        reply = await floor.client.redrive(letter.id, by="ann")
        assert not reply.done
        assert "can't be read" in reply.reason
        assert (await floor.client.discard(letter.id, by="ann", reason="rubbish")).done
        assert await floor.client.dead_letters() == []
        assert (await floor.client.dead_letters(None))[0].status == "discarded"
        assert not (await floor.client.discard(letter.id, by="ann")).done
        assert not (await floor.client.redrive(letter.id, by="ann")).done


async def test_an_unknown_letter() -> None:
    async with open_shop() as floor:
        for id in ("events-1", "", "*", ">"):
            assert not (await floor.client.redrive(id, by="ann")).done
            assert not (await floor.client.discard(id, by="ann")).done
            assert await floor.client.dead_letter(id or "x") is None


async def test_a_lost_connection_is_raised() -> None:
    async with open_shop() as floor:
        floor.link.cut()
        with pytest.raises(Unreachable):
            await floor.client.redrive("events-1", by="ann")
        with pytest.raises(Unreachable):
            await floor.client.dead_letters()
