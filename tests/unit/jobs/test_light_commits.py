"""Goal: the answer of a step that the engine carried out itself is not left behind when its commit
fails while nothing else happens, and is no word to go on by once its partition is somebody else's.

Method: engine and worker in one process on the broker in memory; the commits of one instance are
refused or unanswered, and no other message comes; or another lane takes the partition.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from jobs import StepContext
from jobs.engine import Engine
from jobs.inline import InlineSteps, inline_targets
from jobs.job import JobRegistry
from jobs.lane import Lane
from jobs.steps import all_step_jobs
from jobs.telemetry import PartitionLeft
from jobs.worker import Worker
from sagas import Registry, step, steps
from store.client import SagaClient
from store.memory import MemoryBroker, SystemClock
from store.memory.faults import Answer, Fault, LoseReply, LoseRequest, ScriptedFaults
from store.port import Busy, Conflict, Stored
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


class _Losses:
    """A hook that keeps which partitions were lost to others."""

    def __init__(self) -> None:
        self.lost: list[int] = []

    def told(self, moment: object) -> None:
        if isinstance(moment, PartitionLeft) and moment.lost:
            self.lost.append(moment.partition)


async def test_an_engine_that_has_lost_its_partition_begins_no_more_steps() -> None:
    """Another one has sent its step on meanwhile; what it wrote is no ground to go on from."""
    go, never, begun = asyncio.Event(), asyncio.Event(), itertools.count()

    async def first(ctx: StepContext[Any]) -> None:
        await (never if next(begun) else go).wait()  # the worker has it again from the queue

    async def second(ctx: StepContext[Any]) -> None:
        await never.wait()

    definition = steps("walk", [step("first", first), step("second", second)])
    jobs, registry = JobRegistry(all_step_jobs([definition])), Registry([definition])
    broker, losses = MemoryBroker(partitions=1, clock=SystemClock()), _Losses()
    inline = InlineSteps(broker.names, inline_targets(registry, jobs))
    worker = Worker(broker.backend(), broker.names, jobs, inline=inline, grace_s=0.0)
    engine = Engine(broker.backend(), broker.names, registry, inline=inline, hook=losses)
    for service in (worker, engine):
        await service.start()
    run = await Runs(SagaClient(broker.backend(), broker.names), by="test").start("walk", {})
    await eventually(lambda: worker.running)
    other = Lane(broker.backend(), broker.names, registry, "other")
    task = asyncio.create_task(other.run())
    await other.acquire(0)
    subject = broker.names.instance("walk", run.key)

    def versions() -> list[Stored]:
        return list(broker.log.since(0, [subject]))

    await eventually(lambda: len(versions()) == 2)
    go.set()
    await eventually(lambda: losses.lost)
    assert len(versions()) == 2
    other.stop()
    await task
    for service in (engine, worker):
        await service.stop()
    await broker.close()
