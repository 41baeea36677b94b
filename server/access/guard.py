"""The guard of all routes: each names the role it asks for, and what names none is refused."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from server.access import audit
from server.access.access import unauthorized
from server.access.roles import PUBLIC, ROLE, ROLES, Identity
from server.api.problems import Problem


async def check_role(
    connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
) -> None:
    """Refuse whoever does not have the role of ``handler.opt[ROLE]``; raises Problem 401, 403."""
    needed = handler.opt.get(ROLE)
    if needed == PUBLIC or connection.scope.get("method") == "OPTIONS":
        return  # Litestar's own answer to OPTIONS names the methods, nothing else
    identity: Identity | None = connection.scope.get("user")
    if identity is None:
        raise _to_login(connection) or unauthorized("This needs a login or a token.")
    if needed not in ROLES:
        raise Problem(
            403,
            "no-role-declared",
            "Nobody may do this",
            "The route does not say which role it needs, so nobody has it.",
            "Report this route; it is a defect.",
        )
    if not identity.may(needed) and identity.via == "backup":
        raise Problem(
            403,
            "read-only",
            "This is a backup, it can only be read",
            f"What you see is the {identity.name}; nothing in it can be changed.",
            "To go on from it, bring it back with `snorri restore`.",
        )
    if not identity.may(needed):
        address = getattr(connection.scope.get("auth"), "address", "")
        path = connection.scope["path"]
        audit.record("an action was refused", identity, address, needs=needed, path=path)
        raise Problem(
            403,
            "forbidden",
            "Your role may not do this",
            f"This needs the role {needed}; {identity.name} has the role {identity.role}.",
            f"Ask an admin for the role {needed}.",
            {"needs": needed, "role": identity.role},
        )


def _to_login(connection: ASGIConnection[Any, Any, Any, Any]) -> Problem | None:
    """The way to the login and back for somebody who looks at a page; None for programs.

    Relative, since the whole may be mounted at a path that this knows nothing of; by the template,
    in which a slash within a key is none.
    """
    scope = connection.scope
    if scope.get("method") != "GET" or "text/html" not in connection.headers.get("accept", ""):
        return None
    came_from = (scope.get("raw_path") or b"/").split(b"?")[0] + b"?" + scope["query_string"]
    up = "../" * (scope["path_template"].count("/") - 1)
    return Problem(
        303,
        "login-first",
        "Log in first",
        "This page is for those who are logged in.",
        "Follow the Location header.",
        headers={"Location": f"{up}login?next={quote(came_from.rstrip(b'?'), safe='/')}"},
    )
