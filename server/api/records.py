"""Timers that were set, and what operators did: lists of what is on record."""

from __future__ import annotations

from typing import Annotated, Literal

from litestar import get
from litestar.params import QueryParameter
from msgspec import Meta, Struct

from server.access.roles import ROLE
from server.api.lists import (
    LIMIT_DEFAULT,
    CursorText,
    Limit,
    Projection,
    Since,
    WaitFor,
    list_records,
    moment,
    projection_of,
)
from server.api.parameters import Parts
from server.api.shown import Asked
from store.projection.records import OPERATOR_ACTIONS, TIMERS, ActionRow, TimerRow
from store.projection.where import Where

TimerStatus = Literal["pending", "fired", "cancelled", "replaced"]
ActionOutcome = Literal["done", "refused", "waiting"]


class TimerPage(Struct, frozen=True, kw_only=True, rename="camel"):
    """Timers, those due first first."""

    items: list[TimerRow]
    next: Annotated[str | None, Meta(description="Cursor of the next page, null at the end")]
    projection: Projection


class AuditPage(Struct, frozen=True, kw_only=True, rename="camel"):
    """Operator actions, the newest first."""

    items: list[ActionRow]
    next: Annotated[str | None, Meta(description="Cursor of the next page, null at the end")]
    projection: Projection


@get("/api/v1/timers", opt={ROLE: "viewer"}, operation_id="listTimers", summary="List timers")
async def list_timers(
    request: Asked,
    deps: Parts,
    saga: Annotated[str | None, QueryParameter(description="Only of this saga")] = None,
    key: Annotated[str | None, QueryParameter(description="Only of this key")] = None,
    type: Annotated[str | None, QueryParameter(description="Only with this message type")] = None,
    status: Annotated[
        list[TimerStatus] | None, QueryParameter(description="Default: all; may be repeated")
    ] = None,
    limit: Limit = LIMIT_DEFAULT,
    cursor: CursorText = None,
    wait_for: WaitFor = None,
) -> TimerPage:
    """Timers that were ever set, those due first first."""
    where = Where()
    where.equal("saga", saga)
    where.equal("key", key)
    where.equal("type", type)
    where.one_of("status", status or ())
    items, next = await list_records(
        deps.read,
        TIMERS,
        where,
        query=request.scope["query_string"],
        limit=limit,
        cursor=cursor,
        wait_for=wait_for,
    )
    return TimerPage(items=items, next=next, projection=projection_of(deps.read))


@get(
    "/api/v1/audit", opt={ROLE: "viewer"}, operation_id="listAudit", summary="List operator actions"
)
async def list_audit(
    request: Asked,
    deps: Parts,
    by: Annotated[str | None, QueryParameter(description="Only by this person or program")] = None,
    saga: Annotated[str | None, QueryParameter(description="Only on this saga")] = None,
    key: Annotated[str | None, QueryParameter(description="Only on this key")] = None,
    action: Annotated[
        list[str] | None, QueryParameter(description="Only these actions; may be repeated")
    ] = None,
    outcome: Annotated[
        list[ActionOutcome] | None, QueryParameter(description="Only with these outcomes")
    ] = None,
    since: Since = None,
    limit: Limit = LIMIT_DEFAULT,
    cursor: CursorText = None,
    wait_for: WaitFor = None,
) -> AuditPage:
    """Who did what to which instance, when, from where and why, refused actions too."""
    where = Where()
    where.equal('"by"', by)
    where.equal("saga", saga)
    where.equal("key", key)
    where.one_of("action", action or ())
    where.one_of("outcome", outcome or ())
    where.between("requested_at", moment("since", since, deps.now()), None)
    items, next = await list_records(
        deps.read,
        OPERATOR_ACTIONS,
        where,
        query=request.scope["query_string"],
        limit=limit,
        cursor=cursor,
        wait_for=wait_for,
    )
    return AuditPage(items=items, next=next, projection=projection_of(deps.read))


ROUTES = (list_timers, list_audit)
