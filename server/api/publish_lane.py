"""A quick way in for plain publishes: what every request to any route costs is most of such a one.

Takes over from the framework only where nothing is left to say: a JSON body of a known length that
is an event, from somebody who may publish. Everything else, every malformed or forbidden request
too, goes to the framework's own route, with the body it had; so there is one place that refuses,
and the answers are the same. ``AccessMiddleware`` stands before it and has said who asks.
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request
from litestar.types import ASGIApp, Receive, Scope, Send

from server.access.bodies import again
from server.access.roles import Identity
from server.api.deps import Deps
from server.api.errors import answer
from server.api.publish import PATH, EventBody, EventReceipt, store_event

BODY_BYTES_MAX = 2 * 1024 * 1024
JSON = b"application/json"
TRACEPARENT = b"traceparent"
ELSEWHERE = (b"idempotency-key", b"transfer-encoding", b"expect")  # the framework's route knows

_decode = msgspec.json.Decoder(EventBody).decode
_encode = msgspec.json.Encoder().encode


class PublishLane:
    """ASGI middleware in front of the application."""

    def __init__(self, app: ASGIApp, deps: Deps) -> None:
        self._app = app
        self._deps = deps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Publish a plain event; everything else passes."""
        trace = _plain(scope)
        if trace is None:
            await self._app(scope, receive, send)
            return
        body = await _read(receive)
        try:
            event = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            await self._app(scope, again(body, receive), send)
            return
        scope["path_template"] = PATH  # as routing would note it, for the metrics
        try:
            receipt = await store_event(self._deps, event, trace)
        except Exception as error:  # whatever it is, as the framework's route would answer
            request: Request[Any, Any, Any] = Request(scope)
            response = answer(request, error).to_asgi_response(None, request)
            await response(scope, receive, send)
            return
        await _respond(send, receipt)


def _plain(scope: Scope) -> str | None:
    """The traceparent (or an empty text) of a request to take over, None for all others."""
    if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
        return None
    user: Identity | None = scope.get("user")
    if scope.get("query_string") or user is None or not user.may("operator"):
        return None
    trace, kind, length = b"", b"", -1
    for name, value in scope["headers"]:
        if name == b"content-type":
            kind = value
        elif name == b"content-length":
            length = int(value) if value.isdigit() and len(value) < 10 else -1
        elif name == TRACEPARENT:
            trace = value
        elif name in ELSEWHERE:
            return None
    if kind != JSON or not 0 < length <= BODY_BYTES_MAX:
        return None
    return trace.decode("latin-1")


async def _read(receive: Receive) -> bytes:
    """The body as far as it came; of one that was cut off too little to be JSON."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b""
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


async def _respond(send: Send, receipt: EventReceipt) -> None:
    body = _encode(receipt)
    headers = [(b"content-type", JSON), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
