"""The dashboard as one router: all pages and the static files, for whoever mounts it."""

from __future__ import annotations

from typing import Any

from litestar import Request, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.handlers import BaseRouteHandler
from litestar.static_files import create_static_files_router
from litestar.types import Scope

from ui.desk import Desk, Who
from ui.pages import (
    act,
    audit,
    bulk,
    events,
    failure_acts,
    failures,
    find,
    instance,
    instances,
    jobs,
    letters,
    overview,
    publish,
    replay,
    replays,
    resending,
    running,
    saga,
    sagas,
    sql,
    starting,
    system,
    timers,
    whole,
)
from ui.render import SHOWN, STATIC

PAGES: tuple[BaseRouteHandler, ...] = (
    *overview.ROUTES,
    *sagas.ROUTES,
    *saga.ROUTES,
    *starting.ROUTES,
    *publish.ROUTES,
    *jobs.ROUTES,
    *running.ROUTES,
    *instance.ROUTES,
    *whole.ROUTES,
    *instances.ROUTES,
    *find.ROUTES,
    *act.ROUTES,
    *replay.ROUTES,
    *replays.ROUTES,
    *bulk.ROUTES,
    *failures.ROUTES,
    *failure_acts.ROUTES,
    *letters.ROUTES,
    *events.ROUTES,
    *resending.ROUTES,
    *timers.ROUTES,
    *sql.ROUTES,
    *system.ROUTES,
    *audit.ROUTES,
)

# Names carry the hash of the content, so a changed file is another address.
CACHE_S = 31_536_000

# The Desk has this name in the state of the application.
DESK = "desk"


def dashboard() -> Router:
    """The router of all pages, which work with the Desk under ``DESK`` in the application's state.

    It stands at the root of its application; an application that is mounted somewhere else says
    so in ``Desk.base``, which is only for links.

    Pages declare the role they ask for in ``opt``, as the routes of the API do.
    """
    static = create_static_files_router(
        path="/static",
        directories=[STATIC],
        cache_control=None,
        opt={"role": "public"},
        include_in_schema=False,
        after_request=_cached,
    )
    return Router(
        path="/",
        route_handlers=[*PAGES, static],
        before_request=_note_place,
        dependencies={"desk": Provide(desk_in, sync_to_thread=False)},
        include_in_schema=False,
    )


def desk_in(scope: Scope) -> Desk:
    """The desk of the application that a request is for."""
    desk: Desk = scope["litestar_app"].state[DESK]
    return desk


async def _note_place(request: Request[Who, Any, State]) -> None:
    """Where lists stand before anything is read: a page never says that it shows more."""
    request.state[SHOWN] = desk_in(request.scope).read.progress.log_seq


def _cached(response: Any) -> Any:  # whatever kind of response Litestar made
    response.headers["Cache-Control"] = f"public, max-age={CACHE_S}, immutable"
    return response
