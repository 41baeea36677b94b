"""Goal: the client tells the truth about instances, and an action's reply is what became of it.

Method: a real engine on the memory broker in real time; where no engine must answer there is none.
"""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from msgspec import Raw

from sagas.actions import ActionRequest
from sagas.errors import IllegalTransition, UnknownQuery
from store.closing import closing
from store.events import Published
from store.port import Committed, Outgoing, Unreachable
from tests.unit.store.shop import Floor, open_shop, shop
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio


async def _place(floor: Floor, key: str, amount: int) -> None:
    receipt = await floor.client.publish("OrderPlaced", {"orderId": key, "amount": amount}, key)
    assert isinstance(receipt, Published)
    await eventually(lambda: floor.client.get("Shop", key), what=f"instance {key}")


async def test_get_history_and_hashes() -> None:
    async with open_shop() as floor:
        assert await floor.client.get("Shop", "o-1") is None
        await _place(floor, "o-1", 5)
        await floor.client.publish("OrderClosed", {"orderId": "o-1"}, "o-1")

        async def ended() -> bool:
            instance = await floor.client.get("Shop", "o-1")
            return instance is not None and instance.status == "completed"

        await eventually(ended)
        versions = [revision async for revision in floor.client.history("Shop", "o-1")]
        assert [revision.instance.version for revision in versions] == [1, 2]
        assert versions[1].instance.prev == versions[0].hash
        assert versions[0].seq < versions[1].seq
        latest = await floor.client.latest("Shop", "o-1")
        assert latest == versions[1]


async def test_a_broken_chain_is_told() -> None:
    async with open_shop() as floor:
        await _place(floor, "o-1", 5)
        last = await floor.client.latest("Shop", "o-1")
        assert last is not None
        forged = msgspec.structs.replace(last.instance, version=2, prev="0" * 64)
        subject = floor.names.instance("Shop", "o-1")
        outcome = await floor.backend.log.commit([Outgoing(subject, msgspec.json.encode(forged))])
        assert isinstance(outcome, Committed)
        with pytest.raises(IllegalTransition, match="does not continue"):
            _ = [revision async for revision in floor.client.history("Shop", "o-1")]


async def test_lists_are_newest_first_and_filtered() -> None:
    async with open_shop() as floor:
        for number in range(4):
            await _place(floor, f"o-{number}", 5)
        await floor.client.act("Shop", "o-1", "pause", by="ann")
        found = await floor.client.instances("Shop")
        assert [r.instance.key for r in found] == ["o-1", "o-3", "o-2", "o-0"]
        paused = await floor.client.instances(status="paused")
        assert [r.instance.key for r in paused] == ["o-1"]
        assert len(await floor.client.instances(limit=2)) == 2
        assert await floor.client.instances("Nothing") == []
        assert await floor.client.counts() == {"Shop": {"running": 3, "paused": 1}}
        assert await floor.client.keys("Shop") == ["o-1", "o-3", "o-2", "o-0"]


async def test_watching_gives_what_is_stored_from_then_on() -> None:
    async with open_shop() as floor:
        async with closing(floor.client.watch("Shop", after=0)) as revisions:
            await _place(floor, "o-1", 5)
            seen = await asyncio.wait_for(anext(revisions), 5)
        assert (seen.instance.key, seen.instance.version) == ("o-1", 1)
        with pytest.raises(ValueError, match="its saga"):
            await anext(floor.client.watch(key="o-1"))


async def test_an_action_replies_with_its_transition() -> None:
    async with open_shop() as floor:
        await _place(floor, "o-1", 5)
        reply = await floor.client.act("Shop", "o-1", "pause", by="ann", reason="lunch")
        assert (reply.done, reply.version, reply.status) == (True, 2, "paused")
        last = await floor.client.latest("Shop", "o-1")
        assert last is not None
        assert (last.seq, last.instance.cause.by, last.instance.cause.reason) == (
            reply.seq,
            "ann",
            "lunch",
        )


async def test_a_refusal_is_a_reply_with_the_reason() -> None:
    async with open_shop() as floor:
        await _place(floor, "o-1", 5)
        reply = await floor.client.act("Shop", "o-1", "resume", by="ann")
        assert not reply.done
        assert "resume is not allowed" in reply.reason
        assert (reply.version, reply.status) == (1, "running")
        old = ActionRequest(version=7)
        reply = await floor.client.act("Shop", "o-1", "pause", by="ann", request=old)
        assert "is at version 1, not 7" in reply.reason


