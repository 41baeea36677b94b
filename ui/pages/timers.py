"""What fires next: timers of instances, and the schedules that start new ones."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromQuery
from msgspec import Struct

from store.cards import SagaCard, engine_cards, saga_cards
from store.projection.figures import Count
from store.projection.records import TIMERS, TimerRow
from store.projection.where import Where
from ui.addresses import Query
from ui.answered import answered
from ui.desk import Desk, Who
from ui.pages.saga import runs_of
from ui.paging import read_place, write_place
from ui.render import page

ROWS = 50
LAST = datetime.max.replace(tzinfo=UTC)
LATE = timedelta(seconds=15)  # the broker fires within a second
RUNS = 3
STATUSES = ("pending", "fired", "cancelled", "replaced")


OVERDUE = """
SELECT count(*) AS count FROM timers WHERE status = 'pending' AND due_at < $before
"""


class Planned(Struct, frozen=True):
    """A saga that starts by itself, and when it does next; none are known of ``@every``."""

    card: SagaCard
    runs: tuple[datetime, ...]


class TimersPage(Struct, frozen=True, kw_only=True):
    """The context of ``timers.html``; ``overdue`` counts those that should have fired."""

    rows: list[TimerRow]
    next: Query | None
    saga: str
    key: str
    status: str
    sagas: tuple[str, ...]
    schedules: tuple[Planned, ...]
    overdue: int
    engines: int | None  # None while the broker is silent
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
    now = desk.now()
    (rows, place), late, (found, _), (engines, _) = await asyncio.gather(
        TIMERS.page(desk.read, where, read_place(TIMERS, after), ROWS),
        desk.read.fetch(OVERDUE, {"before": now - LATE}, Count),
        answered(saga_cards(desk.meta)),
        answered(engine_cards(desk.meta)),
    )
    cards = found or []
    planned = [Planned(card, runs_of(card, now, RUNS)) for card in cards if card.cron]
    query = {"saga": saga, "key": key, "status": status if status != "pending" else ""}
    context = TimersPage(
        rows=rows,
        next={**query, "after": write_place(place)} if place else None,
        saga=saga,
        key=key,
        status=status,
        sagas=tuple(card.id for card in cards),
        schedules=tuple(sorted(planned, key=lambda one: (one.runs or (LAST,))[0])),
        overdue=late[0].count,
        engines=None if engines is None else len(engines),
    )
    return page(request, desk, "timers.html", context, title="Timers")


ROUTES = (timers,)
