"""The list of instances: by filter, by last change, page by page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated
from urllib.parse import unquote_plus

from litestar import get
from litestar.params import QueryParameter
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from server.access.roles import ROLE
from server.api import examples
from server.api.examples import answers
from server.api.intake import FREE, QUERY
from server.api.lists import (
    LIMIT_DEFAULT,
    CursorText,
    Limit,
    Projection,
    WaitFor,
    make_cursor,
    projection_of,
    read_cursor,
    settle,
)
from server.api.missing import near_names
from server.api.parameters import Parts
from server.api.problems import Problem
from server.api.shown import Asked
from store.diagnosis_list import headlines
from store.projection.filters import FilterError, InstanceFilter, make_filter
from store.projection.instances import (
    BUDGET_S,
    BUDGET_S_MAX,
    InstanceRow,
    Order,
    find_instances,
)

BUDGET_MS = round(BUDGET_S * 1000)
BUDGET_MS_MAX = round(BUDGET_S_MAX * 1000)
# What a page is asked for beside its filter; all other parameters are part of the filter.
PAGING = frozenset({"limit", "cursor", "wait_for", "search_ms", "include", "order"})
_COMPARED = re.compile(r"[<>~].")
INCLUDES = ("state", "waits")
Include = Annotated[
    list[str] | None,
    QueryParameter(description="`state`: with state and result; `waits`: what each waits for"),
]
FILTERS = ("saga", "status", "key", "q", "since", "until", "where")


class Error(Struct, frozen=True, kw_only=True, rename="camel"):
    """Why an instance is parked, failed or cancelled."""

    type: Annotated[str, Meta(description="Name of an exception, or a word of ours")]
    message: str


class Origin(Struct, frozen=True, kw_only=True, rename="camel"):
    """The message that caused the last version."""

    kind: Annotated[str, Meta(description="event, signal, timer, operator, spawn or child")]
    type: str


class Parent(Struct, frozen=True, kw_only=True, rename="camel"):
    """The instance that spawned this one."""

    saga: str
    key: str


class Item(Struct, frozen=True, kw_only=True, rename="camel"):
    """One instance in a list; times are UTC."""

    saga: str
    key: str
    version: int
    status: str
    own_status: Annotated[str | None, Meta(description="The author's own `state.status`, if text")]
    seq: Annotated[int, Meta(description="Revision: its sequence in the log")]
    started_at: datetime
    changed_at: datetime
    ended_at: datetime | None
    status_since: datetime
    cause: Origin
    error: Error | None
    parent: Parent | None
    open_commands: int
    open_timers: int
    open_children: int
    backlog: Annotated[int, Meta(description="Messages that wait in the instance")]
    definition: Annotated[str, Meta(description="Hash of the code that decided the last version")]
    trace: str
    state: Annotated[Raw | UnsetType, Meta(description="With include=state")] = UNSET
    result: Annotated[Raw | UnsetType | None, Meta(description="With include=state")] = UNSET
    waits_for: Annotated[
        str | UnsetType, Meta(description="With include=waits: what it waits for, in a few words")
    ] = UNSET


class Searched(Struct, frozen=True, kw_only=True, rename="camel"):
    """How far the search came. When it is not complete its time was up: `next` goes on from there,
    and a page may then be short or empty although more matches exist.
    """

    complete: bool
    through: Annotated[int, Meta(description="Sequence up to which everything was looked at")]


class InstancePage(Struct, frozen=True, kw_only=True, rename="camel"):
    """A page of instances."""

    items: list[Item]
    next: Annotated[str | None, Meta(description="Cursor of the next page, null at the end")]
    searched: Searched
    projection: Projection


@get(
    "/api/v1/sagas/instances",
    opt={ROLE: "viewer", QUERY: FREE},
    operation_id="listInstances",
    summary="List instances",
    responses=answers(InstancePage, examples.INSTANCES, "A page"),
)
async def list_instances(
    request: Asked,
    deps: Parts,
    saga: Annotated[
        list[str] | None, QueryParameter(description="Only of these sagas; may be repeated")
    ] = None,
    status: Annotated[
        list[str] | None, QueryParameter(description="Only in these statuses; may be repeated")
    ] = None,
    key: Annotated[
        str | None, QueryParameter(description="Exactly this key, or those that begin so: `o-10*`")
    ] = None,
    q: Annotated[
        str | None, QueryParameter(description="Words that all occur in key or state, in any case")
    ] = None,
    since: Annotated[
        str | None,
        QueryParameter(description="Changed since: ISO 8601, or how long ago: `15m`, `2d`"),
    ] = None,
    until: Annotated[
        str | None, QueryParameter(description="Changed before: ISO 8601, or how long ago")
    ] = None,
    where: Annotated[
        list[str] | None,
        QueryParameter(
            description="A field of the state compared, `state.total>=1000`; may be repeated. The"
            " comparison may also stand alone as a parameter. Operators: `= != > >= < <= ~`"
            " (contains)"
        ),
    ] = None,
    order: Annotated[Order, QueryParameter(description="By last change")] = "newest",
    include: Include = None,
    limit: Limit = LIMIT_DEFAULT,
    cursor: CursorText = None,
    wait_for: WaitFor = None,
    search_ms: Annotated[
        int,
        QueryParameter(
            ge=1,
            le=BUDGET_MS_MAX,
            description="How long a search of states (`q`, `where`) may take before it answers"
            " with what it has",
        ),
    ] = BUDGET_MS,
) -> InstancePage:
    """Instances by their last change, the newest first, from the projections.

    Pages stay right while rows arrive: an instance that changes moves to the front, and is neither
    shown twice nor lost in between.
    """
    wanted = _included(include)
    filter = filter_of(request, deps.now())
    scope = scope_of(request)
    place = read_cursor(cursor, scope, int) if cursor is not None else None
    await settle(deps.read, wait_for)
    found = await find_instances(
        *(deps.read, filter),
        limit=limit,
        place=place,
        order=order,
        with_state="state" in wanted,
        budget_s=search_ms / 1000,
    )
    waits = await headlines(deps.read, found.rows, deps.now()) if "waits" in wanted else None
    return InstancePage(
        items=[_item(row, waits) for row in found.rows],
        next=make_cursor(scope, found.next) if found.next is not None else None,
        searched=Searched(complete=found.complete, through=found.through),
        projection=projection_of(deps.read),
    )


def filter_of(request: Asked, now: datetime) -> InstanceFilter:
    """The filter in a request's query; raises Problem when it can't be meant."""
    given: dict[str, list[str]] = {}
    for name, value in _pairs(request):
        if name not in PAGING:
            given.setdefault(name, []).append(value)
    if unknown := [name for name in given if name not in FILTERS]:
        raise _unknown(unknown[0])
    try:
        return make_filter(
            sagas=given.get("saga", []),
            statuses=given.get("status", []),
            key=_last(given, "key"),
            q=_last(given, "q"),
            since=_last(given, "since"),
            until=_last(given, "until"),
            where=given.get("where", []),
            now=now,
        )
    except FilterError as error:
        raise Problem(
            400,
            "bad-filter",
            "The filter can't be understood",
            f"{error}.",
            "Correct it; GET /schema lists what this route takes.",
        ) from None


def scope_of(request: Asked) -> str:
    """A text that only requests for the same list have, whatever page of it."""
    kept = (pair for pair in _pairs(request) if pair[0] == "order" or pair[0] not in PAGING)
    return f"instances {sorted(kept)!r}"


def _pairs(request: Asked) -> list[tuple[str, str]]:
    """The query's parameters; a comparison that stands alone is one of ``where``."""
    pairs: list[tuple[str, str]] = []
    for part in request.scope["query_string"].decode("ascii", "replace").split("&"):
        name, sign, value = (unquote_plus(one) for one in part.partition("="))
        if name.startswith("state."):
            # Its first = divides it; clients that escape everything add one at the end.
            alone = not value and (not sign or _COMPARED.search(name) is not None)
            pairs.append(("where", name if alone else f"{name}={value}"))
        elif part:
            pairs.append((name, value))
    return pairs


