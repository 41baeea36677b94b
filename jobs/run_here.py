"""One run in this process, here and now, and kept nowhere: for scripts, trials and tests.

    result = await run_here(steps("import", [step("download", download)]), {"batch": 100})

The engine, the worker and the rules are those of every run; the broker is the one in memory, so
nothing is left of it when it returns, and nothing goes on after a crash. With ``connect`` of
``store.runs`` the same definition runs where it is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any, TypeVar, overload

from jobs.dependencies import Providers
from jobs.engine import Engine
from jobs.inline import InlineSteps, inline_targets
from jobs.job import AnyJob, JobRegistry
from jobs.steps import all_step_jobs
from jobs.worker import Worker
from sagas import Registry, SagaDefinition, StepList, Workflow
from store.client import SagaClient
from store.memory import MemoryBroker, SystemClock
from store.run_result import RunResult
from store.runs import RUN_S, Runs

I = TypeVar("I")  # noqa: E741 - input, beside O for output
O = TypeVar("O")  # noqa: E741


@overload
async def run_here(
    saga: Workflow[None, O],
    input: None = None,
    *,
    others: Iterable[SagaDefinition] = (),
    jobs: Iterable[AnyJob] = (),
    providers: Providers | None = None,
    timeout: float = RUN_S,
) -> RunResult[O]: ...


@overload
async def run_here(
    saga: Workflow[I, O] | StepList[I, O],
    input: I,
    *,
    others: Iterable[SagaDefinition] = (),
    jobs: Iterable[AnyJob] = (),
    providers: Providers | None = None,
    timeout: float = RUN_S,
) -> RunResult[O]: ...


async def run_here(
    saga: SagaDefinition,
    input: object = None,
    *,
    others: Iterable[SagaDefinition] = (),
    jobs: Iterable[AnyJob] = (),
    providers: Providers | None = None,
    timeout: float = RUN_S,
) -> RunResult[Any]:
    """Run a step list or a workflow to its end, or until it stops for an operator.

    ``others`` are its children and the entities it calls, ``jobs`` those it calls beside steps;
    ``timeout`` is in seconds. Raises RunRefused for an unfit input, TimeoutError, DefinitionError.
    """
    definitions = (saga, *others)
    work = JobRegistry([*all_step_jobs(definitions), *jobs])
    registry = Registry(definitions)
    async with AsyncExitStack() as stack:
        broker = MemoryBroker(partitions=1, clock=SystemClock())
        stack.push_async_callback(broker.close)
        names = broker.names
        inline = InlineSteps(names, inline_targets(registry, work))
        worker = Worker(broker.backend(), names, work, providers=providers, inline=inline)
        for service in (worker, Engine(broker.backend(), names, registry, inline=inline)):
            await service.start()
            stack.push_async_callback(service.stop)
        runs = Runs(SagaClient(broker.backend(), names), by="here")
        run = await runs.start(saga.id, input)
        return await runs.get(saga, run.key).result(timeout)
