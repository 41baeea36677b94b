"""Engine and worker for a list of steps and a workflow, in one process, to be killed.

Run as ``python -m tests.chaos.step_runner URL NAMESPACE BUCKET [inline]``; with ``inline`` the
engine carries the steps out itself. Each function appends one line to the ledger each time it runs.
Runs whose number ends with 3 fail at their third step.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Any

from jobs import JobRegistry, PermanentFailure, StepContext
from jobs.engine import Engine
from jobs.inline import InlineSteps, inline_targets
from jobs.service import Supervisor
from jobs.steps import all_step_jobs
from jobs.worker import Worker
from sagas import WorkflowSaga, step, steps, workflow
from sagas.definition import Registry
from server.running import run_until_signal
from store.jetstream import connect
from store.subjects import Names
from tests.chaos.app import LEDGER
from tests.waiting import busy

ACK_WAIT_S = 2.0


def fails(number: int) -> bool:
    """Whether a run fails at its third step."""
    return number % 10 == 3


async def write_down(ctx: StepContext[Any]) -> None:
    """One line of the ledger, then a moment in which a kill leaves it done and unreported."""
    what = f"-{ctx.step}" if ctx.payload.undo else ctx.step
    descriptor = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, f"{what} {ctx.saga}/{ctx.key} {ctx.command_id}\n".encode())
    finally:
        os.close(descriptor)
    await busy(0.02)


async def _undo(ctx: StepContext[Any]) -> None:
    await write_down(ctx)


@step("reserve", compensate=_undo)
async def reserve(ctx: StepContext[Any], number: Any) -> dict[str, Any]:
    """Reserve."""
    await write_down(ctx)
    return {"reserved": True}


@step("charge", compensate=_undo)
async def charge(ctx: StepContext[Any], number: Any) -> dict[str, Any]:
    """Charge."""
    await write_down(ctx)
    return {"charged": True}


@step("ship")
async def ship(ctx: StepContext[Any], number: Any) -> dict[str, Any]:
    """Ship, unless the run is one that fails."""
    await write_down(ctx)
    if fails(number if isinstance(number, int) else number["number"]):
        raise PermanentFailure("no carrier")
    return {"shipped": True}


@workflow("Parcel")
async def parcel(saga: WorkflowSaga, number: int) -> dict[str, Any]:
    """The three steps as a function."""
    await reserve(saga, number)
    await charge(saga, number)
    return await ship(saga, number)


order = steps("Batch", [reserve, charge, ship])


async def main(url: str, namespace: str, bucket: str, how: str = "") -> int:
    """Run until told to stop, and say when it runs."""
    names = Names(namespace=namespace, bucket=bucket)
    definitions = [order, parcel]
    first, second = await connect(url, names), await connect(url, names)
    registry, jobs = Registry(definitions), JobRegistry(all_step_jobs(definitions))
    inline = InlineSteps(names, inline_targets(registry, jobs)) if how == "inline" else None
    engine = Engine(first, names, registry, inline=inline)
    worker = Worker(second, names, jobs, ack_wait_s=ACK_WAIT_S, inline=inline)
    try:
        supervisor = Supervisor([engine, worker], "steps")
        return await run_until_signal(supervisor, lambda: print("ready", flush=True))
    finally:
        await first.close()
        await second.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    sys.exit(asyncio.run(main(*sys.argv[1:])))
