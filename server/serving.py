"""The services behind the API and the dashboard, put together: what the role ``api`` runs.

Order matters: secret names are known before anything is masked with them, and the HTTP server comes
last and goes first, so that it never answers for a part that is not there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from litestar import Litestar

from jobs.projector import Projector
from jobs.service import Service
from server.access.access import Access
from server.access.roles import ANYONE_HERE, Identity
from server.access.source import AccessSource
from server.api.app import create_app
from server.api.deps import Deps
from server.api.service import ApiService
from server.archives import with_archive
from server.https import certificate_of
from server.live.hub import Hub
from server.loading import App
from server.login import login_of
from server.logs import redactor
from server.micro import MicroApi
from server.observing import Observing
from server.settings import Settings
from store.broker_clock import Clock, utc_now
from store.broker_state import BrokerState
from store.client import SagaClient
from store.duck.console import DuckConsole
from store.duck.copies import Copies
from store.duck.projection import DuckProjections
from store.live_mask import LiveMask
from store.port import Backend
from store.subjects import Names

PROJECTIONS = "projections"
CONSOLE = "console"


class Serving(NamedTuple):
    """The services in the order they start. ``api`` is the one that listens and knows its address,
    None where somebody else serves ``http``.
    """

    services: tuple[Service, ...]
    http: Litestar
    api: ApiService | None
    deps: Deps

    @property
    def address(self) -> str:
        """Where the API is, empty where somebody else serves it."""
        return self.api.address if self.api is not None else ""


def access_source(settings: Settings) -> AccessSource | None:
    """Who may come in, None for everyone on loopback; raises AccessFileError."""
    return AccessSource(Path(settings.auth)) if settings.auth else None


def projections_folder(settings: Settings) -> Path:
    """Where the projections of this process are."""
    return Path(settings.data) / PROJECTIONS


def console_folder(settings: Settings) -> Path:
    """Where the SQL console keeps its copies and answers; made anew at each start."""
    # Absolute: queries run in a process that has another working directory.
    return Path(settings.data).absolute() / CONSOLE


def build_serving(
    backend: Backend,
    url: str,
    names: Names,
    app: App,
    settings: Settings,
    *,
    observing: Observing | None = None,
    mount: str = "",
    backup: str = "",
    broker: Callable[[], Awaitable[BrokerState]] | None = None,
    now: Clock = utc_now,
) -> Serving:
    """Everything that serves ``names`` over HTTP and to the NATS tools; nothing is started.

    ``observing`` is what this process shows of itself, made here when there is none yet. With
    ``mount`` somebody else serves the application, at that path. ``backup`` says which backup all
    this is, so that nothing can be changed; empty when it is none. ``broker`` tells of the broker
    itself, ``now`` its time. Raises AccessFileError.
    """
    anyone = Identity(name=backup, role="viewer", via="backup") if backup else ANYONE_HERE
    mask = LiveMask([*settings.secrets, *app.secrets], backend.meta)
    redactor.hide(lambda: mask.names)
    backend = with_archive(settings, backend, names)
    projections = DuckProjections(projections_folder(settings), names, mask)
    projector = Projector(backend, projections, now=now)
    folder = console_folder(settings)
    console = DuckConsole(Copies(projections, folder / "copies"), folder)
    observing = observing or Observing(settings, backend, names)
    hub = Hub(backend, names, mask=mask.document, read=projections)
    deps = Deps(
        settings=settings,
        names=names,
        backend=backend,
        client=SagaClient(backend, names, now=now),
        read=projections,
        projector=projector,
        app=app,
        mask=mask,
        live=hub,
        metrics=observing.scrape,
        healthy=observing.healthy,
        broker=broker,
        tracing=observing.tracing,
        console=console,
        access=Access(access_source(settings), backend.meta, anyone=anyone),
        now=now,
    )
    http = create_app(deps, base=mount)
    services: list[Service] = [mask, projector, console, hub]
    api: ApiService | None = None
    if not mount:
        api = ApiService(
            *(http, settings.host, settings.port),
            closing=hub.close_streams,
            certificate=certificate_of(settings),
        )
        services.append(api)
    if not backup:
        services.append(MicroApi(http, deps.access, url, names, login_of(settings)))
    return Serving(tuple(services), http, api, deps)
