"""A process of a benchmark: ``python -m tests.benchmarks.roles ROLE URL NAMESPACE BUCKET``.

Roles are engine, jobs and api; step-engine, step-jobs, and inline for both in one. Prints one line
when it is ready (of the api its address), then works until SIGTERM, as the commands of ``snorri``
do.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Mapping
from typing import TypeVar

from jobs import Providers
from jobs.engine import Engine
from jobs.inline import InlineSteps, inline_targets
from jobs.service import Service
from jobs.worker import Worker
from server.api.app import create_app
from server.api.deps import Deps
from server.api.service import ApiService
from server.commands.common import run
from server.loading import App
from server.settings import Settings
from server.tuning import tune
from store.client import SagaClient
from store.jetstream.backend import JetStreamBackend, connect
from store.projection.port import Progress, ReadError
from store.subjects import Names
from tests.benchmarks import app, step_app

R = TypeVar("R")


class _NoLists:
    """A read model for an API that is asked for no list."""

    progress = Progress()

    async def fetch(self, sql: str, parameters: Mapping[str, object], row: type[R]) -> list[R]:
        raise ReadError("this process has no projections; ask another")

    async def wait_for(self, log_seq: int, timeout_s: float) -> bool:
        return False


def _api(backend: JetStreamBackend, names: Names) -> ApiService:
    deps = Deps(
        settings=Settings(),
        names=names,
        backend=backend,
        client=SagaClient(backend, names),
        read=_NoLists(),
        app=App(modules=(), registry=app.registry(), jobs=app.jobs(), providers=Providers()),
        mask=lambda data: data,
    )
    return ApiService(create_app(deps), "127.0.0.1", 0)


class Both:
    """An engine and a worker in one process."""

    name = "both"

    def __init__(self, engine: Engine, worker: Worker) -> None:
        self._engine = engine
        self._worker = worker

    async def start(self) -> None:
        """Start both."""
        await self._engine.start()
        await self._worker.start()

    async def stop(self) -> None:
        """Stop both, the worker first."""
        await self._worker.stop()
        await self._engine.stop()

    async def wait(self) -> None:
        """Until the engine has ended."""
        await self._engine.wait()


def _service(role: str, backend: JetStreamBackend, names: Names) -> Service:
    match role:
        case "engine":
            return Engine(backend, names, app.registry(), engine_id="bench")
        case "jobs":
            return Worker(backend, names, app.jobs())
        case "step-engine":
            return Engine(backend, names, step_app.registry(), engine_id="bench")
        case "step-jobs":
            return Worker(backend, names, step_app.jobs())
        case "inline":
            registry, jobs = step_app.registry(), step_app.jobs()
            inline = InlineSteps(names, inline_targets(registry, jobs))
            engine = Engine(backend, names, registry, engine_id="bench", inline=inline)
            return Both(engine, Worker(backend, names, jobs, inline=inline))
        case _:
            return _api(backend, names)


async def main(role: str, url: str, namespace: str, bucket: str) -> None:
    """Run one role until told to stop."""
    names = Names(namespace=namespace, bucket=bucket)
    backend = await connect(url, names, name=f"bench-{role}")
    service = _service(role, backend, names)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await service.start()
    print(service.address if isinstance(service, ApiService) else "ready", flush=True)
    await stop.wait()
    await service.stop()
    await backend.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    tune()
    run(main(*sys.argv[1:]))
