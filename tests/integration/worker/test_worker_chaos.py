"""A worker that is killed and a broker that dies: no command is lost, each keeps its id.

Method: a real server; kill -9 for a worker in a process of its own, and for the server itself.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from jobs import JobContext, job
from jobs.telemetry import JobStarted
from store import codec
from store.subjects import Names
from tests.conftest import NatsServer
from tests.worker_kit import WITHIN_S, Floor, jetstream_floor

ACK_WAIT_S = 1.0


@pytest_asyncio.fixture
async def floor(nats_server: NatsServer, fresh_names: Callable[[], Names]) -> AsyncIterator[Floor]:
    """A fresh installation on the server."""
    floor = await jetstream_floor(nats_server.url, fresh_names())
    yield floor
    await floor.close()


@pytest.mark.asyncio
async def test_a_killed_worker_s_command_comes_back_under_its_id(
    floor: Floor, nats_server: NatsServer
) -> None:
    id = await floor.send()
    names = floor.names
    arguments = (nats_server.url, names.namespace, names.bucket, str(ACK_WAIT_S))
    victim = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.worker.victim", *arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    assert victim.stdout is not None
    line = await asyncio.wait_for(victim.stdout.readline(), WITHIN_S)
    victim.kill()
    await victim.communicate()
    assert line.decode().split() == [id, "1"]

    @job("pay", on_success="Paid")
    async def pay(ctx: JobContext[Any]) -> int:
        return ctx.attempt

    await floor.worker(pay, ack_wait_s=ACK_WAIT_S)
    result = await floor.result("Paid")
    assert (result.headers[codec.CAUSE], result.payload) == (id, 2)


@pytest.mark.chaos
@pytest.mark.asyncio
async def test_a_broker_that_is_killed_in_the_middle(floor: Floor, nats_server: NatsServer) -> None:
    gate = asyncio.Event()

    @job("pay", concurrency=10, on_success="Paid")
    async def pay(ctx: JobContext[Any]) -> None:
        await gate.wait()

    ids = [await floor.send(key=f"k{number}") for number in range(20)]
    await floor.worker(pay, ack_wait_s=ACK_WAIT_S)
    await floor.told.seen(JobStarted, 10)
    await asyncio.to_thread(nats_server.kill)
    gate.set()
    await asyncio.to_thread(nats_server.restart)
    results = await floor.results(20, "Paid")
    while {r.headers[codec.CAUSE] for r in results} != set(ids):
        results = await floor.results(len(results) + 1, "Paid")
    assert {r.key for r in results} == {f"k{number}" for number in range(20)}
