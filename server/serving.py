"""The services behind the API and the dashboard, put together: what the role ``api`` runs.

Order matters: secret names are known before anything is masked with them, and the HTTP server comes
last and goes first, so that it never answers for a part that is not there.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from jobs.projector import Projector
from jobs.service import Service
from server.access.access import Access
from server.access.source import AccessSource
from server.api.app import create_app
from server.api.deps import Deps
from server.api.service import ApiService
from server.live.hub import Hub
from server.loading import App
from server.micro import MicroApi
from server.settings import Settings
from store.client import SagaClient
from store.duck.projection import DuckProjections
from store.live_mask import LiveMask
from store.port import Backend
from store.subjects import Names

PROJECTIONS = "projections"


class Serving(Struct, frozen=True):
    """The services in the order they start; ``api`` is the one that knows the address."""

    services: tuple[Service, ...]
    api: ApiService
    deps: Deps


def access_source(settings: Settings) -> AccessSource | None:
    """Who may come in, None for everyone on loopback; raises AccessFileError."""
    return AccessSource(Path(settings.auth)) if settings.auth else None


def projections_folder(settings: Settings) -> Path:
    """Where the projections of this process are."""
    return Path(settings.data) / PROJECTIONS


def build_serving(
    backend: Backend, url: str, names: Names, app: App, settings: Settings
) -> Serving:
    """Everything that serves ``names`` over HTTP and to the NATS tools; nothing is started.

    Raises AccessFileError.
    """
    mask = LiveMask([*settings.secrets, *_secrets_of(app)], backend.meta)
    projections = DuckProjections(projections_folder(settings), names, mask)
    hub = Hub(backend, names, mask=mask.document, read=projections)
    deps = Deps(
        settings=settings,
        names=names,
        backend=backend,
        client=SagaClient(backend, names),
        read=projections,
        app=app,
        mask=mask,
        live=hub,
        access=Access(access_source(settings), backend.meta),
    )
    http = create_app(deps)
    api = ApiService(http, settings.host, settings.port, closing=hub.close_streams)
    micro = MicroApi(http, deps.access, url, names, settings.nats_creds)
    services = (mask, Projector(backend, projections), hub, api, micro)
    return Serving(services=services, api=api, deps=deps)


def _secrets_of(app: App) -> Iterable[str]:
    for definition in app.registry:
        yield from definition.secrets
    for job in app.jobs:
        yield from job.secrets
