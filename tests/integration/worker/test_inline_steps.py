"""Goal: steps that the engine carries out itself are as safe and as visible as those of workers.

Method: runs through an engine and a worker of one process, in memory and on a server; then the log,
the position of the partition and the projections are read. Another engine without their code takes
over while a step is at work.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

import jobs.batch
import jobs.inline
from jobs import PermanentFailure, StepContext
from jobs.engine import Engine
from jobs.steps import all_step_jobs
from sagas import retry, step, steps
from sagas.definition import Registry
from sagas.replay import replay
from store.client import SagaClient
from store.codec import Position
from tests.projector_kit import projecting
from tests.steps_kit import Stage
from tests.waiting import eventually
from tests.worker_kit import WITHIN_S, Floor

pytestmark = pytest.mark.asyncio


class Shop:
    """What the steps of the tests do: fail at first, or wait until they are let go."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.go_on = asyncio.Event()
        self.at_work = asyncio.Event()

    async def reserve(self, ctx: StepContext[Any]) -> dict[str, Any]:
        """Fails once."""
        self.ran.append(f"reserve {ctx.attempt}")
        if ctx.attempt == 1:
            raise OSError("the stock is away")
        return {"reserved": True}

    async def release(self, ctx: StepContext[Any], data: Any) -> None:
        """The undo."""
        self.ran.append("release")

    async def wait(self, ctx: StepContext[Any]) -> dict[str, Any]:
        """Ends when the test says so."""
        self.ran.append("wait")
        self.at_work.set()
        await self.go_on.wait()
        return {"waited": True}

    async def ship(self, ctx: StepContext[Any]) -> dict[str, Any]:
        """Fails when the input says so."""
        self.ran.append("ship")
        if ctx.get("refuse"):
            raise PermanentFailure("no carrier")
        return {"shipped": True}


@pytest.fixture
def shop() -> Shop:
    """Nothing done yet."""
    return Shop()


def _order(shop: Shop) -> Any:
    return steps(
        "order",
        [
            step("reserve", shop.reserve, shop.release, retry=retry(3, 0.01)),
            step("ship", shop.ship),
        ],
    )


async def _positions(floor: Floor) -> list[Position]:
    found: list[Position] = []
    for number in range(floor.backend.partitions):
        stored = await floor.backend.log.read(floor.names.position(number))
        if stored is not None:
            found.append(msgspec.json.decode(stored.data, type=Position))
    return found


async def _subjects(floor: Floor) -> list[str]:
    return [stored.subject async for stored in floor.backend.log.history(">")]


async def test_no_command_is_sent_and_lone_answers_move_no_position(
    floor: Floor, shop: Shop, stages: list[Stage]
) -> None:
    stages.append(await Stage(floor, [_order(shop)], inline=True).open())
    ended = await stages[0].run("order", "o-1", {})
    assert (ended.status, ended.version) == ("completed", 3)
    assert shop.ran == ["reserve 1", "reserve 2", "ship"]
    subjects = await _subjects(floor)
    assert not [one for one in subjects if ".commands." in one]
    revisions = [one for one in subjects if one == floor.names.instance("order", "o-1")]
    positions = [one for one in subjects if one.startswith(f"$KV.{floor.names.bucket}.p.")]
    assert (len(revisions), len(positions)) == (3, 1)


async def test_an_instance_is_listed_while_its_step_is_at_work_and_not_after(
    floor: Floor, shop: Shop, stages: list[Stage]
) -> None:
    order = steps("order", [step("wait", shop.wait)])
    stages.append(await Stage(floor, [order], inline=True).open())
    await stages[0].start("order", "o-1", {})
    await asyncio.wait_for(shop.at_work.wait(), WITHIN_S)
    listed = [position.inline for position in await _positions(floor) if position.inline]
    assert listed == [(floor.names.instance("order", "o-1"),)]
    shop.go_on.set()
    await stages[0].end("order", "o-1")
    await stages[0].run("order", "o-1b", {})  # the list is brought up to date by other work

    async def forgotten() -> bool:
        await stages[0].run("order", f"o-{len(shop.ran)}", {})
        named = {name for position in await _positions(floor) for name in position.inline}
        return floor.names.instance("order", "o-1") not in named

    await eventually(forgotten, WITHIN_S, "the list without what has ended")


