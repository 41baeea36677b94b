"""Figures and health of a process without an API: a small HTTP server of its own.

For Prometheus and for probes, so it has no login and tells nothing but figures and health: names of
sagas and jobs, never anything of an instance. It listens on loopback unless told otherwise.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec
from litestar.types import Receive, Scope, Send

from server.api.problems import MEDIA_TYPE, ProblemDocument
from server.api.service import ApiService
from server.errors import HttpPortTaken
from server.health import Readiness
from server.metrics.scrape import Scrape

log = logging.getLogger("snorri.metrics")

JSON = "application/json"
_PATHS = ("/metrics", "/health/live", "/health/ready")


class MetricsService(ApiService):
    """Serves ``/metrics`` and ``/health/…`` on ``host`` and ``port`` (0: any free one)."""

    name = "metrics"

    def __init__(self, scrape: Scrape, health: Readiness, host: str, port: int) -> None:
        super().__init__(_Pages(scrape, health), host, port)
        self._wanted = f"{host}:{port}"

    async def start(self) -> None:
        """Listen; raises HttpPortTaken."""
        try:
            await super().start()
        except HttpPortTaken:
            raise HttpPortTaken(
                f"{self._wanted} can't be used for metrics; another program has it or it is no "
                "address of this machine: use another --metrics-port (0 takes any)"
            ) from None
        log.info("metrics and health are at %s", self.address)


class _Pages:
    """The three pages as an ASGI application."""

    def __init__(self, scrape: Scrape, health: Readiness) -> None:
        self._scrape = scrape
        self._health = health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live_through(receive, send)
            return
        accept = dict(scope["headers"]).get(b"accept", b"").decode("latin-1")
        status, content_type, body = await self._answer(str(scope["path"]), accept)
        headers = [
            (b"content-type", content_type.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _answer(self, path: str, accept: str) -> tuple[int, str, bytes]:
        match path:
            case "/metrics":
                content_type, body = await self._scrape.answer(accept)
                return 200, content_type, body
            case "/health/live":
                return 200, JSON, b'{"status":"ok"}'
            case "/health/ready":
                health = await self._health.look()
                return 200 if health.ready else 503, JSON, msgspec.json.encode(health)
            case _:
                problem = ProblemDocument(
                    type="urn:snorri:problem:no-such-route",
                    title="There is nothing here",
                    status=404,
                    detail="This port serves figures and health only.",
                    next=f"Ask for {', '.join(_PATHS)}; the API runs in `snorri serve`.",
                )
                return 404, MEDIA_TYPE, msgspec.json.encode(problem)


async def _live_through(receive: Any, send: Any) -> None:
    """Answer the lifespan protocol; there is nothing to prepare."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return
