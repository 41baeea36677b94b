"""The way of results to the broker when it does not go well: nothing lost, nothing acked too early.

Method: a memory broker with scripted faults under a real worker; each test says what goes wrong
and looks at what is stored and which deliveries were ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from jobs import JobContext, job
from jobs.sender import BATCH_BYTES_MAX
from jobs.telemetry import JobStarted, ResultLost, ResultsDelayed, ResultsPublished
from store import codec
from store.memory import Answer, Fail, LoseReply, LoseRequest, ScriptedFaults
from store.port import Busy, Conflict, Invalid, Refused, Unreachable
from tests.worker_kit import Floor, memory_floor


@pytest.fixture
def faults() -> ScriptedFaults:
    """What goes wrong."""
    return ScriptedFaults()


@pytest_asyncio.fixture
async def floor(faults: ScriptedFaults) -> AsyncIterator[Floor]:
    """A fresh installation in memory."""
    floor = memory_floor(faults=faults)
    yield floor
    await floor.close()


async def _together(floor: Floor, count: int, returns: Any = None, **more: Any) -> None:
    """Run ``count`` jobs that end in the same moment."""
    gate = asyncio.Event()

    @job("pay", concurrency=count, on_success="Paid", on_failure="NotPaid")
    async def pay(ctx: JobContext[Any]) -> Any:
        await gate.wait()
        return returns

    for number in range(count):
        await floor.send(key=f"k{number}")
    await floor.worker(pay, **more)
    await floor.told.seen(JobStarted, count)
    gate.set()


@pytest.mark.asyncio
@pytest.mark.parametrize("answer", [Busy("full"), Conflict("odd")])
async def test_a_batch_that_found_no_room_is_sent_again(
    floor: Floor, faults: ScriptedFaults, answer: Busy | Conflict
) -> None:
    faults.on("door.publish_batch", Answer(answer), times=3)
    await _together(floor, 5)
    assert len(await floor.results(5)) == 5
    assert len(await floor.told.seen(ResultsDelayed, 3)) == 3
    assert [m.count for m in await floor.told.seen(ResultsPublished)] == [5]


@pytest.mark.asyncio
async def test_a_lost_request_is_sent_again(floor: Floor, faults: ScriptedFaults) -> None:
    faults.on("door.publish", LoseRequest())
    await _together(floor, 1)
    assert len(await floor.results(1)) == 1


@pytest.mark.asyncio
async def test_a_lost_answer_gives_the_same_result_twice(
    floor: Floor, faults: ScriptedFaults
) -> None:
    faults.on("door.publish_batch", LoseReply())
    await _together(floor, 2)
    await floor.told.seen(ResultsPublished)
    results = await floor.results(4)
    assert len({r.headers[codec.CAUSE] for r in results}) == 2


@pytest.mark.asyncio
async def test_a_batch_that_is_refused_goes_one_by_one(
    floor: Floor, faults: ScriptedFaults
) -> None:
    faults.on("door.publish_batch", Answer(Invalid(10054, "one is too large")))
    faults.on("door.publish", Fail(Refused("not this one")), subject="k1")
    faults.on("door.publish", Fail(Unreachable("gone for a moment")), subject="k2")
    await _together(floor, 4)
    results = {r.key: r for r in await floor.results(4)}
    assert results["k1"].type == "NotPaid"
    assert "not this one" in results["k1"].payload["reason"]
    assert "not this one" in results["k1"].headers[codec.DEAD_LETTER]
    assert [results[key].type for key in ("k0", "k2", "k3")] == ["Paid"] * 3


@pytest.mark.asyncio
async def test_a_result_refused_in_every_form_is_told_and_handed_back(
    floor: Floor, faults: ScriptedFaults
) -> None:
    faults.on("door.publish", Fail(Refused("never")), times=2)
    await _together(floor, 1)
    [lost] = await floor.told.seen(ResultLost)
    assert "never" in lost.reason
    assert await floor.results(0) == []


@pytest.mark.asyncio
async def test_an_ack_that_is_lost_runs_the_job_again(floor: Floor, faults: ScriptedFaults) -> None:
    faults.on("queues.ack", LoseRequest())
    await _together(floor, 1, ack_wait_s=0.1)
    results = await floor.results(2)
    assert {r.headers[codec.CAUSE] for r in results} == {results[0].headers[codec.CAUSE]}
    assert [r.execution.attempt for r in results] == [1, 2]


@pytest.mark.asyncio
async def test_large_results_are_spread_over_batches(floor: Floor) -> None:
    size = 900_000
    count = 2 * BATCH_BYTES_MAX // size
    await _together(floor, count, "x" * size)
    assert len(await floor.results(count)) == count
    counts = [m.count for m in await floor.told.seen(ResultsPublished, 2)]
    assert max(counts) * size <= BATCH_BYTES_MAX


@pytest.mark.asyncio
async def test_commands_are_taken_again_after_an_interruption(
    floor: Floor, faults: ScriptedFaults
) -> None:
    faults.on("queues.take", Fail(Unreachable("away")), times=3)
    await _together(floor, 1)
    assert len(await floor.results(1)) == 1


@pytest.mark.asyncio
async def test_a_stop_with_the_broker_away_ends_and_loses_nothing(
    floor: Floor, faults: ScriptedFaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.worker.FLUSH_S", 0.1)
    faults.on("door.publish", LoseRequest(), times=1000, process="first")
    await _together(floor, 1)
    await floor.told.seen(ResultsDelayed)
    other = await floor.other()

    @job("pay", on_success="Paid")
    async def pay(ctx: JobContext[Any]) -> int:
        return ctx.attempt

    first = floor.workers[0]
    await first.stop()
    await floor.worker(pay, backend=other)
    assert (await floor.result()).payload == 2
