"""Goal: the answer of a step that the engine carried out itself is not left behind when its commit
fails while nothing else happens.

Method: engine and worker in one process on the broker in memory; the commits of one instance are
refused or unanswered, and no other message comes.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from jobs import StepContext
from jobs.engine import Engine
from jobs.inline import InlineSteps, inline_targets
from jobs.job import JobRegistry
from jobs.steps import all_step_jobs
from jobs.worker import Worker
from sagas import Registry, step, steps
from store.client import SagaClient
from store.memory import MemoryBroker, SystemClock
from store.memory.faults import Answer, Fault, LoseReply, LoseRequest, ScriptedFaults
from store.port import Busy, Conflict
from store.runs import Runs
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize(
    "fault",
    [Answer(Conflict("10164 in mid-air")), Answer(Busy("no leader")), LoseReply(), LoseRequest()],
    ids=lambda fault: type(getattr(fault, "outcome", fault)).__name__,
)
async def test_an_answer_whose_commit_fails_is_decided_again_at_once(fault: Fault) -> None:
    go = asyncio.Event()

    async def first(ctx: StepContext[Any]) -> None:
        await go.wait()

    async def second(ctx: StepContext[Any]) -> None: ...

    definition = steps("walk", [step("first", first), step("second", second)])
    jobs, registry = JobRegistry(all_step_jobs([definition])), Registry([definition])
    faults = ScriptedFaults()
    broker = MemoryBroker(partitions=1, clock=SystemClock(), faults=faults)
    inline = InlineSteps(broker.names, inline_targets(registry, jobs))
    worker = Worker(broker.backend("here"), broker.names, jobs, inline=inline)
    engine = Engine(broker.backend("here"), broker.names, registry, inline=inline)
    for service in (worker, engine):
        await service.start()
    runs = Runs(SagaClient(broker.backend(), broker.names), by="test")
    run = await runs.start("walk", {})
    await eventually(lambda: worker.running)
    faults.on("log.commit", fault, process="here", subject=".i.walk.", times=1)
    go.set()
    result = await runs.get("walk", run.key).result(5.0)
    assert result.status == "completed"
    for service in (engine, worker):
        await service.stop()
    await broker.close()
