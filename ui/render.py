"""Templates to responses: one Jinja environment, what every page shares, and the security rules.

Autoescape is always on and undefined names are errors. A page gets its own Struct as ``page`` and
this module's ``Shell`` as ``shell``; filters are the functions of ``ui.format``.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import MediaType, Request, Response
from litestar.datastructures import State
from msgspec import Struct

from ui import format as words
from ui.addresses import Addresses, Query
from ui.desk import Desk, Who
from ui.told import arrived

SHOWN = "snorri_shown"  # in the state of a request: where lists stood before anything was read
STATIC = Path(__file__).parent / "static"


class NavItem(Struct, frozen=True):
    """One entry of the navigation; ``key`` is what ``g`` and a letter jump to."""

    path: str
    label: str
    icon: str
    key: str


NAV = (
    NavItem("/", "Overview", "home", "o"),
    NavItem("/instances", "Instances", "list", "i"),
    NavItem("/failures", "Failures", "alert", "f"),
    NavItem("/timers", "Timers", "clock", "t"),
    NavItem("/sagas", "Sagas", "flow", "s"),
    NavItem("/jobs", "Jobs", "gear", "j"),
    NavItem("/publish", "Publish", "send", "p"),
    NavItem("/sql", "SQL", "table", "q"),
    NavItem("/audit", "Audit", "people", "a"),
    NavItem("/system", "System", "server", "y"),
)


class Shell(Struct, frozen=True, kw_only=True):
    """What every page shows around its content."""

    title: str
    path: str
    url: str
    who: Who
    csrf: str
    now: datetime
    to: Addresses
    operator: bool
    admin: bool
    nav: tuple[NavItem, ...] = NAV
    lag_s: float = 0.0
    seq: int = 0  # of the log as the lists show it; live news begin behind it
    fault: str = ""
    full: str = ""  # why new sagas are refused, if they are
    strays: int = 0  # events of the last day that no saga handles


@cache
def asset(name: str) -> str:
    """A static file's name with the hash of its content, so that it may be cached for ever."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"{name}?v={digest}"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ui"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["asset"] = asset  # pyright: ignore[reportArgumentType]
    for name in (
        "ago",
        "compact",
        "exact",
        "machine",
        "number",
        "one_line",
        "pretty",
        "size",
        "span",
    ):
        environment.filters[name] = getattr(words, name)
    environment.filters["arrived"] = arrived
    environment.filters["combine"] = lambda one, other: {**one, **other}
    return environment


ENVIRONMENT = _environment()


def page(
    request: Request[Who, Any, State],
    desk: Desk,
    template: str,
    context: Struct,
    *,
    title: str,
    status: int = 200,
) -> Response[str]:
    """The response of a page: ``template`` with ``context`` as ``page`` inside the shell."""
    who = request.user
    progress = desk.read.progress
    shell = Shell(
        title=title,
        path=request.scope["path"].removeprefix(desk.base) or "/",
        url=str(request.url),
        who=who,
        csrf=desk.csrf(request),
        now=desk.now(),
        to=Addresses(desk.base),
        operator=desk.may(who, "operator"),
        admin=desk.may(who, "admin"),
        lag_s=progress.lag_s,
        seq=request.state.get(SHOWN, progress.log_seq),
        fault=progress.fault,
        full=_refusing(desk) if who.via != "backup" else "",
        strays=desk.strays.count(),
    )
    text = ENVIRONMENT.get_template(template).render(page=context, shell=shell)
    return Response(text, media_type=MediaType.HTML, status_code=status)


def _refusing(desk: Desk) -> str:
    """That new sagas are refused, if they are, in a sentence."""
    full = desk.room.glance()
    return "" if full is None else f"{full.words[0].upper()}{full.words[1:]}."


class ErrorPage(Struct, frozen=True):
    """The context of ``error.html``: what happened and what to do next."""

    status: int
    title: str
    detail: str
    next: str


class Typed(Struct, frozen=True):
    """A field of a form with what was typed into it."""

    name: str
    value: str


class RefusedForm(Struct, frozen=True):
    """The context of ``refused_form.html``: what was in the form that was not taken."""

    typed: tuple[Typed, ...]


class MissingPage(Struct, frozen=True):
    """The context of ``missing.html``: what is not there, and where to look instead."""

    what: str
    words: str
    link: str


def missing(
    request: Request[Who, Any, State],
    desk: Desk,
    what: str,
    words: str,
    desk_link: tuple[str, Query],
) -> Response[str]:
    """The page for a thing that is not there, status 404."""
    link = Addresses(desk.base).page(*desk_link)
    context = MissingPage(what, words, link)
    return page(request, desk, "missing.html", context, title="Not found", status=404)
