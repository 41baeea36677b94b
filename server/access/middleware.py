"""What every request passes, and every answer: host, identity, origin, CSRF token, headers.

Stands around the whole application, so that it holds for routes that do not exist as well. The
scope gets ``user`` (Identity or None) and ``auth`` (Standing); which role a route asks for is
checked by ``server.access.guard``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import parse_qs

from litestar import Request, Response
from litestar.datastructures import Headers
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from server.access import audit, origin
from server.access.access import STANDING, Access, Standing
from server.access.bodies import again
from server.api.errors import answer
from server.api.problems import Problem

CSRF_HEADER = "x-csrftoken"
CSRF_FIELD = "_csrf_token"
FORM = "application/x-www-form-urlencoded"
FORM_BYTES_MAX = 4 * 1024 * 1024  # a payload of 1 MB grows when a form encodes it

Refusal: TypeAlias = Callable[[Request[Any, Any, Any], Exception], Response[Any]]

HEADERS = {
    "content-security-policy": "default-src 'self'; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'self'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
# Behind a proxy that ends TLS, this one is the proxy's to send.
_ONLY_TLS = (b"strict-transport-security", b"max-age=31536000")
_PAIRS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


class WrongToken(Problem):
    """A change without the token of its session; ``fields`` are those of its form."""

    def __init__(self, fields: Mapping[str, list[str]]) -> None:
        super().__init__(
            403,
            "csrf",
            "The CSRF token is missing or wrong",
            "A login in a browser must send the token of its session with every change.",
            f"Send the csrfToken of /api/v1/me as {CSRF_HEADER} or as form field {CSRF_FIELD}.",
        )
        self.fields = {name: values for name, values in fields.items() if name != CSRF_FIELD}


class AccessMiddleware:
    """Lets a request pass with what is known of its sender, or answers with the ``refusal``."""

    def __init__(self, app: ASGIApp, access: Access, refusal: Refusal = answer) -> None:
        self._app = app
        self._access = access
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection; what is no HTTP passes with nobody as its user."""
        if scope["type"] != "http":
            scope["user"] = scope["auth"] = None
            await self._app(scope, receive, send)
            return
        known: Standing | None = dict(scope).get(STANDING)  # type: ignore[assignment]
        if known is not None:
            scope["user"], scope["auth"] = known.identity, known
            await self._app(scope, receive, send)
            return
        send = _with_headers(send, is_tls=scope["scheme"] == "https")
        try:
            receive = await self._admit(scope, receive)
        except Exception as error:  # whatever it is, nobody gets further
            request: Request[Any, Any, Any] = Request(scope)
            response = self._refusal(request, error).to_asgi_response(None, request)
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _admit(self, scope: Scope, receive: Receive) -> Receive:
        """Check the request and note who sent it; raises Problem, Unreachable."""
        headers, access = Headers.from_scope(scope), self._access
        hosts = headers.getall("host", [])
        host = hosts[0] if len(hosts) == 1 else ""
        if not origin.host_allowed(host, access.file.allowed_hosts, only_local=access.is_open):
            raise _foreign_host(host, access.is_open)
        standing = await access.identify(scope)
        scope["user"], scope["auth"] = standing.identity, standing
        if str(scope.get("method")) in origin.SAFE_METHODS:
            return receive
        if standing.identity is not None and standing.identity.via == "token":
            return receive  # no browser adds a token by itself
        site, page = headers.get("sec-fetch-site"), headers.get("origin")
        if not origin.from_own_page(host, site, page):
            audit.record("a foreign page was refused", "", standing.address, origin=page or site)
            raise _foreign_page()
        if standing.identity is not None and standing.identity.via == "session":
            return await self._check_csrf(standing, headers, receive)
        return receive

    async def _check_csrf(self, standing: Standing, headers: Headers, receive: Receive) -> Receive:
        token, fields = headers.get(CSRF_HEADER, ""), dict[str, list[str]]()
        if not token and headers.get("content-type", "").partition(";")[0].strip() == FORM:
            body = await _read_form(receive)
            fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=1000)
            token = fields.get(CSRF_FIELD, [""])[0]
            receive = again(body, receive)
        if not self._access.csrf_matches(standing, token):
            raise WrongToken(fields)
        return receive


async def _read_form(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Problem(400, "cut-off", "The request was cut off", "No body came.", "Try again.")
        body += message.get("body", b"")
        if len(body) > FORM_BYTES_MAX:
            raise Problem(
                413,
                "too-large",
                "The form is too large",
                f"A form may have {FORM_BYTES_MAX // 1024 // 1024} MiB; a message may have 1 MB.",
                "Store large data elsewhere and send a reference to it.",
            )
        if not message.get("more_body", False):
            return bytes(body)


def _with_headers(send: Send, *, is_tls: bool) -> Send:
    pairs = [*_PAIRS, _ONLY_TLS] if is_tls else _PAIRS

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", ()))
            names = {name.lower() for name, _ in given}
            message["headers"] = given + [pair for pair in pairs if pair[0] not in names]
        await send(message)

    return send_with_headers


def _foreign_host(host: str, is_open: bool) -> Problem:
    known = "localhost and addresses" if is_open else "those in allowed_hosts"
    return Problem(
        421,
        "foreign-host",
        "The request is for another host",
        f"The Host header is {host[:100]!r}; this server answers to {known}.",
        "Use http://localhost or the address, or set up users and allowed_hosts (SNORRI_AUTH).",
    )


def _foreign_page() -> Problem:
    return Problem(
        403,
        "foreign-page",
        "A page of another origin sent this",
        "Changes are taken from this server's own pages and from programs only.",
        "Programs send an API token: Authorization: Bearer TOKEN.",
    )
