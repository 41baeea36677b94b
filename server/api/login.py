"""Coming in with a name and a password, going, and asking who one is.

The page is plain HTML without scripts or styles, so that it works under the strictest policy.
"""

from __future__ import annotations

from typing import Annotated, Any

from litestar import MediaType, Request, Response, get, post
from litestar.datastructures import Cookie, Headers
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, QueryParameter
from litestar.response import Redirect
from msgspec import Meta, Struct

from server.access.access import COOKIE, Access, Standing, session_id
from server.access.origin import is_trusted
from server.access.roles import PUBLIC, ROLE, Identity, Role, Via
from server.api.deps import Deps
from server.api.problems import Problem
from ui.login import LoginPage, login_html

AnyRequest = Request[Any, Any, Any]
FIELD_CHARS_MAX = 1000
# Relative, so that they hold under whatever path all this is mounted.
LOGIN, START = "login", "./"


class LoginForm(Struct, frozen=True, kw_only=True):
    """What the page sends."""

    username: Annotated[str, Meta(max_length=FIELD_CHARS_MAX)]
    password: Annotated[str, Meta(max_length=FIELD_CHARS_MAX)]
    next: Annotated[str, Meta(max_length=FIELD_CHARS_MAX)] = ""


class Me(Struct, frozen=True, kw_only=True, rename="camel"):
    """Who asks. ``csrfToken`` must come with every change of a session (``X-CSRFToken``)."""

    name: str
    role: Role
    via: Via
    csrf_token: str | None = None


@get("/login", opt={ROLE: PUBLIC}, media_type=MediaType.HTML, include_in_schema=False)
async def login_page(
    request: AnyRequest,
    deps: NamedDependency[Deps],
    next: Annotated[str, QueryParameter(max_length=FIELD_CHARS_MAX)] = "",
) -> Response[str]:
    """The page that asks for name and password."""
    if request.user is not None:
        return _page(_standing_page(request.auth), 200)
    return _page(LoginPage(next=_own_path(next)), 200)


@post(
    "/login", opt={ROLE: PUBLIC}, include_in_schema=False, status_code=303, media_type="text/html"
)
async def login(
    request: AnyRequest,
    deps: NamedDependency[Deps],
    data: Annotated[LoginForm, Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Response[Any]:
    """Begin a session with a new id; the answer leads to the page asked for."""
    access, address = deps.access, request.auth.address
    if access.is_open:
        raise Problem(
            409,
            "no-login",
            "No login is needed",
            "There is no file of users (SNORRI_AUTH): everybody on this machine may do anything.",
            "Just go on, or set up users: snorri access user NAME --role admin --auth FILE.",
        )
    try:
        old = session_id(request.headers)
        id = await access.login(data.username, data.password, address, old)
    except Problem as problem:
        if "text/html" not in request.headers.get("accept", ""):
            raise
        words = f"{problem.detail} {problem.next if problem.status == 429 else ''}".strip()
        form = LoginPage(next=_own_path(data.next), error=words)
        response = _page(form, problem.status)
        response.headers.update(problem.headers)
        return response
    lifetime_s = int(access.file.lifetime.total_seconds())
    return Redirect(
        _own_path(data.next), status_code=303, cookies=[_cookie(request, access, id, lifetime_s)]
    )


@post("/logout", opt={ROLE: "viewer"}, include_in_schema=False, status_code=303)
async def logout(request: AnyRequest, deps: NamedDependency[Deps]) -> Response[Any]:
    """End the session in every process, and forget the cookie."""
    await deps.access.logout(request.auth)
    return Redirect(LOGIN, status_code=303, cookies=[_cookie(request, deps.access, "", 0)])


@get("/api/v1/me", opt={ROLE: "viewer"}, summary="Who am I")
async def me(request: AnyRequest) -> Me:
    """Name, role and how you are known; for a session also its CSRF token."""
    identity: Identity = request.user
    return Me(
        name=identity.name,
        role=identity.role,
        via=identity.via,
        csrf_token=request.auth.csrf or None,
    )


ROUTES = (login_page, login, logout, me)


def _cookie(request: AnyRequest, access: Access, value: str, max_age_s: int) -> Cookie:
    return Cookie(
        key=COOKIE,
        value=value,
        max_age=max_age_s,
        path="/",
        httponly=True,
        samesite="strict",
        secure=access.file.secure_cookies or _is_tls(request, access),
    )


def _is_tls(request: AnyRequest, access: Access) -> bool:
    """Whether the browser's own connection is encrypted, as far as that can be known."""
    if request.scope["scheme"] == "https":
        return True
    proxy, peer = access.file.proxy, request.scope.get("client")
    headers: Headers = request.headers
    return (
        proxy is not None
        and peer is not None
        and is_trusted(peer[0], proxy.networks)
        and headers.get("x-forwarded-proto", "").strip().lower() == "https"
    )


def _own_path(path: str) -> str:
    """A path of this server; anything that could lead elsewhere becomes the first page."""
    own = path.startswith("/") and not path.startswith(("//", "/\\"))
    return path if own and path.isprintable() and path.isascii() else START


def _page(page: LoginPage, status: int) -> Response[str]:
    return Response(login_html(page), status_code=status, media_type=MediaType.HTML)


def _standing_page(standing: Standing) -> LoginPage:
    identity = standing.identity
    assert identity is not None
    return LoginPage(
        name=identity.name,
        role=identity.role,
        open=identity.via == "open",
        csrf=standing.csrf if standing.session else "",
    )
