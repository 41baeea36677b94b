"""Goal: a job run by hand works like any other, and no saga hears of it.

Method: a real engine and worker on the memory broker; the shop's saga waits for the very event that
the job publishes when a saga asked for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import Raw

from jobs import JobContext, JobRegistry, job
from jobs.worker import Worker
from sagas import RetryPolicy
from store import codec
from store.job_runs import JobRuns
from tests.unit.store.shop import Floor, open_shop

pytestmark = pytest.mark.asyncio

WITHIN_S = 10.0


class _Flaky:
    """Fails at its first attempts."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, str, str, str]] = []


@contextlib.asynccontextmanager
async def _runs(fail: int = 0) -> AsyncIterator[tuple[Floor, JobRuns, _Flaky]]:
    flaky = _Flaky()

    @job("pay", on_success="Charged", on_failure="Declined", retry=RetryPolicy(attempts_max=3))
    async def pay(ctx: JobContext[Any], payload: Any) -> Any:
        flaky.seen.append((ctx.attempt, ctx.command_id, ctx.saga, ctx.key))
        if ctx.attempt <= fail:
            raise RuntimeError("not now")
        return {"paid": payload}

    async with open_shop() as floor:
        worker = Worker(floor.broker.backend(), floor.names, JobRegistry([pay]), worker_id="w1")
        await worker.start()
        try:
            yield floor, JobRuns(floor.backend, floor.names), flaky
        finally:
            await worker.stop()


async def test_it_runs_and_its_result_is_had() -> None:
    async with _runs() as (floor, runs, flaky):
        run = await runs.send("pay", Raw(b'{"a":1}'), token="t1", by="ann é", reason="to try")
        result = await runs.result(run, WITHIN_S)
        assert result is not None
        assert (result.outcome, bytes(result.payload)) == ("completed", b'{"paid":{"a":1}}')
        assert (result.attempt, result.worker) == (1, "w1")
        assert flaky.seen == [(1, "by-hand.t1", "", "t1")]
        stored = await floor.backend.log.at("log", run.seq)
        assert stored is not None
        assert stored.headers[codec.REASON] == "to=20try"
        assert stored.headers[codec.BY] == "ann=20=C3=A9"


async def test_no_saga_hears_of_it() -> None:
    """The instance o-1 would end at Charged, which this job publishes for sagas."""
    async with _runs() as (floor, runs, _):
        await floor.client.publish("OrderPlaced", {"orderId": "o-1", "amount": 5}, "o-1")
        run = await runs.send("pay", Raw(b'{"orderId":"o-1"}'), token="t1", key="o-1")
        assert await runs.result(run, WITHIN_S) is not None
        await floor.client.publish("OrderClosed", {"orderId": "o-1"}, "o-1")
        async with asyncio.timeout(WITHIN_S):
            async for revision in floor.client.watch("Shop", "o-1", after=0):
                if revision.instance.finished:
                    assert revision.instance.cause.type == "OrderClosed"
                    assert revision.instance.version == 2
                    break
        assert await floor.client.dead_letters() == []


async def test_it_is_retried_and_given_up_without_a_dead_letter() -> None:
    async with _runs(fail=9) as (floor, runs, flaky):
        run = await runs.send("pay", token="t1")
        result = await runs.result(run, WITHIN_S)
        assert result is not None
        assert (result.outcome, result.attempt) == ("failed", 3)
        assert "not now" in result.error
        assert len(flaky.seen) == 3
        assert await floor.client.dead_letters(None) == []


async def test_the_same_token_runs_once() -> None:
    async with _runs() as (_, runs, flaky):
        first, second = [await runs.send("pay", token="t1") for _ in range(2)]
        assert first == second
        results = await asyncio.gather(*(runs.result(run, WITHIN_S) for run in (first, second)))
        assert results[0] == results[1]
        assert len(flaky.seen) == 1


async def test_an_older_run_of_the_same_key_is_not_taken_for_it() -> None:
    async with _runs() as (_, runs, flaky):
        first = await runs.send("pay", Raw(b"1"), token="t1", key="k")
        await runs.result(first, WITHIN_S)
        second = await runs.send("pay", Raw(b"2"), token="t2", key="k")
        result = await runs.result(second, WITHIN_S)
        assert result is not None
        assert bytes(result.payload) == b'{"paid":2}'
        assert len(flaky.seen) == 2


async def test_without_a_worker_there_is_no_result() -> None:
    async with open_shop() as floor:
        runs = JobRuns(floor.backend, floor.names)
        assert await runs.result(await runs.send("pay", token="t1"), 0.05) is None
