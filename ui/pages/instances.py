"""The list of instances: filters in the address, pages by sequence, news that wait for a click."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, get_args

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter
from msgspec import Struct

from sagas.instance import Status
from store.cards import saga_cards
from store.projection.filters import FilterError, make_filter
from store.projection.instances import Found, InstanceRow, find_instances
from ui.addresses import Query
from ui.answered import answered
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
    cards, _ = await answered(saga_cards(desk.meta))
    context = InstancesPage(
        asked=asked,
        rows=found.rows,
        next=None if found.next is None else asked.query(place=found.next),
        first=None if place is None else asked.query(),
        complete=found.complete,
        fault=fault,
        sagas=tuple(card.id for card in cards or ()),
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


ROUTES = (instances,)
