"""The list of instances: filters in the address, pages by sequence, news that wait for a click."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, get_args

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter
from msgspec import Struct

from sagas.instance import Status
from sagas.names import BadName
from store.cards import saga_cards
from store.projection.filters import FilterError, make_filter
from store.projection.instances import Found, InstanceRow, find_instances
from ui.addresses import Addresses, Query
from ui.asked import VIEWS, Asked, View
from ui.bulk import BULK_ACTIONS
from ui.desk import Desk, Who
from ui.render import page

ROWS = 50
BUDGET_S = 0.08
STATUSES: tuple[Status, ...] = get_args(Status)
SINCE = (("", "any time"), ("15m", "15 minutes"), ("1h", "hour"), ("24h", "day"), ("7d", "week"))

Texts: TypeAlias = list[str] | None


class InstancesPage(Struct, frozen=True, kw_only=True):
    """The context of ``instances.html``; ``fault`` says what of the filter can't be meant."""

    asked: Asked
    rows: list[InstanceRow]
    next: Query | None
    first: Query | None
    complete: bool
    fault: str
    sagas: tuple[str, ...]
    statuses: tuple[Status, ...] = STATUSES
    views: tuple[View, ...] = VIEWS
    actions: tuple[str, ...] = BULK_ACTIONS
    since: tuple[tuple[str, str], ...] = SINCE


@get("/instances", opt={"role": "viewer"})
async def instances(
    request: Request[Who, Any, State],
    desk: NamedDependency[Desk],
    saga: FromQuery[str] = "",
    status: FromQuery[Texts] = None,
    key: FromQuery[str] = "",
    q: FromQuery[str] = "",
    since: FromQuery[str] = "",
    until: FromQuery[str] = "",
    where: FromQuery[Texts] = None,
    order: FromQuery[Literal["newest", "oldest"]] = "newest",
    place: Annotated[int | None, QueryParameter(ge=0)] = None,
) -> Response[str]:
    """The instances that match, those changed last first."""
    asked = Asked(
        saga=saga,
        status=tuple(one for one in status or () if one),
        key=key.strip(),
        q=q.strip(),
        since=since,
        until=until,
        where=tuple(one.strip() for one in where or () if one.strip()),
        order=order,
    )
    fault, found = "", Found(rows=[], next=None, complete=True, through=0)
    try:
        found = await _find(desk, asked, place)
    except FilterError as error:
        fault = str(error)
    cards = await saga_cards(desk.meta)
    context = InstancesPage(
        asked=asked,
        rows=found.rows,
        next=None if found.next is None else asked.query(place=found.next),
        first=None if place is None else asked.query(),
        complete=found.complete,
        fault=fault,
        sagas=tuple(card.id for card in cards),
    )
    code = 400 if fault else 200
    return page(request, desk, "instances.html", context, title="Instances", status=code)


async def _find(desk: Desk, asked: Asked, place: int | None) -> Found:
    filter = make_filter(
        sagas=[asked.saga] if asked.saga else [],
        statuses=asked.status,
        key=asked.key,
        q=asked.q,
        since=asked.since,
        until=asked.until,
        where=asked.where,
        now=desk.now(),
    )
    return await find_instances(
        desk.read, filter, limit=ROWS, place=place, order=asked.order, budget_s=BUDGET_S
    )


@get("/find", opt={"role": "viewer"})
async def find(
    request: Request[Who, Any, State], desk: NamedDependency[Desk], q: FromQuery[str] = ""
) -> Response[None]:
    """The quick search: straight to the instance when only one fits, else to the list."""
    to, text = Addresses(desk.base), q.strip()
    target = await _only(desk, to, text) if text else ""
    place = target or to.page("/instances", {"q": text})
    return Response(None, status_code=303, headers={"Location": place})


async def _only(desk: Desk, to: Addresses, text: str) -> str:
    """The page of the one thing that ``text`` names, or an empty text. Keys are asked of the log,
    so an instance is found as soon as it exists.
    """
    try:
        sagas = await desk.client.sagas_with(text)
    except BadName:
        sagas = []
    if sagas:
        return to.instance(sagas[0], text) if len(sagas) == 1 else ""
    traced = await desk.read.fetch(BY_TRACE, {"text": text, "trace": f"%{text}%"}, Hit)
    if traced:
        return to.instance(traced[0].saga, traced[0].key) if len(traced) == 1 else ""
    events = await desk.read.fetch(BY_ID, {"text": text}, EventHit)
    return to.event(events[0].seq) if len(events) == 1 else ""


class Hit(Struct, frozen=True):
    """An instance the quick search found."""

    saga: str
    key: str


class EventHit(Struct, frozen=True):
    """An event the quick search found."""

    seq: int


BY_TRACE = """
SELECT saga, key FROM instances WHERE length($text) >= 16 AND trace LIKE $trace LIMIT 2
"""
BY_ID = "SELECT seq FROM events WHERE id = $text LIMIT 2"

ROUTES = (instances, find)
