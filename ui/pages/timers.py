"""What fires next: timers of instances, and the schedules that start new ones."""

from __future__ import annotations

from typing import Any, Literal

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromQuery
from msgspec import Struct

from store.cards import SagaCard, saga_cards
from store.projection.records import TIMERS, TimerRow
from store.projection.where import Where
from ui.addresses import Query
from ui.desk import Desk, Who
from ui.paging import read_place, write_place
from ui.render import page

ROWS = 50
STATUSES = ("pending", "fired", "cancelled", "replaced")


class TimersPage(Struct, frozen=True, kw_only=True):
    """The context of ``timers.html``."""

    rows: list[TimerRow]
    next: Query | None
    saga: str
    key: str
    status: str
    sagas: tuple[str, ...]
    schedules: tuple[SagaCard, ...]
    statuses: tuple[str, ...] = STATUSES


@get("/timers", opt={"role": "viewer"})
async def timers(
    request: Request[Who, Any, State],
    desk: NamedDependency[Desk],
    saga: FromQuery[str] = "",
    key: FromQuery[str] = "",
    status: FromQuery[Literal["pending", "fired", "cancelled", "replaced"]] = "pending",
    after: FromQuery[str] = "",
) -> Response[str]:
    """Timers, those due first first."""
    where = Where()
    where.equal("saga", saga or None)
    where.equal("key", key.strip() or None)
    where.equal("status", status)
    rows, place = await TIMERS.page(desk.read, where, read_place(TIMERS, after), ROWS)
    cards = await saga_cards(desk.meta)
    query = {"saga": saga, "key": key, "status": status if status != "pending" else ""}
    context = TimersPage(
        rows=rows,
        next={**query, "after": write_place(place)} if place else None,
        saga=saga,
        key=key,
        status=status,
        sagas=tuple(card.id for card in cards),
        schedules=tuple(card for card in cards if card.cron),
    )
    return page(request, desk, "timers.html", context, title="Timers")


ROUTES = (timers,)
