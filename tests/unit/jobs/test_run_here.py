"""Goal: a run in one call has the outcome it would have anywhere, and leaves nothing behind.

Method: lists, workflows with children, entities and jobs, and what can't be started.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec import Struct

from jobs import JobContext, PermanentFailure, Providers, StepContext, job
from jobs.run_here import run_here
from sagas import WorkflowSaga, entity, step, steps, workflow
from store.run_result import RunFailed
from store.runs import RunRefused

pytestmark = pytest.mark.asyncio


class Batch(Struct):
    size: int


async def _download(ctx: StepContext[Any], batch: Batch, *, source: str) -> dict[str, str]:
    return {"rows": f"{batch.size} of {source}"}


async def _refuse(ctx: StepContext[Any]) -> None:
    raise PermanentFailure("no room", code="FULL")


async def _drop(ctx: StepContext[Any], data: Any) -> None: ...


def _providers() -> Providers:
    providers = Providers()
    providers.provide("source", "the shop")
    return providers


async def test_a_list_runs_in_one_call_and_leaves_nothing_behind() -> None:
    before = asyncio.all_tasks()
    load = steps("load", [step("download", _download, _drop)], input=Batch)
    result = await run_here(load, Batch(3), providers=_providers())
    assert result.status == "completed"
    assert result.unwrap() == {"rows": "3 of the shop"}
    assert asyncio.all_tasks() == before


async def test_a_failure_is_undone_and_told() -> None:
    load = steps("load", [step("download", _download, _drop), step("keep", _refuse)], input=Batch)
    result = await run_here(load, Batch(3), providers=_providers())
    assert (result.status, result.failed_step, result.code) == ("compensated", "keep", "FULL")
    with pytest.raises(RunFailed, match="no room"):
        result.unwrap()


async def test_a_workflow_finds_its_children_entities_and_jobs() -> None:
    counter = entity("Counter", state=int)

    @counter.handler("add")
    async def add(saga: WorkflowSaga, number: int) -> int:
        saga.state += number
        return saga.state

    @job("double")
    async def double(ctx: JobContext[Any], payload: int) -> int:
        return 2 * payload

    @workflow("Child")
    async def child(saga: WorkflowSaga, number: int) -> int:
        return await saga.call("double", number, type=int)

    @workflow("Parent")
    async def parent(saga: WorkflowSaga, number: int) -> int:
        return await add.call(saga, "c", await saga.child(child, number))

    result = await run_here(parent, 4, others=[child, counter], jobs=[double])
    assert result.unwrap() == 8


async def test_what_can_not_start_or_does_not_end_is_told() -> None:
    @workflow("Waits")
    async def waits(saga: WorkflowSaga) -> None:
        await saga.sleep("1h")

    load = steps("load", [step("download", _download)], input=Batch)
    with pytest.raises(RunRefused, match="does not fit load"):
        await run_here(load, {"size": "x"}, providers=_providers())  # type: ignore[call-overload]
    with pytest.raises(TimeoutError, match="has not ended within 0"):
        await run_here(waits, timeout=0.2)
