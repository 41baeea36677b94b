"""An instance's life as lanes over time: its status, its commands with their attempts, its timers.

Pure: revisions and attempts in, positions in pixels out. Two scales: ``true`` shows time as it was;
``short`` (the default) takes the logarithm of each pause, so that five days of waiting and five
milliseconds of work can be seen side by side. Both keep the order of all moments.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from math import log1p
from typing import Literal, TypeAlias

from msgspec import Struct

from sagas.effects import Schedule, Send
from sagas.instance import FINISHED
from store.lookup import Revision
from ui.format import exact, span
from ui.told import Commands, came, commands_of, worked

Scale: TypeAlias = Literal["short", "true"]
Tone: TypeAlias = str  # a status, or waiting, running, retried, timed_out, pending

WIDTH, LABEL, LANE, AXIS = 1000, 190, 26, 24
BAR = 14
BAR_WIDTH_MIN = 3.0
TICKS_MAX = 8
TICK_GAP = 96


class Attempt(Struct, frozen=True, kw_only=True):
    """One attempt of a job at a command of this instance."""

    command: str
    attempt: int
    worker: str
    started_at: datetime
    ended_at: datetime
    outcome: str
    error: str


class Bar(Struct, frozen=True):
    """A stretch of a lane: ``tone`` is its look, ``title`` what hovering tells."""

    x: float
    width: float
    tone: Tone
    title: str


class Mark(Struct, frozen=True):
    """A transition on the first lane."""

    x: float
    version: int
    title: str


class Lane(Struct, frozen=True):
    """One row of the picture; ``y`` is its upper edge."""

    label: str
    kind: str
    y: float
    bars: tuple[Bar, ...]


class Tick(Struct, frozen=True):
    """A label of the time axis: how long after the beginning."""

    x: float
    label: str


class Timeline(Struct, frozen=True):
    """The whole picture; ``words`` says the same for people who do not see it."""

    height: float
    lanes: tuple[Lane, ...]
    marks: tuple[Mark, ...]
    ticks: tuple[Tick, ...]
    words: str


Piece: TypeAlias = tuple[datetime, datetime, Tone, str]  # from, to, look, title
Rows: TypeAlias = list[tuple[str, str, list[Piece]]]  # label, kind, pieces


def timeline(
    revisions: Sequence[Revision], attempts: Sequence[Attempt], now: datetime, scale: Scale
) -> Timeline:
    """Lay out a history of at least one revision; open ends reach to ``now``."""
    first, last = revisions[0], revisions[-1]
    end = last.at if last.instance.finished else max(now, last.at)
    rows: Rows = [("status", "status", _statuses(revisions, end))]
    rows += _packed(_commands(revisions, attempts, end))
    rows += _packed(_timers(revisions, end))
    moments = [moment for _, _, pieces in rows for piece in pieces for moment in piece[:2]]
    place = _scale([first.at, end, *(r.at for r in revisions), *moments], scale)
    lanes = tuple(
        Lane(label, kind, AXIS + index * LANE, tuple(_bar(piece, place) for piece in pieces))
        for index, (label, kind, pieces) in enumerate(rows)
    )
    commands = commands_of(r.instance for r in revisions)
    marks = tuple(_mark(r, first.at, place, commands) for r in revisions)
    height = AXIS + len(rows) * LANE + 6
    return Timeline(height, lanes, marks, _ticks(revisions, end, place), _words(revisions, end))


def _statuses(revisions: Sequence[Revision], end: datetime) -> list[Piece]:
    pieces: list[Piece] = []
    for revision, following in zip(revisions, [*revisions[1:], None], strict=True):
        status = revision.instance.status
        until = following.at if following else end
        if pieces and pieces[-1][2] == status:
            since = pieces[-1][0]
            pieces[-1] = (since, until, status, f"{status} for {span(until - since)}")
        elif status not in FINISHED or following is not None:
            pieces.append((revision.at, until, status, f"{status} for {span(until - revision.at)}"))
        else:
            pieces.append((revision.at, revision.at, status, f"{status} at {exact(revision.at)}"))
    return pieces


def _commands(revisions: Sequence[Revision], attempts: Sequence[Attempt], end: datetime) -> Rows:
    sent: dict[str, tuple[str, datetime]] = {}
    for revision in revisions:
        for effect in revision.instance.effects:
            if isinstance(effect, Send):
                label = worked(revision.instance.commands.get(effect.id), effect.target)
                sent.setdefault(effect.id, (label, revision.at))
    closed = _closed(revisions)
    rows: Rows = []
    for id, (label, at) in sent.items():
        tries = sorted((a for a in attempts if a.command == id), key=lambda a: a.started_at)
        until = max(closed.get(id, end), at)
        rows.append((label, "command", _waits_and_tries(tries, at, until, id in closed)))
    return rows


def _closed(revisions: Sequence[Revision]) -> Mapping[str, datetime]:
    """When each command was answered or dropped: the first revision where it is open no more."""
    closed: dict[str, datetime] = {}
    open_: set[str] = set()
    for revision in revisions:
        here = set(revision.instance.commands)
        sent = {e.id for e in revision.instance.effects if isinstance(e, Send)}
        for id in (open_ | sent) - here:
            closed[id] = revision.at
        for id in here:
            closed.pop(id, None)
        open_ = here
    return closed


def _waits_and_tries(
    tries: Sequence[Attempt], sent: datetime, until: datetime, closed: bool
) -> list[Piece]:
    pieces: list[Piece] = []
    at = sent
    for one in tries:
        started, ended = max(one.started_at, at), max(one.ended_at, at)
        if started > at:
            pieces.append((at, started, "waiting", f"waited {span(started - at)}"))
        error = f": {one.error}" if one.error else ""
        title = f"attempt {one.attempt} by {one.worker} {one.outcome.replace('_', ' ')} "
        pieces.append((started, ended, one.outcome, f"{title}in {span(ended - started)}{error}"))
        at = ended
    if until > at:
        word = "answer on its way" if tries and closed else "waiting"
        pieces.append((at, until, "waiting", f"{word} for {span(until - at)}"))
    return pieces


def _timers(revisions: Sequence[Revision], end: datetime) -> Rows:
    rows: Rows = []
    for index, revision in enumerate(revisions):
        for effect in revision.instance.effects:
            if not isinstance(effect, Schedule) or effect.id not in revision.instance.timers:
                continue
            due = revision.instance.timers[effect.id].at
            gone = next(
                (r for r in revisions[index + 1 :] if _without(r, effect.id, revision)), None
            )
            fired = gone is not None and gone.instance.cause.kind == "timer"
            until = gone.at if gone else end
            word = "fired" if fired else "cancelled" if gone else "pending"
            anew = gone is not None and effect.id in gone.instance.timers
            title = f"{effect.type} {'set anew' if anew else word}, due {exact(due)}"
            rows.append((effect.id, "timer", [(revision.at, until, word, title)]))
    return rows


def _packed(rows: Rows) -> Rows:
    """What has one name and does not overlap in time stands in one row, as a loop's work does."""
    packed: Rows = []
    for label, kind, pieces in rows:
        alike = (there for name, of, there in packed if (name, of) == (label, kind))
        room = next((there for there in alike if _behind(there, pieces)), None)
        if room is None:
            packed.append((label, kind, list(pieces)))
        else:
            room.extend(pieces)
    return packed