async def test_what_the_projections_tell_of_them(
    floor: Floor, shop: Shop, stages: list[Stage], tmp_path: Path
) -> None:
    stages.append(await Stage(floor, [_order(shop)], inline=True).open())
    ended = await stages[0].run("order", "o-1", {"refuse": True})
    assert ended.status == "compensated"
    async with projecting(await floor.other(), floor.names, tmp_path) as now:
        await now.caught_up()
        tables = now.projections.live().cursor()
        commands = tables.execute(
            "SELECT target, status, attempts, error FROM commands ORDER BY version"
        ).fetchall()
        attempts = tables.execute(
            "SELECT target, attempt, stream, outcome, error, saga, key FROM executions"
            " ORDER BY ended_at"
        ).fetchall()
        unread = tables.execute("SELECT * FROM base.unreadable").fetchall()
    assert commands == [
        ("order.reserve", "completed", 2, None),
        ("order.ship", "failed", 1, "no carrier"),
        ("order.reserve.undo", "completed", 1, None),
    ]
    assert attempts == [
        ("order.reserve", 1, "events", "retried", "OSError: the stock is away", "order", "o-1"),
        ("order.reserve", 2, "log", "completed", "", "order", "o-1"),
        ("order.ship", 1, "log", "failed", "no carrier", "order", "o-1"),
        ("order.reserve.undo", 1, "log", "completed", "", "order", "o-1"),
    ]
    assert unread == []


async def test_a_crowd_of_runs_goes_to_the_queues_too(
    floor: Floor, stages: list[Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs.batch, "INLINE_MAX", 10)

    async def work(ctx: StepContext[Any]) -> None:
        return None

    order = steps("order", [step("first", work), step("second", work)])
    stage = Stage(floor, [order], inline=True)
    for number in range(120):
        await stage.start("order", f"o-{number}", {})
    stages.append(await stage.open())
    for number in range(120):
        assert (await stage.end("order", f"o-{number}")).status == "completed"
    sent = [one for one in await _subjects(floor) if ".commands." in one]
    assert 0 < len(sent) < 240
    listed = [
        len(msgspec.json.decode(stored.data, type=Position).inline)
        async for stored in floor.backend.log.history(f"$KV.{floor.names.bucket}.p.>")
    ]
    # A batch knows what is stored and its own: one on its way and two in the making count apart.
    assert max(listed) <= 3 * 10


async def test_a_replay_decides_the_same(floor: Floor, shop: Shop, stages: list[Stage]) -> None:
    order = _order(shop)
    stages.append(await Stage(floor, [order], inline=True).open())
    await stages[0].run("order", "o-1", {"refuse": True})
    client = SagaClient(floor.backend, floor.names)
    history = [one.instance async for one in client.history("order", "o-1")]
    again = replay(order, history)
    assert [one.differs for one in again.steps] == [()] * len(history)


async def test_an_engine_without_their_code_sends_them_to_the_workers(
    floor: Floor, shop: Shop, stages: list[Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs.inline, "LEAVE_S", 0.05)
    order = steps("order", [step("wait", shop.wait), step("ship", shop.ship)])
    first = await Stage(floor, [order], inline=True).open()
    await first.start("order", "o-1", {})
    await asyncio.wait_for(shop.at_work.wait(), WITHIN_S)
    await first.engine.stop()  # its step goes on, its answer reaches nobody
    assert not [one for one in await _subjects(floor) if ".commands." in one]
    backend = await floor.other()
    second = Engine(backend, floor.names, Registry([order]))
    await second.start()
    try:
        await floor.worker(*all_step_jobs([order]), backend=await floor.other())
        shop.go_on.set()
        ended = await first.end("order", "o-1")
        assert ended.status == "completed"
        assert shop.ran == ["wait", "wait", "ship"]
        assert len([one for one in await _subjects(floor) if ".commands." in one]) == 2
        assert all(not position.inline for position in await _positions(floor))
    finally:
        await second.stop()


async def test_a_step_that_failed_for_good_waits_for_an_operator(
    floor: Floor, shop: Shop, stages: list[Stage]
) -> None:
    order = steps("order", [step("ship", shop.ship), step("wait", shop.wait)], on_failure="park")
    stages.append(await Stage(floor, [order], inline=True).open())
    parked = await stages[0].run("order", "o-1", {"refuse": True})
    assert (parked.status, shop.ran) == ("parked", ["ship"])
    shop.go_on.set()
    client = SagaClient(floor.backend, floor.names)
    reply = await client.act("order", "o-1", "retry", by="ada", reason="the carrier is back")
    assert reply.done
    await eventually(lambda: shop.ran == ["ship", "ship"], WITHIN_S, "the step tried again")
    again = await stages[0].end("order", "o-1")
    assert again.status == "parked"
