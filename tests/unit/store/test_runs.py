"""Goal: whoever calls a run by its definition learns how it ended, once, and can act on it.

Method: a real engine and worker on the memory broker; the jobs behind the steps are written by
hand, so that nothing but the calls is under test.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec import Struct

from jobs import JobContext, JobRegistry, failure, job
from jobs.engine import Engine
from jobs.worker import Worker
from sagas import Registry, step, steps
from sagas.retry import RetryPolicy
from store.client import SagaClient
from store.memory import MemoryBroker, SystemClock
from store.run_result import failure_of
from store.runs import RunRefused, Runs

pytestmark = pytest.mark.asyncio

ONCE = RetryPolicy(attempts_max=1)


class Order(Struct):
    total: int
    decline: bool = False


async def _function(ctx: Any) -> Any:
    raise AssertionError("the jobs below answer in its place")


order = steps(
    "order",
    [
        step("reserve", _function, _function),
        step("charge", _function, _function, retry=ONCE),
        step("mail", _function, background=True),
    ],
    input=Order,
)
held = steps("held", [step("charge", _function, retry=ONCE)], input=Order, on_failure="park")
OPEN = asyncio.Event()


@job("order.reserve")
async def reserve(ctx: JobContext[Any], payload: Any) -> Any:
    return {"output": {"rid": "r-1"}, "set": {"rid": "r-1"}}


@job("order.charge")
async def charge(ctx: JobContext[Any], payload: Any) -> Any:
    if payload["context"]["decline"]:
        return failure("declined")
    return {"output": {"paid": payload["context"]["total"]}}


@job("order.mail")
async def mail(ctx: JobContext[Any], payload: Any) -> Any:
    return {"output": "sent"}


@job("order.reserve.undo")
async def release(ctx: JobContext[Any], payload: Any) -> Any:
    return {}


@job("held.charge")
async def charge_when_open(ctx: JobContext[Any], payload: Any) -> Any:
    return {"output": "paid"} if OPEN.is_set() else failure("closed")


@asynccontextmanager
async def _runs() -> AsyncGenerator[Runs]:
    OPEN.clear()
    broker = MemoryBroker(clock=SystemClock())
    jobs = JobRegistry([reserve, charge, mail, release, charge_when_open])
    engine = Engine(broker.backend(), broker.names, Registry([order, held]), engine_id="e1")
    worker = Worker(broker.backend(), broker.names, jobs)
    try:
        await engine.start()
        await worker.start()
        yield Runs(SagaClient(broker.backend("client"), broker.names), by="test")
    finally:
        await worker.stop()
        await engine.stop()
        await broker.close()


async def test_a_run_answers_with_its_output_and_its_steps() -> None:
    async with _runs() as runs:
        result = await runs.run(order, Order(total=5), key="o-1")
        assert (result.success, result.status, result.key) == (True, "completed", "o-1")
        assert result.output == {"paid": 5}
        assert result.context == {"total": 5, "decline": False, "rid": "r-1"}
        assert result.steps["reserve"].output == {"rid": "r-1"}
        assert result.steps["mail"].background
        assert (result.error, result.code, result.compensated_steps) == ("", "", ())
        assert len(result.trace_id) == 32


async def test_a_failure_names_the_step_and_what_was_undone() -> None:
    async with _runs() as runs:
        result = await runs.run(order, Order(total=5, decline=True))
        assert (result.success, result.status, result.failed_step) == (
            False,
            "compensated",
            "charge",
        )
        assert result.compensated_steps == ("reserve",)
        told = failure_of(result)
        assert (told.error, told.code) == ("charge: declined", "ACTION_ERROR")


async def test_the_same_key_is_the_same_run_and_takes_one_input() -> None:
    async with _runs() as runs:
        first, second = await asyncio.gather(
            runs.run(order, Order(total=5), key="o-1"), runs.run(order, Order(total=5), key="o-1")
        )
        assert first.output == second.output
        again = await runs.run(order, Order(total=5), key="o-1")
        assert again.steps == (await runs.get(order, "o-1").result()).steps
        with pytest.raises(RunRefused, match="another input"):
            await runs.run(order, Order(total=6), key="o-1")


async def test_a_parked_run_is_resumed_from_where_it_failed() -> None:
    async with _runs() as runs:
        run = await runs.start(held, Order(total=5), key="h-1")
        stopped = await run.result()
        assert (stopped.status, stopped.failed_step) == ("parked", "charge")
        OPEN.set()
        await run.resume("the bank is back")
        assert (await run.result()).output == "paid"
        with pytest.raises(RunRefused, match="nothing to resume"):
            await run.resume()


async def test_what_can_not_be_started_or_has_no_end_is_told() -> None:
    async with _runs() as runs:
        with pytest.raises(RunRefused, match="no engine here knows"):
            await runs.run("nothing", {})
        with pytest.raises(RunRefused, match="does not fit"):
            await runs.run(order, {"total": "much"})  # type: ignore[arg-type]
        with pytest.raises(RunRefused, match="does not fit order: Expected `int`"):
            await runs.run("order", {"total": "much"})
        with pytest.raises(LookupError, match="does not exist"):
            await runs.get(order, "none").status()
        with pytest.raises(TimeoutError, match="has not ended"):
            await runs.get(order, "none").result(timeout=0.05)
        with pytest.raises(RunRefused, match="needs its code"):
            await runs.get("order", "none").query("total")
