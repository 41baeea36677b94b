"""The limits of jobs: time-outs, heartbeats, deadlines, concurrency; on memory and on a server.

Method: commands are stored as the engine stores them, a worker with small jobs runs, and the
results are read from the events stream; time limits are real and short.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs import JobContext, job
from jobs.telemetry import JobStarted
from sagas.retry import retry
from store import codec
from store.port import TopologyDrift
from tests.waiting import busy
from tests.worker_kit import Floor, Room, attempts


@pytest.mark.asyncio
async def test_a_time_out_counts_as_an_attempt(floor: Floor) -> None:
    @job("pay", retry=retry(2, 0.01), timeout=0.05)
    async def pay(ctx: JobContext[Any]) -> None:
        await asyncio.Event().wait()

    await floor.worker(pay)
    await floor.send()
    results = await floor.results(2)
    assert attempts(results) == [(1, "timed_out"), (2, "timed_out")]
    assert results[1].payload["error"] == "TimeoutError"
    assert "given up after attempt 2" in results[1].headers[codec.DEAD_LETTER]


@pytest.mark.asyncio
async def test_a_silent_job_is_dead_and_a_beating_one_is_not(floor: Floor) -> None:
    @job("pay", retry=retry(2, 0.01), heartbeat=0.2, on_success="Paid")
    async def pay(ctx: JobContext[Any]) -> str:
        if ctx.attempt == 1:
            await asyncio.Event().wait()
        for _ in range(10):
            ctx.heartbeat()
            await busy(0.05)
        return "ok"

    await floor.worker(pay)
    await floor.send()
    results = await floor.results(2)
    assert attempts(results) == [(1, "timed_out"), (2, "completed")]
    assert "no heartbeat for 0.2 s" in results[0].execution.error


@pytest.mark.asyncio
async def test_after_the_deadline_nothing_runs(floor: Floor) -> None:
    @job("pay")
    async def pay(ctx: JobContext[Any]) -> None:
        await asyncio.Event().wait()

    past = datetime.now(UTC) - timedelta(seconds=1)
    soon = datetime.now(UTC) + timedelta(seconds=0.3)
    await floor.send(key="past", DEADLINE=past.isoformat().replace("+00:00", "Z"))
    await floor.send(key="soon", DEADLINE=soon.isoformat())
    await floor.worker(pay)
    results = await floor.results(2)
    assert {r.key: r.payload["reason"] for r in results} == dict.fromkeys(
        ("past", "soon"), "deadline passed"
    )
    assert {r.execution.outcome for r in results} == {"timed_out"}


@pytest.mark.asyncio
async def test_concurrency_holds_in_one_worker(floor: Floor) -> None:
    room = Room(3)

    @job("pay", concurrency=3, on_success="Paid")
    async def pay(ctx: JobContext[Any]) -> None:
        await room.visit()

    for number in range(12):
        await floor.send(key=f"k{number}")
    await floor.worker(pay)
    await floor.results(12)
    assert room.most == 3


@pytest.mark.asyncio
async def test_total_concurrency_holds_over_two_workers(floor: Floor) -> None:
    room = Room(2)

    @job("pay", concurrency_total=2, on_success="Paid")
    async def pay(ctx: JobContext[Any]) -> None:
        await room.visit()

    for number in range(10):
        await floor.send(key=f"k{number}")
    await floor.worker(pay)
    await floor.worker(pay, backend=await floor.other())
    await floor.results(10)
    assert room.most == 2


@pytest.mark.asyncio
async def test_workers_that_disagree_about_a_target_are_told(floor: Floor) -> None:
    @job("pay")
    async def pay(ctx: JobContext[Any]) -> None: ...

    @job("pay", concurrency_total=2)
    async def limited(ctx: JobContext[Any]) -> None: ...

    await floor.worker(pay)
    with pytest.raises(TopologyDrift):
        await floor.worker(limited)


@pytest.mark.asyncio
async def test_a_long_job_is_kept_from_others_by_signs_of_life(floor: Floor) -> None:
    gate = asyncio.Event()

    @job("pay", on_success="Paid")
    async def pay(ctx: JobContext[Any]) -> int:
        await gate.wait()
        return ctx.attempt

    await floor.worker(pay, ack_wait_s=1.0)
    await floor.worker(pay, backend=await floor.other(), ack_wait_s=1.0)
    await floor.send()
    await floor.told.seen(JobStarted)
    asyncio.get_running_loop().call_later(2.5, gate.set)
    assert (await floor.result("Paid")).payload == 1
    assert len(floor.told.of(JobStarted)) == 1


@pytest.mark.asyncio
async def test_two_workers_share_the_commands_of_a_target(floor: Floor) -> None:
    room = Room(2)

    @job("pay", concurrency=1, on_success="Paid")
    async def pay(ctx: JobContext[Any]) -> None:
        await room.visit()

    await floor.worker(pay, worker_id="one")
    await floor.worker(pay, worker_id="two", backend=await floor.other())
    ids = [await floor.send(key=f"k{number}") for number in range(10)]
    results = await floor.results(10)
    assert sorted(r.headers[codec.CAUSE] for r in results) == sorted(ids)
    assert {r.execution.worker for r in results} == {"one", "two"}