@pytest.mark.parametrize(("saga", "key"), [("Shop", "nobody"), ("Nothing", "o-1"), ("Shop", "")])
async def test_an_action_on_nothing_is_refused_and_not_sent(saga: str, key: str) -> None:
    async with open_shop() as floor:
        before = floor.broker.log.last_seq
        reply = await floor.client.act(saga, key, "pause", by="ann")
        assert not reply.done
        assert reply.reason
        assert [m for m in floor.broker.log.since(before, [">"]) if ".sig." in m.subject] == []


async def test_without_an_engine_the_reply_says_so() -> None:
    async with open_shop() as floor:
        await _place(floor, "o-1", 5)
        stored = floor.broker.log.last(floor.names.instance("Shop", "o-1"))
    assert stored is not None
    async with open_shop(engine=False) as floor:
        await floor.backend.log.commit([Outgoing(stored.subject, stored.data)])
        reply = await floor.client.act("Shop", "o-1", "pause", by="ann", timeout_s=0.05)
        assert not reply.done
        assert "Is an engine running?" in reply.reason


async def test_a_lost_connection_is_raised() -> None:
    async with open_shop() as floor:
        floor.link.cut()
        with pytest.raises(Unreachable):
            await floor.client.act("Shop", "o-1", "pause", by="ann")


async def test_a_plan_is_what_then_happens() -> None:
    async with open_shop() as floor:
        await _place(floor, "o-1", 5)
        request = ActionRequest(patch=Raw(b'{"amount":9}'))
        plan = await floor.client.plan(shop, "o-1", "patch", by="ann", request=request)
        assert plan.hash
        assert msgspec.json.decode(plan.state_after)["amount"] == 9
        before = await floor.client.get("Shop", "o-1")
        assert before is not None
        assert before.version == 1
        exact = msgspec.structs.replace(request, plan=plan.hash)
        reply = await floor.client.act("Shop", "o-1", "patch", by="ann", request=exact)
        assert reply.done
        again = await floor.client.act("Shop", "o-1", "patch", by="ann", request=exact)
        assert "has moved" in again.reason
        assert (await floor.client.plan(shop, "nobody", "pause", by="ann")).refused


async def test_start_and_wait_for_the_end() -> None:
    async with open_shop(worker=True) as floor:
        order = {"orderId": "x", "amount": 5}
        reply = await floor.client.start("Shop", order, key="o-1", by="ann")
        assert (reply.done, reply.version, reply.status) == (True, 1, "running")
        waiting = asyncio.create_task(
            floor.client.start("Shop", order, key="o-2", by="ann", wait=True)
        )
        await eventually(lambda: floor.client.get("Shop", "o-2"))
        await floor.client.publish("OrderClosed", {"orderId": "o-2"}, "o-2")
        ended = await asyncio.wait_for(waiting, 5)
        assert (ended.done, ended.status, ended.version) == (True, "completed", 2)
        made = await floor.client.start("Shop", order)
        assert made.done
        assert len(made.key) == 32


async def test_a_start_that_can_not_be_is_refused() -> None:
    async with open_shop() as floor:
        reply = await floor.client.start("Nothing", {}, key="k")
        assert not reply.done
        assert "no engine here knows the saga" in reply.reason
        reply = await floor.client.start("Shop", {"wrong": 1}, key="o-1")
        assert "does not fit Shop" in reply.reason
        assert await floor.client.get("Shop", "o-1") is None
        assert not (await floor.client.start("Shop", object(), key="o-1")).done
        assert not (await floor.client.start("Shop", {}, key="")).done
        reply = await floor.client.start(
            "Shop", {"orderId": "o", "amount": 5}, key="o-5", wait=True, timeout_s=0.2
        )
        assert not reply.done
        assert "has not ended" in reply.reason


async def test_queries() -> None:
    async with open_shop() as floor:
        await _place(floor, "o-1", 5)
        assert await floor.client.query(shop, "o-1", "total") == 5
        assert await floor.client.query(shop, "o-1", "total", {"factor": 3}) == 15
        with pytest.raises(UnknownQuery, match="it declares: total"):
            await floor.client.query(shop, "o-1", "nothing")
        with pytest.raises(LookupError, match="does not exist"):
            await floor.client.query(shop, "nobody", "total")
