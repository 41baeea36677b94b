"""What runs in a mixed run: orders, timers, a list of steps and a workflow, all with a ledger."""

from __future__ import annotations

from typing import Any

from jobs import JobRegistry, PermanentFailure, StepContext
from jobs.steps import all_step_jobs
from sagas import WorkflowSaga, step, steps, workflow
from tests.chaos.app import bell, charge, give_back, order, reserve
from tests.chaos.step_runner import fails, write_down


async def _undo(ctx: StepContext[Any]) -> None:
    await write_down(ctx)


@step("pack", compensate=_undo)
async def pack(ctx: StepContext[Any], number: Any) -> dict[str, Any]:
    """The first step."""
    await write_down(ctx)
    return {"packed": True}


@step("seal", compensate=_undo)
async def seal(ctx: StepContext[Any], number: Any) -> dict[str, Any]:
    """The second."""
    await write_down(ctx)
    return {"sealed": True}


@step("send")
async def send(ctx: StepContext[Any], number: Any) -> dict[str, Any]:
    """The third, where one run in ten fails."""
    await write_down(ctx)
    if fails(number if isinstance(number, int) else number["number"]):
        raise PermanentFailure("no carrier")
    return {"sent": True}


@workflow("Parcel")
async def parcel(saga: WorkflowSaga, number: int) -> dict[str, Any]:
    """The three steps as a function."""
    await pack(saga, number)
    await seal(saga, number)
    return await send(saga, number)


batch = steps("Batch", [pack, seal, send])

sagas = [order.build(), bell.build(), batch, parcel]


def job_registry() -> JobRegistry:
    """All jobs, those of the steps too."""
    return JobRegistry([reserve, charge, give_back, *all_step_jobs(sagas)])
