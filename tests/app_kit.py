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

    Its routes are those of all other such applications in this process, its state and what stands
    around the routes are its own. It knows no lifespan: nobody may serve it.
    """
    if deps.app.actions:
        return create_app(deps, more=more)
    return install(copy(_routes(deps.access.is_open, more)), deps)


@cache
def _routes(is_open: bool, more: tuple[HTTPRouteHandler, ...]) -> Litestar:
    return routes(is_open=is_open, more=more)
