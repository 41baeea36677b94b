"""Failures by cause: what fails, since when, how often, how much of it waits for somebody."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from msgspec import Struct

from store.cards import saga_cards
from store.failure_notes import NOTE_CHARS_MAX, FailureNote
from store.projection.failures import (
    BUCKETS,
    Count,
    Group,
    Member,
    failure_counts,
    failure_groups,
    failure_members,
)
from ui.addresses import Addresses, Query
from ui.answered import answered
from ui.chart import Chart, Series, chart
from ui.copying import Line, failure_lines
from ui.desk import Desk, Who
from ui.format import number, span
from ui.paging import read_tuple, write_place
from ui.render import missing, page

ROWS = 30
MEMBERS = 50
WINDOWS: dict[str, timedelta] = {
    "1h": timedelta(hours=1),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
BEGINNING = datetime.fromtimestamp(0, UTC)


class Cause(Struct, frozen=True, kw_only=True):
    """A group with how often it failed in each span of the window, and its note."""

    group: Group
    count: int
    drawn: Chart
    note: FailureNote | None

    @property
    def keys(self) -> list[str]:
        """Some of its instances, each once."""
        return list(dict.fromkeys(self.group.keys or ()))


class FailuresPage(Struct, frozen=True, kw_only=True):
    """The context of ``failures.html``."""

    causes: list[Cause]
    open: int
    window: str
    saga: str
    next: Query | None
    sagas: tuple[str, ...]
    windows: tuple[str, ...] = tuple(WINDOWS)


class FailurePage(Struct, frozen=True, kw_only=True):
    """The context of ``failure.html``; ``actions`` are what can be done with its open members."""

    cause: Cause
    members: list[Member]
    next: Query | None
    window: str
    actions: tuple[str, ...]
    saved: bool
    fault: str
    lines: tuple[Line, ...]
    note_max: int = NOTE_CHARS_MAX
    windows: tuple[str, ...] = tuple(WINDOWS)


@get("/failures", opt={"role": "viewer"})
async def failures(
    request: Request[Who, Any, State],
    desk: NamedDependency[Desk],
    window: FromQuery[Literal["1h", "24h", "7d", "30d"]] = "7d",
    saga: FromQuery[str] = "",
    after: FromQuery[str] = "",
) -> Response[str]:
    """Groups that failed within the window, the last seen first."""
    behind = read_tuple(tuple[datetime, str], after)
    since = desk.now() - WINDOWS[window]
    groups, (cards, _) = await asyncio.gather(
        failure_groups(desk.read, since=since, saga=saga, limit=ROWS + 1, behind=behind),
        answered(saga_cards(desk.meta)),
    )
    more = groups[ROWS - 1] if len(groups) > ROWS else None
    query = {"window": window if window != "7d" else "", "saga": saga}
    causes = await causes_of(desk, groups[:ROWS], window)
    place = write_place((more.last_at, more.fingerprint)) if more else ""
    context = FailuresPage(
        causes=causes,
        open=sum(cause.group.open for cause in causes),
        window=window,
        saga=saga,
        next={**query, "after": place} if more else None,
        sagas=tuple(card.id for card in cards or ()),
    )
    return page(request, desk, "failures.html", context, title="Failures")


@get("/failures/{fingerprint:str}", opt={"role": "viewer"})
async def failure(
    request: Request[Who, Any, State],
    desk: NamedDependency[Desk],
    fingerprint: FromPath[str],
    window: FromQuery[Literal["1h", "24h", "7d", "30d"]] = "7d",
    after: FromQuery[str] = "",
    saved: FromQuery[str] = "",
) -> Response[str]:
    """The failures of one cause, the newest first."""
    group = await group_of(desk, fingerprint)
    if group is None:
        return no_group(request, desk, fingerprint)
    return await failure_page(request, desk, group, window, after, saved=bool(saved))


@post("/failures/{fingerprint:str}/note", opt={"role": "operator"}, status_code=200)
async def note(
    request: Request[Who, Any, State], desk: NamedDependency[Desk], fingerprint: FromPath[str]
) -> Response[str]:
    """Put a note in the place of the one before; empty takes it away."""
    group = await group_of(desk, fingerprint)
    if group is None:
        return no_group(request, desk, fingerprint)
    form = await request.form()
    text = str(form.get("note", "")).replace("\r\n", "\n").strip()
    if len(text) > NOTE_CHARS_MAX:
        fault = f"the note has {len(text)} characters, {NOTE_CHARS_MAX} is the most; shorten it"
        return await failure_page(request, desk, group, "7d", "", fault=fault)
    await desk.notes.write(fingerprint, text, request.user.name, desk.now())
    to = Addresses(desk.base).failure(fingerprint, "", {"saved": "1"})
    return Response("", status_code=303, headers={"Location": to})


async def failure_page(
    request: Request[Who, Any, State],
    desk: Desk,
    group: Group,
    window: str,
    after: str,
    *,
    saved: bool = False,
    fault: str = "",
) -> Response[str]:
    """The page of a group; with a ``fault`` its status is 400."""
    behind = read_tuple(tuple[datetime, int, str], after)
    members = await failure_members(desk.read, group.fingerprint, limit=MEMBERS + 1, behind=behind)
    more = members[MEMBERS - 1] if len(members) > MEMBERS else None
    query: dict[str, str] = {"window": window if window != "7d" else ""}
    if more:
        query["after"] = write_place((more.failed_at, more.seq, more.id))
    [cause] = await causes_of(desk, [group], window)
    named = [(one.saga, one.key) for one in members if one.saga and one.key]
    origin = str(request.base_url).rstrip("/") + desk.base
    context = FailurePage(
        cause=cause,
        members=members[:MEMBERS],
        next=query if more else None,
        window=window,
        actions=actions_on(group),
        saved=saved,
        fault=fault,
        lines=failure_lines(group.fingerprint, list(dict.fromkeys(named))[:3], origin),
    )
    title = f"Failure of {group.place or group.saga}"
    code = 400 if fault else 200
    return page(request, desk, "failure.html", context, title=title, status=code)


def actions_on(group: Group) -> tuple[str, ...]:
    """What can be done with the open failures of a group."""
    if not group.open:
        return ()
    return ("redrive", "discard") if group.kind == "dead_letter" else ("retry", "skip", "cancel")


async def group_of(desk: Desk, fingerprint: str) -> Group | None:
    """The group of that name, of all time."""
    if not fingerprint:
        return None
    found = await failure_groups(desk.read, since=BEGINNING, fingerprint=fingerprint, limit=1)
    return found[0] if found else None


def no_group(request: Request[Who, Any, State], desk: Desk, fingerprint: str) -> Response[str]:
    """The page for a fingerprint that no failure has."""
    words = "One that happened just now may take a moment to be here; the list has all there are."
    what = f"No failure has the fingerprint {fingerprint[:100]}"
    return missing(request, desk, what, words, ("/failures", {}))


async def causes_of(desk: Desk, groups: Sequence[Group], window: str) -> list[Cause]:
    """Groups with their counts over time and their notes."""
    names = [group.fingerprint for group in groups]
    since, width = desk.now() - WINDOWS[window], WINDOWS[window] / BUCKETS
    counts, (notes, _) = await asyncio.gather(
        failure_counts(desk.read, names, since=since, width=width),
        answered(desk.notes.of(names)),
    )
    form = "%d %b %H:%M" if width >= timedelta(hours=1) else "%H:%M"
    spans = [f"{since + width * i:{form}}" for i in range(BUCKETS)]
    found: list[Cause] = []
    for group in groups:
        mine = [one for one in counts if one.fingerprint == group.fingerprint]
        found.append(
            Cause(
                group=group,
                count=sum(one.count for one in mine),
                drawn=_drawn(mine, since, width, spans),
                note=(notes or {}).get(group.fingerprint),
            )
        )
    return found


def _drawn(
    counts: Sequence[Count], since: datetime, width: timedelta, spans: Sequence[str]
) -> Chart:
    places: list[float | None] = [None] * BUCKETS
    for one in counts:
        place = round((one.from_at - since) / width)
        if 0 <= place < BUCKETS:
            places[place] = float(one.count)
    series = [Series("failures", tuple(places), tone="red")]
    return chart(f"Failures per {span(width)}, UTC", spans, series, _whole)


def _whole(value: float) -> str:
    """A count; empty for what lies between two."""
    return number(value) if value == round(value) else ""


ROUTES = (failures, failure, note)
