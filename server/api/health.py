"""Routes for machines: is it alive, is it ready, which version, and the figures for Prometheus."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from msgspec import Struct

from server.access.roles import PUBLIC, ROLE
from server.api.deps import Deps
from server.api.openapi import release
from server.health import Health

TEXT = "text/plain"


class Alive(Struct, frozen=True):
    """The process answers."""

    status: str = "ok"


class Release(Struct, frozen=True):
    """What runs here."""

    name: str
    version: str


@get("/health/live", opt={ROLE: PUBLIC}, summary="Liveness")
async def live() -> Alive:
    """Whether the process answers; says nothing of what it depends on."""
    return Alive()


@get(
    "/health/ready",
    opt={ROLE: PUBLIC},
    summary="Readiness",
    responses={
        503: ResponseSpec(
            data_container=Health, generate_examples=False, description="Not ready; see `reasons`"
        )
    },
)
async def ready(deps: NamedDependency[Deps]) -> Response[Health]:
    """Whether this process can do its work: NATS, its streams and its store, an engine for each
    partition, projections that follow, the live view. 503 with the reasons when it can't.
    """
    health = await deps.health.look()
    return Response(health, status_code=200 if health.ready else 503)


@get("/version", opt={ROLE: PUBLIC}, summary="Version")
async def version() -> Release:
    """The version of Snorri."""
    return Release("snorri", release())


@get(
    "/metrics",
    opt={ROLE: "viewer"},
    summary="Metrics",
    responses={
        200: ResponseSpec(
            data_container=str,
            generate_examples=False,
            media_type=TEXT,
            description="Prometheus text format, or OpenMetrics when `Accept` asks for it",
        )
    },
)
async def metrics(request: Request[Any, Any, Any], deps: NamedDependency[Deps]) -> Response[bytes]:
    """The figures of this process and of the installation, for Prometheus."""
    content_type, body = await deps.metrics.answer(request.headers.get("accept", ""))
    return Response(body, media_type=content_type)


ROUTES = (live, ready, version, metrics)
