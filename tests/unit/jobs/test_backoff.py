"""Retries in virtual time: how long a command waits, and when it is given up without being run.

Method: a memory broker whose clock the test moves, a worker with fixed jitter.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from jobs import JobContext, job
from jobs.execution import DELIVERIES_EXTRA_MAX
from jobs.telemetry import JobRetried, JobStarted
from jobs.worker import ACK_WAIT_S, IN_FLIGHT_MAX
from sagas.retry import retry
from store import codec
from store.memory import VirtualClock
from tests.worker_kit import Floor, memory_floor


@pytest_asyncio.fixture
async def floor() -> AsyncIterator[Floor]:
    """A fresh installation in memory, its clock in the test's hands."""
    floor = memory_floor(VirtualClock())
    yield floor
    await floor.close()


@pytest.mark.asyncio
async def test_the_delay_grows_and_is_kept(floor: Floor) -> None:
    assert floor.advance is not None

    @job("pay", retry=retry(3, 10), on_failure="NotPaid")
    async def pay(ctx: JobContext[Any]) -> None:
        raise OSError("no")

    await floor.worker(pay, fraction=lambda: 0.0)
    await floor.send()
    await floor.told.seen(JobRetried)
    await floor.advance(9.9)
    assert len(floor.told.of(JobStarted)) == 1
    await floor.advance(0.2)
    await floor.told.seen(JobRetried, 2)
    await floor.advance(19.8)
    assert len(floor.told.of(JobStarted)) == 2
    await floor.advance(0.3)
    await floor.result("NotPaid")
    assert [moment.delay_s for moment in floor.told.of(JobRetried)] == [10.0, 20.0]


@pytest.mark.asyncio
async def test_jitter_shortens_the_delay(floor: Floor) -> None:
    @job("pay", retry=retry(2, 10, jitter=0.5))
    async def pay(ctx: JobContext[Any]) -> None:
        raise OSError("no")

    await floor.worker(pay, fraction=lambda: 1.0)
    await floor.send()
    assert [moment.delay_s for moment in await floor.told.seen(JobRetried)] == [5.0]


@pytest.mark.asyncio
@pytest.mark.parametrize("over", [0, 1])
async def test_a_command_that_keeps_killing_its_workers_is_given_up(
    floor: Floor, over: int
) -> None:
    ran: list[int] = []

    @job("pay", retry=retry(2, 1), on_success="Paid", on_failure="NotPaid")
    async def pay(ctx: JobContext[Any]) -> None:
        ran.append(ctx.attempt)

    await floor.send()
    queues = floor.backend.queues
    queue = await queues.open("pay", ack_wait_s=ACK_WAIT_S, in_flight_max=IN_FLIGHT_MAX)
    deaths = 2 + DELIVERIES_EXTRA_MAX - 1 + over
    for _ in range(deaths):
        [work] = await queue.take(1, 0)
        await work.nak()
    await queue.close()
    await floor.worker(pay)
    result = await floor.result()
    if over:
        assert (result.type, ran) == ("NotPaid", [])
        assert f"it was delivered {deaths + 1} times" in result.headers[codec.DEAD_LETTER]
    else:
        assert (result.type, ran) == ("Paid", [deaths + 1])
