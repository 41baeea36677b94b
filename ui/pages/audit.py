"""Who did what, when, from where and why; refused actions too."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromQuery
from msgspec import Struct

from sagas.actions import ACTIONS, TIMER_ACTIONS, Action
from store.projection.records import OPERATOR_ACTIONS, ActionRow
from store.projection.times import BadTime, parse_time
from store.projection.where import Where
from ui.addresses import Query
from ui.desk import Desk, Who
from ui.paging import read_place, write_place
from ui.render import page

ROWS = 50
OUTCOMES = ("done", "refused", "waiting")


class AuditPage(Struct, frozen=True, kw_only=True):
    """The context of ``audit.html``."""

    rows: list[ActionRow]
    next: Query | None
    asked: dict[str, str]
    fault: str
    actions: tuple[Action, ...] = (*ACTIONS, *TIMER_ACTIONS)
    outcomes: tuple[str, ...] = OUTCOMES


@get("/audit", opt={"role": "viewer"})
async def audit(
    request: Request[Who, Any, State],
    desk: NamedDependency[Desk],
    by: FromQuery[str] = "",
    saga: FromQuery[str] = "",
    key: FromQuery[str] = "",
    action: FromQuery[str] = "",
    outcome: FromQuery[str] = "",
    since: FromQuery[str] = "",
    after: FromQuery[str] = "",
) -> Response[str]:
    """Operator actions, the newest first."""
    asked = {"by": by, "saga": saga, "key": key, "action": action, "outcome": outcome}
    asked = {name: value.strip() for name, value in {**asked, "since": since}.items()}
    where, fault = Where(), ""
    for name in ("by", "saga", "key", "action", "outcome"):
        where.equal(f'"{name}"', asked[name] or None)
    try:
        if asked["since"]:
            where.between("requested_at", parse_time(asked["since"], desk.now()), None)
    except BadTime as error:
        fault = str(error)
    place = read_place(OPERATOR_ACTIONS, after)
    rows, next = await OPERATOR_ACTIONS.page(desk.read, where, place, ROWS)
    context = AuditPage(
        rows=rows,
        next={**asked, "after": write_place(next)} if next else None,
        asked=asked,
        fault=fault,
    )
    return page(request, desk, "audit.html", context, title="Audit", status=400 if fault else 200)


ROUTES = (audit,)
