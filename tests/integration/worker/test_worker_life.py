"""The life of a worker and of what it holds: stop, threads, dependencies, presence, targets.

Method: commands are stored as the engine stores them, a worker with small jobs runs, and the
results are read from the events stream; time limits are real and short.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from jobs import JobContext, Providers, job
from jobs.job import JobRegistry
from jobs.telemetry import JobStarted
from jobs.worker import Worker
from sagas.errors import DefinitionError
from sagas.retry import retry
from store import codec
from store.cards import JobCard, job_cards
from tests.worker_kit import Floor, attempts


class Payment(Struct):
    """What the tests' jobs are asked for."""

    amount: int
    note: str = ""


@pytest.mark.asyncio
async def test_a_stop_lets_jobs_end_and_hands_back_the_others(floor: Floor) -> None:
    begun, gate = asyncio.Event(), asyncio.Event()
    stopped: list[str] = []

    @job("pay", on_success="Paid")
    async def pay(ctx: JobContext[Any]) -> str:
        if ctx.attempt == 2:
            return "again"
        begun.set()
        if ctx.key == "quick":
            await gate.wait()
            return "in time"
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.append(ctx.key)
            raise
        raise AssertionError("not reached")

    first = await floor.worker(pay, grace_s=0.3, ack_wait_s=30.0)
    await floor.send(key="quick")
    await floor.send(key="slow")
    await floor.told.seen(JobStarted, 2)
    stop = asyncio.create_task(first.stop())
    gate.set()
    await stop
    await first.stop()
    await first.wait()
    assert stopped == ["slow"]
    paid = await floor.result("Paid")
    assert (paid.key, paid.payload) == ("quick", "in time")
    assert attempts(await floor.results(1, codec.ATTEMPTED)) == [(1, "returned")]
    # Handed back, so it is there at once and not after the ack wait of 30 s.
    await floor.worker(pay, backend=await floor.other())
    results = await floor.results(2, "Paid")
    assert (results[1].key, results[1].payload) == ("slow", "again")


@pytest.mark.asyncio
async def test_a_stop_while_it_starts_leaves_nothing_behind(floor: Floor) -> None:
    @job("pay", on_success="Paid")
    async def pay(ctx: JobContext[Any]) -> None: ...

    before = asyncio.all_tasks()
    worker = Worker(floor.backend, floor.names, JobRegistry([pay]))
    starting = asyncio.create_task(worker.start())
    await asyncio.sleep(0)
    await worker.stop()
    await worker.wait()
    assert starting.done()
    starting.result()
    assert {task.get_name() for task in asyncio.all_tasks() - before} <= {"worker stop"}
    state = await floor.backend.queues.state("pay")
    assert state is None or state.asking == 0
    await worker.start()  # which comes too late
    assert not asyncio.all_tasks() - before


@pytest.mark.asyncio
async def test_plain_functions_run_in_threads(floor: Floor) -> None:
    names: list[str] = []
    variable = contextvars.ContextVar("variable", default="")

    @job("pay", on_success="Paid", retry=retry(2, 0.01))
    def pay(ctx: JobContext[Payment], payload: Payment) -> object:
        names.append(threading.current_thread().name)
        ctx.heartbeat()
        if ctx.attempt == 1:
            raise StopIteration("of all things")
        return {"paid": payload.amount, "variable": variable.get()}

    variable.set("inherited")
    await floor.worker(pay, worker_id="w")
    await floor.send({"amount": 2})
    results = await floor.results(2)
    assert attempts(results) == [(1, "retried"), (2, "completed")]
    assert results[1].payload["paid"] == 2
    assert all(name.startswith("w-job") for name in names)


@pytest.mark.asyncio
async def test_dependencies_live_as_long_as_they_say(floor: Floor) -> None:
    told: list[str] = []

    async def pool():
        told.append("pool")
        yield "pool"
        told.append("pool closed")

    async def session(ctx: JobContext[Any]):
        told.append(f"session {ctx.key}.{ctx.attempt}")
        try:
            yield ctx.key
        except OSError as error:
            told.append(f"rollback {error}")  # swallowed here, the attempt has failed all the same
        else:
            told.append("commit")

    providers = Providers()
    providers.provide("pool", pool)
    providers.provide("session", session, scope="command")

    @job("pay", on_success="Paid", retry=retry(2, 0.01))
    async def pay(ctx: JobContext[Any]) -> object:
        assert await ctx.resolve("session") is await ctx.resolve("session")
        if ctx.attempt == 1:
            raise OSError("broken")
        return await ctx.resolve("pool")

    worker = await floor.worker(pay, providers=providers)
    await floor.send()
    assert (await floor.result("Paid")).payload == "pool"
    await worker.stop()
    expected = ["session o-1.1", "rollback broken", "session o-1.2", "pool", "commit"]
    assert told == [*expected, "pool closed"]


@pytest.mark.asyncio
async def test_presence_and_cards_are_in_the_meta_bucket(floor: Floor) -> None:
    @job("pay", concurrency=2, on_success="Paid")
    async def pay(ctx: JobContext[Any]) -> None:
        """Take the money."""

    worker = await floor.worker(pay, worker_id="w.1")
    meta = floor.backend.meta
    [card] = await meta.entries("worker.")
    assert card.data is not None
    assert msgspec.json.decode(card.data)["targets"] == ["pay"]
    about = await meta.get("job.pay")
    assert about is not None
    assert about.data is not None
    declared = msgspec.json.decode(about.data, type=JobCard)
    assert declared.description == "Take the money."
    await worker.stop()
    assert await meta.entries("worker.") == []
    [left] = await job_cards(meta)
    assert left.seen is not None
    assert declared.seen is not None
    assert left.seen > declared.seen  # the card tells until when somebody served it


@pytest.mark.asyncio
async def test_targets_can_be_chosen_and_disabled_jobs_wait(floor: Floor) -> None:
    @job("pay", on_success="Paid")
    async def pay(ctx: JobContext[Any]) -> None: ...

    @job("refund", on_success="Refunded", enabled=False)
    async def refund(ctx: JobContext[Any]) -> None: ...

    worker = await floor.worker(pay, refund)
    assert worker.targets == ("pay",)
    await worker.stop()
    other = await floor.worker(pay, refund, targets=["refund"])
    await floor.send(target="refund")
    assert (await floor.result()).type == "Refunded"
    assert other.targets == ("refund",)
    with pytest.raises(DefinitionError, match="did you mean 'refund'"):
        await floor.worker(pay, refund, targets=["refunds"])


@pytest.mark.asyncio
async def test_commands_fetched_ahead_for_quick_jobs_are_handed_back_at_a_stop(
    floor: Floor,
) -> None:
    is_slow = True

    @job("pay", concurrency=2, on_success="Paid")
    async def pay(ctx: JobContext[Any]) -> None:
        if ctx.key == "slow" and is_slow:
            await asyncio.Event().wait()

    first = await floor.worker(pay, grace_s=0.05)
    for number in range(60):
        await floor.send(key=f"k{number}")
    await floor.results(60, "Paid")
    for _ in range(12):
        await floor.send(key="slow")
    await floor.told.seen(JobStarted, 62)
    await first.stop()
    assert first.running == 0
    is_slow = False
    await floor.worker(pay, backend=await floor.other())
    results = await floor.results(72, "Paid")
    assert len({r.headers[codec.CAUSE] for r in results}) == 72
