"""What tests of the HTTP API share: a whole installation in one process, and a client of its API.

The broker is the memory one in real time, engine and worker run the sample sagas beside the small
shop, and requests go to the application directly, without a socket. A test waits for what it needs
(``until``, ``status``, ``caught_up``) and never for time to pass.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
from litestar import Litestar

from jobs import JobRegistry, Providers
from jobs.engine import Engine
from jobs.examples import jobs as sample_jobs
from jobs.job import AnyJob
from jobs.projector import Projector
from jobs.service import Service
from jobs.worker import Worker
from sagas import Registry, SagaDefinition
from sagas.examples import definitions as sample_sagas
from sagas.instance import Status
from server.api.deps import Deps
from server.entity_actions import EntityAction
from server.loading import App
from server.settings import Settings
from store.broker_clock import Clock, utc_now
from store.client import SagaClient
from store.codec import Position
from store.duck.console import DuckConsole
from store.duck.copies import Copies
from store.duck.projection import DuckProjections
from store.events import Published
from store.live_mask import LiveMask
from store.lookup import Revision
from store.memory import MemoryBroker, SystemClock
from store.port import Backend
from tests.app_kit import quick_app
from tests.unit.store.shop import charge, shop
from tests.waiting import eventually

BASE_URL = "http://127.0.0.1:8092"
WITHIN_S = 15.0


class Api:
    """An installation under test; ``http`` is a plain httpx client of its API."""

    def __init__(
        self,
        broker: MemoryBroker,
        deps: Deps,
        app: Litestar,
        http: httpx.AsyncClient,
        projector: Projector,
    ) -> None:
        self.broker = broker
        self.projector = projector
        self.names = broker.names
        self.backend: Backend = deps.backend
        self.client: SagaClient = deps.client
        self.deps = deps
        self.app = app
        self.http = http

    async def get(self, path: str, *, status: int = 200, **query: Any) -> Any:
        """The JSON a GET answers with, once its status is checked; None values are left out."""
        given = {name: value for name, value in query.items() if value is not None}
        return answer(await self.http.get(path, params=given or None), status)

    async def post(
        self,
        path: str,
        body: object = None,
        *,
        status: int | tuple[int, ...] = (200, 201, 202),
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The JSON a POST of a JSON body answers with, once its status is checked."""
        return answer(await self.http.post(path, json=body, headers=headers), status)

    async def publish(
        self, type: str, payload: object, key: str | None = None, id: str | None = None
    ) -> int:
        """Publish an event past the API; its sequence in the events stream."""
        receipt = await self.client.publish(type, payload, key=key, id=id)
        assert isinstance(receipt, Published), receipt
        return receipt.seq

    async def status(self, saga: str, key: str, *statuses: Status) -> Revision:
        """The instance as soon as it has one of ``statuses`` (any when none is given)."""

        async def look() -> Revision | None:
            revision = await self.client.latest(saga, key)
            fits = revision is not None and (not statuses or revision.instance.status in statuses)
            return revision if fits else None

        found = await eventually(look, WITHIN_S, f"{saga}/{key} becoming {statuses}")
        assert found is not None
        return found

    async def decided(self) -> None:
        """Wait until an engine has decided every message that both streams hold, and then until the
        projections know it.
        """

        def nothing_waits() -> bool:
            for number in range(self.broker.partitions):
                stored = self.broker.log.last(self.names.position(number))
                at = msgspec.json.decode(stored.data, type=Position) if stored else None
                events, signals = (at.events, at.signals) if at else (0, 0)
                if any(self.broker.events.since(events, self.names.event_filters(number))):
                    return False
                if any(self.broker.log.since(signals, self.names.signal_filters(number))):
                    return False
            return True

        await eventually(nothing_waits, WITHIN_S, "all messages being decided")
        await self.caught_up()

    async def caught_up(self, seq: int = 0) -> None:
        """Wait until the projections hold all that both streams hold now, and ``seq`` at least."""
        log, events = self.broker.log.last_seq, self.broker.events.last_seq

        def level() -> bool:
            progress = self.deps.read.progress
            return progress.log_seq >= max(log, seq) and progress.events_seq >= events

        await eventually(level, WITHIN_S, f"projections at log {log}, events {events}")


def instance_path(saga: str, key: str, *more: str) -> str:
    """The path of an instance's route, with everything escaped that has to be."""
    parts = (quote(part, safe="") for part in (saga, key, *more))
    return "/api/v1/sagas/instances/" + "/".join(parts)


def answer(response: httpx.Response, status: int | tuple[int, ...]) -> Any:
    """The JSON of a response whose status is one of those; errors must be problem documents."""
    expected = (status,) if isinstance(status, int) else status
    assert response.status_code in expected, f"{response.status_code}: {response.text[:2000]}"
    if response.status_code >= 400:
        assert response.headers["content-type"].startswith("application/problem+json")
        problem = response.json()
        assert {"type", "title", "status", "detail", "next"} <= problem.keys(), problem
        assert problem["status"] == response.status_code
        assert "Traceback" not in response.text
        return problem
    return json.loads(response.content) if response.content else None


@asynccontextmanager
async def open_api(
    folder: Path,
    *,
    sagas: Iterable[SagaDefinition] = (*sample_sagas, shop),
    jobs: Iterable[AnyJob] = (*sample_jobs, charge),
    loaded: bool = True,
    engine: bool = True,
    worker: bool = True,
    mask: Callable[[bytes], bytes] | None = None,
    broker: MemoryBroker | None = None,
    actions: Iterable[EntityAction] = (),
    now: Clock = utc_now,
) -> AsyncGenerator[Api]:
    """An installation of its own for one test, its projections under ``folder``.

    ``loaded`` False: the API's process has none of the code. ``broker`` is kept open when given.
    ``mask`` replaces the one that knows the secret fields of what is registered. ``now`` is the
    time of the broker.
    """
    ours = broker is None
    broker = broker or MemoryBroker(clock=SystemClock())
    registry, job_registry = Registry(sagas), JobRegistry(jobs)
    async with AsyncExitStack() as stack:
        if ours:
            stack.push_async_callback(broker.close)
        backend = broker.backend("api")
        live_mask = mask if isinstance(mask, LiveMask) else LiveMask(meta=backend.meta)
        projections = DuckProjections(folder / "projections", broker.names, live_mask)
        projector = Projector(broker.backend("projector"), projections, now=now)
        services: list[Service] = [live_mask, projector]
        console = DuckConsole(Copies(projections, folder / "copies"), folder / "console")
        services.append(console)
        if engine:
            services.append(
                Engine(broker.backend(), broker.names, registry, engine_id="e1", now=now)
            )
        if worker:
            services.append(Worker(broker.backend(), broker.names, job_registry, now=now))
        for service in services:
            await service.start()
            stack.push_async_callback(service.stop)
        deps = Deps(
            settings=Settings(data=str(folder)),
            names=broker.names,
            backend=backend,
            client=SagaClient(backend, broker.names, now=now),
            read=projections,
            projector=projector,
            console=console,
            app=App(
                modules=("tests",) if loaded else (),
                registry=registry if loaded else Registry(),
                jobs=job_registry if loaded else JobRegistry(),
                providers=Providers(),
                actions=tuple(actions),
            ),
            mask=mask or live_mask,
            now=now,
        )
        app = quick_app(deps)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)  # type: ignore[arg-type]
        http = await stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url=BASE_URL)
        )
        yield Api(broker, deps, app, http, projector)
