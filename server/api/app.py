"""The HTTP application: all routes with what every one of them shares.

A controller module exports ``ROUTES``; it is served when it stands in the list below. Its handlers
take ``deps: NamedDependency[Deps]`` and ``data: JSONBody[…]``. Whoever makes the app opens
and closes what ``Deps`` holds: the app starts nothing. Registering the routes takes half a second;
what they work with stands in the state of the application, so that tests do it once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import ModuleType

from litestar import Litestar, Router
from litestar.config.compression import CompressionConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.types import Scope

from server import error_pages
from server.access.guard import check_role
from server.access.middleware import AccessMiddleware
from server.action_routes import of_app
from server.api import (
    actions,
    asking,
    bulk,
    calls,
    dead_letters,
    events,
    failures,
    health,
    histories,
    instance,
    instances,
    jobs,
    letter_actions,
    letter_bulk,
    login,
    openapi,
    outcomes,
    overview,
    projections,
    publish,
    records,
    registry,
    replaying,
    resending,
    sql,
    start,
    subscribe,
    timer_actions,
    trigger,
)
from server.api.deps import Deps
from server.api.intake import (
    KnownQuery,
    WholeSegments,
    json_only,
    one_guard,
    options_handlers,
    with_whole_segments,
)
from server.api.publish_lane import PublishLane
from server.desk import desk_of
from server.metrics.requests import RequestMetrics
from ui.app import DESK, dashboard

BODY_BYTES_MAX = 8 * 1024 * 1024

# Pages and lists shrink to a fifth; what is sent as it comes (events, rows of SQL) is left alone.
COMPRESSION = CompressionConfig(
    backend="gzip",
    gzip_compress_level=5,
    minimum_size=1000,
    exclude=["^/api/v1/sagas/subscribe", "^/api/v1/sql"],
)

# The tag in the OpenAPI document and the modules whose ROUTES stand under it.
CONTROLLERS: tuple[tuple[str, Sequence[ModuleType]], ...] = (
    ("access", (login,)),
    ("sagas", (registry, start, replaying)),
    (
        "instances",
        (instances, instance, histories, asking, calls, outcomes, actions, timer_actions, bulk),
    ),
    ("messages", (publish, events, resending)),
    ("jobs", (jobs, trigger)),
    ("dead letters", (dead_letters, letter_actions, letter_bulk)),
    ("failures", (failures, overview)),
    ("projections", (projections,)),
    ("records", (records,)),
    ("sql", (sql,)),
    ("live", (subscribe,)),
    ("machines", (health,)),
)


def create_app(
    deps: Deps, *, base: str = "", more: Sequence[HTTPRouteHandler | Router] = ()
) -> Litestar:
    """The API and the dashboard over ``deps``.

    ``base`` is the path the whole is mounted at, ``more`` are further routes, of tests for example.
    """
    app = install(routes(is_open=deps.access.is_open, more=more), deps, base)
    if not base:  # where the whole is mounted, whoever mounts it has the actions of the app
        taken = {openapi.PATH, *(route.path for route in app.routes)}
        for action in of_app(deps.app.actions, deps.client, taken):
            app.register(action)
    return app


def routes(*, is_open: bool, more: Sequence[HTTPRouteHandler | Router] = ()) -> Litestar:
    """All routes, with nothing behind them yet: they ask the state of their application for it."""
    handlers = list(_tagged())
    return Litestar(
        route_handlers=[*options_handlers(handlers), *handlers, dashboard(), *more],
        dependencies={"deps": Provide(_deps_of, sync_to_thread=False)},
        exception_handlers=error_pages.HANDLERS,
        guards=[one_guard(check_role, KnownQuery(), json_only)],
        middleware=[WholeSegments()],
        openapi_config=openapi.config(is_open=is_open),
        compression_config=COMPRESSION,
        request_max_body_size=BODY_BYTES_MAX,
        on_shutdown=[_close],
        logging_config=None,  # the process has set its logs up
        debug=False,
    )


def install(app: Litestar, deps: Deps, base: str = "") -> Litestar:
    """The application of ``routes``, over ``deps`` from now on."""
    deps.metrics.installation(deps.backend, deps.read, deps.live)
    app.state = State({"deps": deps, DESK: desk_of(deps, base)})
    lane = PublishLane(with_whole_segments(app.asgi_handler), deps)
    inner = AccessMiddleware(lane, deps.access, error_pages.answer)
    app.asgi_handler = RequestMetrics(inner, deps.metrics.catalog)
    return app


def _deps_of(scope: Scope) -> Deps:
    deps: Deps = scope["litestar_app"].state.deps
    return deps


async def _close(app: Litestar) -> None:
    await app.state.deps.close()


def _tagged() -> Iterator[HTTPRouteHandler]:
    """All handlers, each with the tag it stands under."""
    for tag, modules in CONTROLLERS:
        for module in modules:
            for handler in module.ROUTES:
                handler.tags = [tag]
                yield handler