def _behind(there: Sequence[Piece], pieces: Sequence[Piece]) -> bool:
    return all(last[1] <= first[0] for last in there[-1:] for first in pieces[:1])


def _without(revision: Revision, timer: str, setter: Revision) -> bool:
    """Whether the timer set by ``setter`` is gone at ``revision``: fired, cancelled or replaced."""
    now = revision.instance.timers.get(timer)
    return now is None or now.version != setter.instance.version


def _scale(moments: Iterable[datetime], scale: Scale) -> Callable[[datetime], float]:
    """From a moment to its x, over the width right of the labels."""
    known = sorted(set(moments))
    weights = [
        log1p((b - a).total_seconds() * 1000) if scale == "short" else (b - a).total_seconds()
        for a, b in pairwise(known)
    ]
    total = sum(weights) or 1.0
    places, at = [float(LABEL)], float(LABEL)
    for weight in weights:
        at += weight / total * (WIDTH - LABEL - 8)
        places.append(at)

    def place(moment: datetime) -> float:
        return places[bisect_right(known, moment) - 1]

    return place


def _bar(piece: Piece, place: Callable[[datetime], float]) -> Bar:
    since, until, tone, title = piece
    x = place(since)
    return Bar(x, max(place(until) - x, BAR_WIDTH_MIN), tone, title)


def _mark(
    revision: Revision, start: datetime, place: Callable[[datetime], float], commands: Commands
) -> Mark:
    what, after = came(revision.instance, commands), span(revision.at - start)
    title = f"version {revision.instance.version}: {what}, after {after}"
    return Mark(place(revision.at), revision.instance.version, title)


def _ticks(
    revisions: Sequence[Revision], end: datetime, place: Callable[[datetime], float]
) -> tuple[Tick, ...]:
    """The time since the beginning at some of the moments, far enough apart to be read."""
    start = revisions[0].at
    ticks = [Tick(place(start), "0")]
    for moment in (*(r.at for r in revisions[1:]), end):
        x = place(moment)
        if x - ticks[-1].x >= TICK_GAP and len(ticks) < TICKS_MAX:
            ticks.append(Tick(x, span(moment - start)))
    return tuple(ticks)


def _words(revisions: Sequence[Revision], end: datetime) -> str:
    took: timedelta = end - revisions[0].at
    status = revisions[-1].instance.status
    count, first = len(revisions), revisions[0].instance.version
    versions = "1 version" if count == 1 else f"{count} versions"
    if first > 1:
        versions = f"versions {first} to {first + count - 1}"
    return f"{versions} in {span(took)}, {status} at the end"
