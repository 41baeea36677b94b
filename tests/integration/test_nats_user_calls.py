"""Goal: the NATS user of workers may do what a call of a step asks of the broker, and no more.

Method: a real nats-server with the users that `snorri nats-users` writes; a worker that serves a
job and calls it, as that user; what the server denies would raise.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from jobs import JobContext, JobRegistry, job
from jobs.worker import Worker
from store.jetstream import connect
from store.job_calls import JobCall, JobCalls, UnknownTarget
from store.port import Denied
from store.subjects import Names
from tests.nats_guarded import GuardedNats

SERVED = "charge"
WITHOUT_WORKER = "refund"
WITHIN_S = 10.0


@pytest.mark.asyncio
async def test_a_worker_s_user_may_call_the_jobs_of_the_installation(tmp_path: Path) -> None:
    names = Names()
    nats = GuardedNats(tmp_path / "nats", names, [SERVED, WITHOUT_WORKER])
    await asyncio.to_thread(nats.start)

    @job(SERVED)
    async def charge(ctx: JobContext[Any], payload: Any) -> Any:
        return {"charged": payload}

    def call(target: str) -> JobCall:
        return JobCall(
            token="0" * 32,
            sender="order.o-1.1.0",
            target=target,
            payload=Raw(b"5"),
            saga="order",
            key="o-1",
        )

    try:
        operator = await connect(nats.url, names, login=nats.login("operator"))
        backend = await connect(nats.url, names, login=nats.login("worker"), make=False)
        worker = Worker(backend, names, JobRegistry([charge]))
        await worker.start()
        calls = JobCalls(backend, names)
        async with asyncio.timeout(WITHIN_S):
            assert await calls.send(call(SERVED)) is True
            assert await calls.send(call(SERVED)) is False
            result = await calls.result(call(SERVED))
        assert bytes(result.payload) == b'{"charged":5}'
        with pytest.raises(UnknownTarget, match="snorri jobs refund"):
            await calls.send(call(WITHOUT_WORKER))
        with pytest.raises(Denied):
            await calls.send(call("elsewhere"))
        with pytest.raises(Denied):
            await backend.feeds.open("events", [names.stored_event("Paid", "o-1")], 0, _nothing)
        await worker.stop()
        for one in (backend, operator):
            await one.close()
    finally:
        await asyncio.to_thread(nats.close)


def _nothing() -> None:
    """Nobody listens."""
