"""Goal: what is sent again under its id happens once and is answered as the first time.

Method: a real engine on the memory broker. The broker's own window is left by moving the id out of
it (a signal written by hand has none), so that only the instance's memory can tell.
"""

from __future__ import annotations

import asyncio

import pytest
from msgspec import Raw

from sagas.actions import ActionRequest
from sagas.instance import SEEN_MAX
from store import codec
from store.closing import closing
from store.codec import ActionReply
from store.memory.stream import MSG_ID
from store.port import NO_HEADERS, Accepted, Headers
from tests.unit.store.shop import Floor, open_shop
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio


async def _place(floor: Floor, key: str) -> None:
    await floor.client.publish("OrderPlaced", {"orderId": key, "amount": 5}, key)
    await eventually(lambda: floor.client.get("Shop", key), what=f"instance {key}")


async def _version(floor: Floor, key: str = "o-1") -> int:
    instance = await floor.client.get("Shop", key)
    return instance.version if instance else 0


def _forget(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the broker takes every message for a new one, as it does after two minutes."""
    publish = floor.backend.door.publish

    async def without_id(
        subject: str, payload: bytes, headers: Headers = NO_HEADERS, msg_id: str = ""
    ) -> Accepted:
        assert MSG_ID not in headers
        return await publish(subject, payload, headers)

    monkeypatch.setattr(floor.backend.door, "publish", without_id)


@pytest.mark.parametrize("window", ["open", "over"])
async def test_an_action_is_taken_once(window: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_shop() as floor:
        await _place(floor, "o-1")
        first = await floor.client.act("Shop", "o-1", "pause", by="ann", id="a-1")
        assert first.done
        if window == "over":
            _forget(floor, monkeypatch)
        again = await floor.client.act("Shop", "o-1", "pause", by="ann", id="a-1")
        assert again == first
        other = await floor.client.act("Shop", "o-1", "pause", by="ann", id="a-2")
        assert not other.done
        assert other.status == "paused"
        assert await _version(floor) == first.version


async def test_an_action_is_known_long_after(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_shop() as floor:
        await _place(floor, "o-1")
        request = ActionRequest(name="note", payload=Raw(b'"x"'))

        async def note(id: str) -> ActionReply:
            return await floor.client.act("Shop", "o-1", "signal", by="a", request=request, id=id)

        first = await note("a-1")
        _forget(floor, monkeypatch)
        for number in range(SEEN_MAX + 3):
            await note(f"n{number}")
        before = await _version(floor)
        assert await note("a-1") == first
        assert await _version(floor) == before


async def test_the_same_action_twice_at_once() -> None:
    async with open_shop() as floor:
        await _place(floor, "o-1")
        replies = await asyncio.gather(
            *(floor.client.act("Shop", "o-1", "pause", by="ann", id="a-1") for _ in range(5))
        )
        assert len({reply.version for reply in replies}) == 1
        assert all(reply.done for reply in replies)


@pytest.mark.parametrize("window", ["open", "over"])
async def test_a_start_by_hand_is_taken_once(window: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_shop() as floor:
        order = {"orderId": "o-1", "amount": 5}
        first = await floor.client.start("Shop", order, key="o-1", by="ann", id="s-1")
        assert first.done
        if window == "over":
            _forget(floor, monkeypatch)
        again = await floor.client.start("Shop", order, key="o-1", by="ann", id="s-1")
        assert again == first
        assert await _version(floor) == 1


async def test_an_action_without_an_engine_is_pending() -> None:
    async with open_shop() as floor:
        await _place(floor, "o-1")
    async with open_shop(engine=False) as floor:
        reply = await floor.client.start("Shop", {"orderId": "o-1"}, key="o-1", timeout_s=0.1)
        assert reply.pending
        assert not reply.done
        stored = await floor.backend.log.at("log", reply.seq)
        assert stored is not None


async def test_where_an_action_came_from_is_kept() -> None:
    async with open_shop() as floor:
        await _place(floor, "o-1")
        await floor.client.act("Shop", "o-1", "pause", by="ann", origin="http 10.0.0.9")
        async with closing(floor.backend.log.history("saga.sig.*.operator.o-1")) as messages:
            found = [codec.open_envelope(stored) async for stored in messages]
        assert [envelope.origin for envelope in found] == ["http 10.0.0.9"]


async def test_a_discarded_letter_comes_back() -> None:
    async with open_shop() as floor:
        await floor.client.publish("OrderClosed", {"orderId": "o-1"}, "o-1")
        (letter,) = await eventually(floor.client.dead_letters, what="a dead letter")
        nothing = await floor.client.restore(letter.id, by="ann")
        assert not nothing.done
        assert nothing.status == "open"
        assert (await floor.client.discard(letter.id, by="ann", action="d-1")).done
        assert (await floor.client.discard(letter.id, by="ann", action="d-1")).done
        assert not (await floor.client.discard(letter.id, by="ann", action="d-2")).done
        back = await floor.client.restore(letter.id, by="bob", reason="too early", origin="here")
        assert back.done
        assert back.status == "open"
        (restored,) = await floor.client.dead_letters()
        assert (restored.by, restored.note, restored.origin) == ("bob", "too early", "here")
        redriven = await floor.client.redrive(letter.id, by="cid", action="r-1")
        assert redriven.done
        assert await floor.client.redrive(letter.id, by="cid", action="r-1") == redriven
        assert not (await floor.client.restore(letter.id, by="cid")).done
        unknown = await floor.client.restore("events-99", by="cid")
        assert not unknown.found
