"""How the installation is: its parts, who runs what, the projections, the settings."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from msgspec import Struct

from store.cards import EngineCard, WorkerCard, engine_cards, worker_cards
from store.projection.port import Progress
from ui.addresses import Addresses
from ui.desk import Desk, Who
from ui.render import page
from ui.system import Check, Rebuild, Setting

ROWS = "SELECT count(*)::BIGINT AS count FROM transitions"


class Rows(Struct, frozen=True):
    """How many rows a table has."""

    count: int


class SystemPage(Struct, frozen=True, kw_only=True):
    """The context of ``system.html``."""

    version: str
    checks: tuple[Check, ...]
    engines: list[EngineCard]
    workers: list[WorkerCard]
    progress: Progress
    transitions: int
    rebuild: Rebuild | None
    may_rebuild: bool
    settings: tuple[Setting, ...]


@get("/system", opt={"role": "viewer"})
async def system(request: Request[Who, Any, State], desk: NamedDependency[Desk]) -> Response[str]:
    """The parts of the installation and how each is."""
    rows = await desk.read.fetch(ROWS, {}, Rows)
    context = SystemPage(
        version=desk.system.version,
        checks=await desk.system.checks(),
        engines=await engine_cards(desk.meta),
        workers=await worker_cards(desk.meta),
        progress=desk.read.progress,
        transitions=rows[0].count,
        rebuild=desk.system.rebuild(),
        may_rebuild=desk.system.begin_rebuild is not None,
        settings=desk.system.settings if desk.may(request.user, "operator") else (),
    )
    return page(request, desk, "system.html", context, title="System")


@post("/system/rebuild", opt={"role": "admin"}, status_code=303)
async def rebuild(request: Request[Who, Any, State], desk: NamedDependency[Desk]) -> Response[str]:
    """Begin to build the projections anew; a second one joins the first."""
    if desk.system.begin_rebuild is not None:
        desk.system.begin_rebuild()
    place = Addresses(desk.base).page("/system")
    return Response("", status_code=303, headers={"Location": place})


ROUTES = (system, rebuild)
