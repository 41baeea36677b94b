"""Snorri inside somebody's own Litestar application: API, publisher and services in one process.

    app = Litestar(route_handlers=[…], plugins=[SnorriPlugin(app=["shop"], nats_url="nats://…")])

The services start before the application takes requests and stop in order after the last one. When
one of them ends by itself, the application goes on and what is mounted answers 503.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from litestar import Litestar, Request, asgi
from litestar.config.app import AppConfig
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.plugins import InitPlugin
from litestar.types import Receive, Scope, Send

from jobs import JobRegistry, Providers
from jobs.service import ServiceDied
from sagas import Registry
from server.access.access import Standing
from server.access.middleware import STANDING
from server.access.roles import Identity
from server.action_routes import ActionRoutes, EntityAction
from server.api.errors import answer
from server.api.problems import Problem
from server.archives import with_archive
from server.composition import Process, Role, build_process
from server.connecting import Runtime, open_embedded, open_remote
from server.errors import SettingsError
from server.loading import App, load_app
from server.serving import Serving
from server.settings import TOML_NAME, Settings, load_settings
from store.client import SagaClient
from store.events import NewEvent, Receipt
from store.publisher import Publisher
from store.publishing import Mode

log = logging.getLogger("snorri.plugin")

Identify = Callable[[ASGIConnection[Any, Any, Any, Any]], Identity | None]

WAIT_S = 30.0


class SnorriPlugin(InitPlugin):
    """Mounts the API under ``path`` and runs ``roles`` for as long as the application runs.

    ``app`` names the modules with sagas and jobs. Handlers may ask for two dependencies:
    ``publisher`` (a Publisher) and ``saga_client`` (a SagaClient). ``identify`` says who a request
    is from, by what your application knows of it (None: nobody), in place of SNORRI_AUTH.
    ``actions`` are routes of the application that run a saga for one entity, beside those that
    stand in its modules. All other settings
    are given by name (``nats_url``, ``data``, ``bucket`` …), by SNORRI_… or in
    snorri.toml; without ``nats_url`` a nats-server is started as `snorri dev` does. Several
    processes of one application need a ``data`` directory each. Raises SettingsError and AppError.
    """

    def __init__(
        self,
        *,
        app: Sequence[str] = (),
        path: str = "/snorri",
        roles: Sequence[Role] = ("engine", "jobs", "api"),
        identify: Identify | None = None,
        actions: Sequence[EntityAction] = (),
        wait_s: float = WAIT_S,
        **settings: object,
    ) -> None:
        flags = {**settings, "app": ",".join(app) or None}
        self.settings = load_settings(flags, os.environ, Path(TOML_NAME))
        if not path.startswith("/") or path == "/":
            raise SettingsError(f"the path of SnorriPlugin is {path!r}; give one as /snorri")
        self._path = path.rstrip("/")
        self._roles = tuple(roles)
        self._identify = identify
        self._actions = tuple(actions)
        self._wait_s = wait_s
        self._app = _load(self.settings, self._roles)
        self._running: _Running | None = None

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add the mount, the dependencies and the lifespan to an application."""
        app_config.lifespan.append(self._lifespan)
        app_config.dependencies["publisher"] = Provide(self._publisher, sync_to_thread=False)
        app_config.dependencies["saga_client"] = Provide(self._client, sync_to_thread=False)
        routes = ActionRoutes(self._client, self._identify, self._path)
        own = {declared.path: declared for declared in (*self._app.actions, *self._actions)}
        app_config.route_handlers.extend(routes.route(declared) for declared in own.values())
        if "api" in self._roles:
            mount = asgi(self._path, is_mount=True, copy_scope=True)
            app_config.route_handlers.append(mount(self._mounted))
        return app_config

    # --- dependencies

    def _publisher(self) -> Publisher:
        return Publisher(ClientLine(self._client()))

    def _client(self) -> SagaClient:
        return self._ready().client

    def _ready(self) -> _Running:
        if self._running is None:
            raise _not_running("The application has not started, or has ended.")
        return self._running

    # --- the mount

    async def _mounted(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            serving = self._ready().serving
        except Problem as problem:
            request: Request[Any, Any, Any] = Request(scope)
            response = answer(request, problem).to_asgi_response(None, request)
            await response(scope, receive, send)
            return
        extended: Any = scope
        # What the application found out about a request is not what we would have.
        extended.pop(STANDING, None)
        if self._identify is not None:
            connection = ASGIConnection[Any, Any, Any, Any](scope, receive, send)
            identity = self._identify(connection)
            peer = (scope.get("client") or ("local",))[0]
            extended[STANDING] = Standing(serving.deps.access, scope, identity, peer)
        await serving.http(scope, receive, send)

    # --- the services

    @asynccontextmanager
    async def _lifespan(self, _app: Litestar) -> AsyncGenerator[None]:
        async with self._open() as runtime:
            process = build_process(
                self.settings, runtime, self._app, self._roles, mount=self._path
            )
            await process.supervisor.start()
            watch = asyncio.create_task(self._watch(process))
            backend = with_archive(self.settings, runtime.backend, runtime.names)
            client = SagaClient(backend, runtime.names)
            self._running = _Running(client, process.serving)
            try:
                async with AsyncExitStack() as inner:
                    if process.serving is not None:
                        await inner.enter_async_context(process.serving.http.lifespan())
                    yield
            finally:
                self._running = None
                if process.serving is not None and process.serving.deps.live is not None:
                    process.serving.deps.live.close_streams()
                await process.supervisor.stop()
                await asyncio.gather(watch, return_exceptions=True)

    def _open(self) -> AbstractAsyncContextManager[Runtime]:
        if self.settings.nats_url is None:
            return open_embedded(self.settings)
        return open_remote(self.settings, make="engine" in self._roles, wait_s=self._wait_s)

    async def _watch(self, process: Process) -> None:
        try:
            await process.supervisor.wait()
        except ServiceDied as died:
            log.error("Snorri has ended inside this application: %s", died)
            self._running = None


class _Running:
    """What is there while the application runs."""

    def __init__(self, client: SagaClient, serving: Serving | None) -> None:
        self.client = client
        self._serving = serving

    @property
    def serving(self) -> Serving:
        """The API; only a plugin with that role mounts it."""
        assert self._serving is not None
        return self._serving


class ClientLine:
    """Publishes through a client that somebody else opened and closes."""

    def __init__(self, client: SagaClient) -> None:
        self._client = client

    async def publish_many(self, messages: Sequence[NewEvent], mode: Mode) -> list[Receipt]:
        """Receipts in the order of the events."""
        if len(messages) == 1:
            one = messages[0]
            return [await self._client.publish(one.type, one.payload, one.key, one.id, one.headers)]
        return await self._client.publish_many(messages, mode)

    async def close(self) -> None:
        pass


def _load(settings: Settings, roles: Sequence[Role]) -> App:
    """The modules named; only the API goes without any. Raises AppError."""
    if settings.app or "engine" in roles or "jobs" in roles:
        return load_app(settings.app)
    return App(modules=(), registry=Registry(), jobs=JobRegistry(), providers=Providers())


def _not_running(detail: str) -> Problem:
    return Problem(
        503,
        "not-running",
        "Snorri does not run here now",
        detail,
        "Try again in a moment; when it stays so, see the log of the application.",
        {"retryable": True},
        {"Retry-After": "1"},
    )
