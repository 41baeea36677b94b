"""How the installation is: its parts, who runs what, the projections, the settings."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from msgspec import Struct

from store.broker_state import BrokerState, ConsumerState
from store.cards import EngineCard, WorkerCard, engine_cards, worker_cards
from store.partitions import PartitionState
from store.projection.port import Progress
from ui.addresses import Addresses
from ui.answered import answered
from ui.desk import Desk, Who
from ui.render import page
from ui.system import Check, Rebuild, Setting

CONSUMERS_SHOWN = 40
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
    versions: Mapping[str, str]
    broker: BrokerState | None
    broker_fault: str
    partitions: list[PartitionState]
    consumers: tuple[ConsumerState, ...]


@get("/system", opt={"role": "viewer"})
async def system(request: Request[Who, Any, State], desk: NamedDependency[Desk]) -> Response[str]:
    """The parts of the installation and how each is."""
    ask = desk.system
    rows, checks, (cards, unknown), (broker, fault), (partitions, _) = await asyncio.gather(
        desk.read.fetch(ROWS, {}, Rows),
        ask.checks(),
        answered(_cards(desk)),
        answered(ask.broker()) if ask.broker is not None else _nothing(),
        answered(ask.partitions()) if ask.partitions is not None else _nothing(),
    )
    engines, workers = cards or ([], [])
    context = SystemPage(
        version=desk.system.version,
        checks=checks,
        engines=engines,
        workers=workers,
        progress=desk.read.progress,
        transitions=rows[0].count,
        rebuild=desk.system.rebuild(),
        may_rebuild=desk.system.begin_rebuild is not None,
        settings=desk.system.settings if desk.may(request.user, "operator") else (),
        versions=desk.system.versions,
        broker=broker,
        broker_fault=fault or unknown,
        partitions=partitions or [],
        consumers=broker.consumers[:CONSUMERS_SHOWN] if broker is not None else (),
    )
    return page(request, desk, "system.html", context, title="System")


async def _cards(desk: Desk) -> tuple[list[EngineCard], list[WorkerCard]]:
    engines, workers = await asyncio.gather(engine_cards(desk.meta), worker_cards(desk.meta))
    return engines, workers


async def _nothing() -> tuple[None, str]:
    """Where there is no broker to ask: a look at a backup."""
    return None, ""


@post("/system/rebuild", opt={"role": "admin"}, status_code=303)
async def rebuild(request: Request[Who, Any, State], desk: NamedDependency[Desk]) -> Response[str]:
    """Begin to build the projections anew; a second one joins the first."""
    if desk.system.begin_rebuild is not None:
        desk.system.begin_rebuild()
    place = Addresses(desk.base).page("/system")
    return Response("", status_code=303, headers={"Location": place})


ROUTES = (system, rebuild)
