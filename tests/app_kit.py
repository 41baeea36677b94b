"""The application over an installation of a test's own, without registering all routes anew."""

from __future__ import annotations

from copy import copy
from functools import cache

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from server.api.app import create_app, install, routes
from server.api.deps import Deps


def quick_app(deps: Deps, *more: HTTPRouteHandler) -> Litestar:
    """What ``create_app`` makes, in a hundredth of the time.

    Its routes are those of all other such applications in this process; its state, its lifespan
    and what stands around the routes are its own.
    """
    if deps.app.actions:
        return create_app(deps, more=more)
    app = copy(_routes(deps.access.is_open, more))
    app.asgi_router = copy(app.asgi_router)
    app.asgi_router.app = app
    return install(app, deps)


@cache
def _routes(is_open: bool, more: tuple[HTTPRouteHandler, ...]) -> Litestar:
    return routes(is_open=is_open, more=more)