def _last(given: dict[str, list[str]], name: str) -> str:
    return given.get(name, [""])[-1]


def _unknown(name: str) -> Problem:
    known = sorted((*FILTERS, *PAGING))
    near = near_names(name, known)
    hint = f"Did you mean {near[0]}? " if near else ""
    return Problem(
        400,
        "unknown-parameter",
        "A query parameter is not known",
        f"This route has no query parameter {name[:100]!r}.",
        f"{hint}It takes: {', '.join(known)}, and comparisons such as state.total>=1000.",
    )


def _included(include: list[str] | None) -> list[str]:
    wanted = include or []
    unknown = [one for one in wanted if one not in INCLUDES]
    if unknown:
        raise Problem(
            400,
            "invalid-request",
            "The request can't be understood",
            f"include={unknown[0][:100]!r} is not known.",
            f"Use include={' or include='.join(INCLUDES)}, or leave it out.",
        )
    return wanted


def _item(row: InstanceRow, waits: Mapping[tuple[str, str], str] | None) -> Item:
    failed = row.error_type is not None
    return Item(
        saga=row.saga,
        key=row.key,
        version=row.version,
        status=row.status,
        own_status=row.own_status,
        seq=row.seq,
        started_at=row.started_at,
        changed_at=row.changed_at,
        ended_at=row.ended_at,
        status_since=row.status_since,
        cause=Origin(kind=row.cause_kind, type=row.cause_type),
        error=Error(type=row.error_type or "", message=row.error_message or "") if failed else None,
        parent=Parent(saga=row.parent_saga, key=row.parent_key or "") if row.parent_saga else None,
        open_commands=row.open_commands,
        open_timers=row.open_timers,
        open_children=row.open_children,
        backlog=row.backlog,
        definition=row.definition,
        trace=row.trace,
        state=row.state,
        result=row.result,
        waits_for=UNSET if waits is None else waits.get((row.saga, row.key), ""),
    )


ROUTES = (list_instances,)
