"""What is checked before a handler sees a request: its path, its query, the kind of its body.

Keys may hold any character, a slash too: ``%2F`` in a path is part of a segment and reaches the
handler as a slash, which no router does by itself. Query parameters that a route does not document
are refused, since a misspelt filter would otherwise silently select everything.
"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias
from urllib.parse import unquote, unquote_to_bytes

from litestar import Request, Response, route
from litestar.connection import ASGIConnection
from litestar.enums import ParamType
from litestar.exceptions import ClientException
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.params import ParameterKwarg
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec import inspect

from server.access.roles import PUBLIC, ROLE
from server.api.problems import Problem

# Stands for a slash inside a segment while the path is routed: no decoding of UTF-8 makes it.
_SLASH = "\udc2f"

PATH_BYTES_MAX = 4096

# Under this key a handler says that it reads query parameters beyond those it documents.
QUERY, FREE = "query", "free"

AsyncGuard: TypeAlias = Callable[
    [ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Awaitable[None]
]


def with_whole_segments(app: ASGIApp) -> ASGIApp:
    """Let segments of the path hold slashes (``%2F``); the app needs ``WholeSegments`` as well."""

    async def routed(scope: Scope, receive: Receive, send: Send) -> None:
        raw: bytes = (scope.get("raw_path") or b"") if scope["type"] == "http" else b""
        if b"%2" in raw and b"%2f" in raw.lower():
            path = raw.split(b"?")[0].decode("ascii", "replace")
            parts = path.replace("%2f", "%2F").split("%2F")
            whole = _SLASH.join(unquote(part) for part in parts)
            plain = whole.replace(_SLASH, "/")
            # Mounted under a path of somebody else, ours is the end of it.
            base, ours = plain.rstrip("/"), scope["path"].rstrip("/")
            if base.endswith(ours):
                scope["path"] = whole[len(base) - len(ours) :]
        await app(scope, receive, send)

    return routed


class WholeSegments(ASGIMiddleware):
    """Gives path parameters the slashes back that ``with_whole_segments`` took care of."""

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Restore, refuse what is no UTF-8 or far too long, go on."""
        raw: bytes = scope.get("raw_path") or b""
        if len(raw) > PATH_BYTES_MAX:
            raise Problem(
                414,
                "path-too-long",
                "The path is too long",
                f"The path has {len(raw)} bytes; {PATH_BYTES_MAX} are allowed.",
                "Keys have at most 200 bytes; send queries in the body.",
            )
        if b"%" in raw:
            _check_utf8(raw)
        if _SLASH in scope["path"]:
            scope["path"] = scope["path"].replace(_SLASH, "/")
            scope["path_params"] = {
                name: value.replace(_SLASH, "/") if isinstance(value, str) else value
                for name, value in scope["path_params"].items()
            }
        await next_app(scope, receive, send)


def _check_utf8(raw: bytes) -> None:
    try:
        unquote_to_bytes(raw.split(b"?")[0]).decode()
    except UnicodeDecodeError:
        raise Problem(
            400,
            "bad-path",
            "The path is no text",
            "The path holds percent-encoded bytes that are not UTF-8.",
            "Encode names and keys as UTF-8 before you escape them.",
        ) from None


class KnownQuery:
    """A guard that refuses query parameters that a route does not document; one for an application.

    Routes that are not in the document, those of pages, look at their queries themselves.
    """

    def __init__(self) -> None:
        self._documented: dict[BaseRouteHandler, Mapping[str, bool]] = {}

    async def __call__(
        self, connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
    ) -> None:
        """Refuse with the names that come near; raises Problem."""
        if not connection.scope.get("query_string"):
            return
        if not isinstance(handler, HTTPRouteHandler) or not handler.resolve_include_in_schema():
            return
        known = self._documented.get(handler)
        if known is None:
            known = self._documented[handler] = documented_query(handler)
        for name, value in connection.query_params.multi_items():
            if value.lower() == "null" and not known.get(name, True):
                # A word that msgspec would take for None, and so for no filter at all.
                raise ClientException(detail=f"query {name}: 'null' is no value; leave it out")
            if name not in known and handler.opt.get(QUERY) != FREE:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"Did you mean {near[0]}? " if near else ""
                takes = ", ".join(sorted(known)) or "none"
                raise Problem(
                    400,
                    "unknown-parameter",
                    "A query parameter is not known",
                    f"This route has no query parameter {name[:100]!r}.",
                    f"{hint}It takes: {takes}.",
                )


def documented_query(handler: BaseRouteHandler) -> Mapping[str, bool]:
    """The query parameters of a route; True for those that take any text, the word null too."""
    fields = handler.parsed_fn_signature.parameters.items()
    return {
        field.kwarg_definition.name or name: _takes_text(inspect.type_info(field.annotation))
        for name, field in fields
        if isinstance(field.kwarg_definition, ParameterKwarg)
        and field.kwarg_definition.param_type == ParamType.QUERY
        and not field.is_di_field
    }


def _takes_text(kind: inspect.Type) -> bool:
    match kind:
        case inspect.StrType() | inspect.ListType(item_type=inspect.StrType()):
            return True
        case inspect.ListType(item_type=inspect.LiteralType()):
            return True  # the list itself is never null, and its words are checked
        case inspect.UnionType(types=types):
            return any(_takes_text(one) for one in types)
        case _:
            return False


def one_guard(*guards: AsyncGuard) -> AsyncGuard:
    """Several guards as one: Litestar copies the handler for each, which costs more than it."""

    async def all_of_them(
        connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
    ) -> None:
        for guard in guards:
            await guard(connection, handler)

    return all_of_them


async def json_only(
    connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
) -> None:
    """A guard: where a route reads JSON, nothing else is taken for it.

    Forms and plain text are what a foreign page can make a browser send without being asked.
    Raises a 415.
    """
    field = handler.parsed_fn_signature.parameters.get("data")
    if field is None or not _has_body(connection):
        return
    takes = getattr(field.kwarg_definition, "media_type", "application/json")
    wanted = str(getattr(takes, "value", takes))
    given = connection.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_json = given == "application/json" or given.endswith("+json")
    if wanted == "application/json" and not is_json:
        what = f"is {given[:100]!r}" if given else "has no Content-Type"
        raise ClientException(
            detail=f"The body {what}, and this route takes application/json.", status_code=415
        )


def _has_body(connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
    headers = connection.headers
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def options_handlers(handlers: Iterable[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """For each path a handler of OPTIONS that names all its methods.

    Litestar's own names those of the first handler of a path only.
    """
    methods: dict[str, set[str]] = {}
    for handler in handlers:
        for path in handler.paths:
            methods.setdefault(path, {"OPTIONS"}).update(map(str, handler.http_methods))
    return [_options(path, ", ".join(sorted(found))) for path, found in methods.items()]


def _options(path: str, allow: str) -> HTTPRouteHandler:
    async def options(request: Request[Any, Any, Any]) -> Response[None]:
        return Response(None, status_code=204, headers={"Allow": allow}, media_type="text/plain")

    handler = route(path, http_method=["OPTIONS"], opt={ROLE: PUBLIC}, include_in_schema=False)
    return handler(options)
