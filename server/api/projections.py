"""The projections themselves: how far they follow, and building them anew."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from litestar import Response, get, post
from msgspec import Meta, Struct

from jobs.rebuilding import RebuildState
from server.access.roles import ROLE
from server.api.deps import Deps
from server.api.idempotency import IdempotencyKey, once
from server.api.parameters import Parts
from server.api.problems import Problem
from server.api.shown import Asked

MINE = "/api/v1/projections"


class RowCount(Struct, frozen=True, kw_only=True, rename="camel"):
    """Rows of one table before and after a rebuild, at the same sequences of both streams."""

    table: str
    before: Annotated[int | None, Meta(description="Null: there was nothing to compare with")]
    after: int


class Rebuild(Struct, frozen=True, kw_only=True, rename="camel"):
    """How the last rebuild of this process stands."""

    status: Annotated[str, Meta(description="running, done or failed")]
    started_at: datetime
    part: Annotated[float, Meta(description="How much of it is done, 0 to 1")]
    seconds: Annotated[float | None, Meta(description="How long it took, null until it is done")]
    counts: list[RowCount]
    error: Annotated[str, Meta(description="Why it failed, empty otherwise")]


class ProjectionState(Struct, frozen=True, kw_only=True, rename="camel"):
    """How far the projections of this process follow, in sequences of both streams."""

    events_seq: int
    events_last: Annotated[int, Meta(description="The last sequence known in the stream")]
    log_seq: int
    log_last: int
    lag: Annotated[int, Meta(description="Messages that are stored and not applied")]
    lag_seconds: Annotated[float, Meta(description="Age of the oldest of them")]
    partial: Annotated[
        bool, Meta(description="Lists and SQL answer 503: the tables are filled for the first time")
    ]
    fault: Annotated[str, Meta(description="Why nothing moves, empty when all is well")]
    unreadable: Annotated[int, Meta(description="Messages that could not be read")]
    rebuild: Rebuild | None


class RebuildBegun(Struct, frozen=True, kw_only=True, rename="camel"):
    """A rebuild runs; `GET /api/v1/projections` shows how far it is."""

    status: str
    started_at: datetime


@get(
    MINE,
    opt={ROLE: "viewer"},
    operation_id="getProjections",
    summary="How far the projections follow",
)
async def state(deps: Parts) -> ProjectionState:
    """Sequences, lag, faults, and the progress of a rebuild."""
    now = deps.read.progress
    known = deps.projector.rebuilder.state if deps.projector is not None else None
    return ProjectionState(
        events_seq=now.events_seq,
        events_last=now.events_last,
        log_seq=now.log_seq,
        log_last=now.log_last,
        lag=now.lag,
        lag_seconds=now.lag_s,
        partial=now.partial,
        fault=now.fault,
        unreadable=now.unreadable,
        rebuild=_shown(known) if known is not None else None,
    )


@post(
    f"{MINE}/rebuild",
    opt={ROLE: "admin"},
    status_code=202,
    operation_id="rebuildProjections",
    summary="Build the projections anew",
)
async def rebuild(
    request: Asked, deps: Parts, idempotency_key: IdempotencyKey = None
) -> Response[RebuildBegun]:
    """Fill fresh tables beside those that are read, compare, and swap. Reading goes on meanwhile.
    While one runs another call joins it.
    """

    async def work(action: str) -> RebuildBegun:
        return _begin(deps)

    begun = await once(request, deps, idempotency_key, RebuildBegun, work)
    return Response(begun, status_code=202, headers={"Location": MINE})


ROUTES = (state, rebuild)


def _begin(deps: Deps) -> RebuildBegun:
    if deps.projector is None:
        raise Problem(
            409,
            "no_projections",
            "This process has no projections of its own",
            "The projections that this process reads are written by somebody else.",
            "Ask the process that runs `snorri serve` or `snorri dev`.",
        )
    deps.projector.rebuilder.begin()
    known = deps.projector.rebuilder.state
    if known is None:
        raise RuntimeError("a rebuild that was begun has a state")
    return RebuildBegun(status=known.status, started_at=known.started_at)


def _shown(known: RebuildState) -> Rebuild:
    result = known.result
    before = result.before if result is not None else {}
    after = result.after if result is not None else {}
    return Rebuild(
        status=known.status,
        started_at=known.started_at,
        part=known.part,
        seconds=result.seconds if result is not None else None,
        counts=[
            RowCount(table=table, before=before.get(table), after=count)
            for table, count in after.items()
        ],
        error=known.error,
    )
