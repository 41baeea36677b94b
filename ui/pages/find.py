"""The quick search: what a few characters may mean, as a page and as suggestions while typing."""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromQuery
from msgspec import Struct

from sagas.names import BadName
from store.cards import job_cards, saga_cards
from store.projection.port import ReadError
from store.projection.search import EventHit, Hit, by_command, by_event_id, by_key, by_trace
from ui.addresses import Addresses
from ui.desk import Desk, Who
from ui.render import NAV, page

EACH = 6  # of one group
TEXT_CHARS_MAX = 250
SEQ_DIGITS_MAX = 15
MORE_PAGES = (
    ("Events", "/events"),
    ("Unmatched events", "/events/unmatched"),
    ("Dead letters", "/failures/dead-letters"),
    ("Bulk actions", "/bulk"),
)


class Suggestion(Struct, frozen=True):
    """One thing that may be meant; ``note`` says what it is."""

    label: str
    note: str
    href: str


class Group(Struct, frozen=True):
    """Things of one kind."""

    name: str
    items: tuple[Suggestion, ...]


class FindPage(Struct, frozen=True):
    """The context of ``find.html``; ``all`` is the list of instances that match, ``fault`` why
    keys and ids could not be looked up.
    """

    q: str
    groups: tuple[Group, ...]
    all: str
    fault: str


@get("/find", opt={"role": "viewer"})
async def find(
    request: Request[Who, Any, State], desk: NamedDependency[Desk], q: FromQuery[str] = ""
) -> Response[str]:
    """Straight to the one thing that is named, else all that may be meant."""
    to, text = Addresses(desk.base), _text(q)
    only = await _named(desk, to, text) if text else ""
    if only:
        return Response("", status_code=303, headers={"Location": only})
    fault, groups = "", ()
    try:
        groups = await _groups(request, desk, text)
    except ReadError as error:
        fault = str(error)
    everything = to.page("/instances", {"q": text})
    context = FindPage(q=text, groups=groups, all=everything, fault=fault)
    return page(request, desk, "find.html", context, title=f"Find {text}".strip())


@get("/find/suggestions", opt={"role": "viewer"})
async def suggestions(
    request: Request[Who, Any, State], desk: NamedDependency[Desk], q: FromQuery[str] = ""
) -> list[Group]:
    """The same while somebody types."""
    try:
        return list(await _groups(request, desk, _text(q)))
    except ReadError:  # pages and sagas are found all the same
        return _places(request, desk, _text(q).lower())


def _text(q: str) -> str:
    return q.strip()[:TEXT_CHARS_MAX]


async def _named(desk: Desk, to: Addresses, text: str) -> str:
    """The page of the one instance or event that has exactly this name, or an empty text. Keys are
    asked of the log, so an instance is found as soon as it exists.
    """
    try:
        sagas = await desk.client.sagas_with(text)
    except BadName:
        sagas = []
    if sagas:
        return to.instance(sagas[0], text) if len(sagas) == 1 else ""
    try:
        traced = await by_trace(desk.read, text, 2) or await by_command(desk.read, text, 2)
        events = [one for one in await by_event_id(desk.read, text, 2) if one.id == text]
    except ReadError:
        return ""
    if traced:
        return to.instance(traced[0].saga, traced[0].key) if len(traced) == 1 else ""
    return to.event(events[0].seq) if len(events) == 1 else ""


async def _groups(request: Request[Who, Any, State], desk: Desk, text: str) -> tuple[Group, ...]:
    """What ``text`` may mean, the likeliest kinds first; raises ReadError, Unreachable."""
    places = _places(request, desk, text.lower())
    things = await _sagas_and_jobs(request, desk, text.lower())
    if not text:
        return (*places, *things)
    keys, traced, commands, events = await asyncio.gather(
        by_key(desk.read, text, EACH),
        by_trace(desk.read, text, EACH),
        by_command(desk.read, text, EACH),
        by_event_id(desk.read, text, EACH),
    )
    found = (
        Group("Instances", _instances(desk, keys)),
        Group("Instances of this trace", _instances(desk, traced)),
        Group("Instances that sent this command", _instances(desk, commands)),
        Group("Events", _events(desk, text, events)),
    )
    return (*(one for one in found if one.items), *things, *places)


def _instances(desk: Desk, hits: list[Hit]) -> tuple[Suggestion, ...]:
    to = Addresses(desk.base)
    return tuple(
        Suggestion(one.key, f"{one.saga}, {one.status}", to.instance(one.saga, one.key))
        for one in hits
    )


def _events(desk: Desk, text: str, hits: list[EventHit]) -> tuple[Suggestion, ...]:
    to = Addresses(desk.base)
    found = [Suggestion(one.id, f"{one.type}, event {one.seq}", to.event(one.seq)) for one in hits]
    if text.isascii() and text.isdigit() and len(text) <= SEQ_DIGITS_MAX:
        seq = int(text)
        if 1 <= seq <= desk.read.progress.events_last:
            found.append(Suggestion(f"Event {seq}", "by its sequence", to.event(seq)))
    return tuple(found)


async def _sagas_and_jobs(request: Request[Who, Any, State], desk: Desk, text: str) -> list[Group]:
    to, acts = Addresses(desk.base), desk.may(request.user, "operator")
    sagas, jobs = await asyncio.gather(saga_cards(desk.meta), job_cards(desk.meta))
    named = [one for one in sagas if text in f"{one.id} {one.name} {one.topic}".lower()]
    targets = [one for one in jobs if text in one.target.lower()]
    doing = [Suggestion("Publish an event", "action", to.page("/publish"))]
    doing += [Suggestion(f"Start {one.id}", "action", to.saga(one.id, "/start")) for one in sagas]
    doing += [Suggestion(f"Run {one.target}", "action", to.job(one.target, "/run")) for one in jobs]
    wanted = [one for one in doing if text in one.label.lower()] if acts else []
    groups = (
        ("Sagas", [Suggestion(one.id, one.name or "saga", to.saga(one.id)) for one in named]),
        ("Jobs", [Suggestion(one.target, "job", to.job(one.target)) for one in targets]),
        ("Actions", wanted),
    )
    return [Group(name, tuple(items[:EACH])) for name, items in groups if items]


def _places(request: Request[Who, Any, State], desk: Desk, text: str) -> list[Group]:
    to = Addresses(desk.base)
    known = (*((item.label, item.path) for item in NAV), *MORE_PAGES)
    shown = known if text else known[: len(NAV)]
    pages = [
        Suggestion(name, "page", to.page(path)) for name, path in shown if text in name.lower()
    ]
    return [Group("Pages", tuple(pages))] if pages else []


ROUTES = (find, suggestions)
