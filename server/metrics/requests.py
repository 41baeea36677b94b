"""Counts and times HTTP requests by the template of their route, around the whole application."""

from __future__ import annotations

import time

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from server.metrics.catalog import Catalog

NO_ROUTE = "none"  # what was asked for does not exist; its path is anybody's text
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
STREAM = b"text/event-stream"


class RequestMetrics:
    """ASGI middleware that counts into a catalogue."""

    def __init__(self, app: ASGIApp, catalog: Catalog) -> None:
        self._app = app
        self._catalog = catalog

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; what is no HTTP passes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, is_stream = 499, False  # the client went before there was an answer

        async def note(message: Message) -> None:
            nonlocal status, is_stream
            if message["type"] == "http.response.start":
                status = message["status"]
                is_stream = any(
                    name.lower() == b"content-type" and value.startswith(STREAM)
                    for name, value in message["headers"]
                )
            await send(message)

        began_s = time.perf_counter()
        try:
            await self._app(scope, receive, note)
        finally:
            method = scope["method"] if scope["method"] in METHODS else "other"
            route = str(scope.get("path_template") or NO_ROUTE)
            self._catalog.requests.labels(method, route, status).inc()
            if not is_stream:
                self._catalog.request_s.labels(route).observe(time.perf_counter() - began_s)
