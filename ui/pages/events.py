"""Events: all that was published, those that changed nothing, and what happened to one of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, get_args

import msgspec
from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from msgspec import Raw, Struct

from sagas.names import BadName
from store import codec
from store.cards import saga_cards
from store.event_standing import standing_of
from store.event_story import DEPTH_DEFAULT, DEPTH_MAX, Place, Story, answer, story_of
from store.projection.events import (
    EVENTS,
    AgainRow,
    EventOutcome,
    EventRow,
    LetterRow,
    UnmatchedRow,
    unmatched,
)
from store.projection.port import ReadError
from store.projection.times import BadTime, parse_time
from store.projection.where import Where
from ui.addresses import Query
from ui.answered import answered
from ui.copying import Line, event_lines
from ui.desk import Desk, Who
from ui.event_tree import Branch, event_tree
from ui.paging import read_place, write_place
from ui.render import missing, page

ROWS = 50
WORDS_MAX = 10
SEQ_MAX = 2**53
OUTCOMES: tuple[str, ...] = get_args(EventOutcome)
SINCE = ("15m", "1h", "24h", "7d")


class EventsPage(Struct, frozen=True, kw_only=True):
    """The context of ``events.html``; ``asked`` are the filters as the address has them."""

    rows: list[EventRow]
    next: Query | None
    first: Query | None
    asked: dict[str, str]
    fault: str
    types: tuple[str, ...]
    outcomes: tuple[str, ...] = OUTCOMES
    since: tuple[str, ...] = SINCE

    @property
    def any(self) -> bool:
        """Whether anything is filtered."""
        return any(self.asked.values())


class UnmatchedPage(Struct, frozen=True, kw_only=True):
    """The context of ``unmatched.html``."""

    rows: list[UnmatchedRow]
    since: str
    fault: str
    spans: tuple[str, ...] = SINCE


class StoredEvent(Struct, frozen=True, kw_only=True):
    """An event as it is stored; ``payload`` is masked JSON, ``text`` what is no JSON."""

    seq: int
    type: str
    key: str | None
    id: str
    at: datetime
    headers: dict[str, str]
    original: bytes
    payload: Raw | None
    text: str

    @property
    def answers(self) -> str:
        """Id of the command it answers, empty when it is no answer."""
        return self.headers.get(codec.CAUSE, "")

    @property
    def repeats(self) -> str:
        """The dead letter (its id) or the event (``events-7``) that it repeats, or empty."""
        return self.headers.get(codec.REDRIVEN, "")


class EventPage(Struct, frozen=True, kw_only=True):
    """The context of ``event.html``; ``waiting`` says that no engine has told of it yet."""

    event: StoredEvent
    words: str
    waiting: bool
    tree: Branch
    letters: tuple[LetterRow, ...]
    again: tuple[AgainRow, ...]
    truncated: bool
    depth: int
    deepest: int
    unread: str
    sent: str
    lines: tuple[Line, ...]


@get("/events", opt={"role": "viewer"})
async def events(
    request: Request[Who, Any, State],
    desk: NamedDependency[Desk],
    type: FromQuery[str] = "",
    key: FromQuery[str] = "",
    id: FromQuery[str] = "",
    outcome: FromQuery[str] = "",
    q: FromQuery[str] = "",
    since: FromQuery[str] = "",
    after: FromQuery[str] = "",
) -> Response[str]:
    """All that was published, the newest first; records of attempts only when asked for by type."""
    asked = {"type": type, "key": key, "id": id, "outcome": outcome, "q": q, "since": since}
    asked = {name: value.strip() for name, value in asked.items()}
    where, fault = Where(), ""
    for name in ("type", "key", "id", "outcome"):
        where.equal(f'"{name}"', asked[name] or None)
    if not asked["type"]:
        where.add(f'"type" <> {where.bind(codec.ATTEMPTED)}')
    where.words(('"type"', "key", "payload::VARCHAR"), asked["q"].split()[:WORDS_MAX])
    try:
        if asked["since"]:
            where.between("stored_at", parse_time(asked["since"], desk.now()), None)
    except BadTime as error:
        fault = str(error)
    rows, place = await EVENTS.page(desk.read, where, read_place(EVENTS, after), ROWS)
    cards, _ = await answered(saga_cards(desk.meta))
    context = EventsPage(
        rows=rows,
        next={**asked, "after": write_place(place)} if place else None,
        first=asked if after else None,
        asked=asked,
        fault=fault,
        types=tuple(sorted({type for card in cards or () for type in card.types})),
    )
    return page(request, desk, "events.html", context, title="Events", status=400 if fault else 200)


@get("/events/unmatched", opt={"role": "viewer"})
async def events_unmatched(
    request: Request[Who, Any, State], desk: NamedDependency[Desk], since: FromQuery[str] = "7d"
) -> Response[str]:
    """Events that no saga handles or every instance let pass, by type and reason."""
    fault, rows = "", []
    try:
        rows = await unmatched(desk.read, parse_time(since, desk.now()))
    except BadTime as error:
        fault = str(error)
    context = UnmatchedPage(rows=rows, since=since, fault=fault)
    code = 400 if fault else 200
    return page(request, desk, "unmatched.html", context, title="Unmatched events", status=code)


@get("/events/{seq:int}", opt={"role": "viewer"})
async def event(
    request: Request[Who, Any, State],
    desk: NamedDependency[Desk],
    seq: FromPath[int],
    depth: FromQuery[int] = DEPTH_DEFAULT,
    sent: FromQuery[str] = "",
) -> Response[str]:
    """What happened to an event: an answer in words, then the tree of what it led to."""
    found = await stored_event(desk, seq)
    if found is None:
        return no_event(request, desk, seq)
    depth = min(max(depth, 0), DEPTH_MAX)
    unread = ""
    try:
        story = await story_of(desk.read, seq, depth)
    except ReadError as error:
        story, unread = _nothing_known(seq), str(error)
    standing = await standing_of(desk.client, story)
    waits: dict[tuple[str, str], Place] = {
        at: one.waits for at, one in standing.items() if one.waits is not None
    }
    words = answer(story, found.type, waits, is_waiting=not story.own)
    origin = str(request.base_url).rstrip("/") + desk.base
    context = EventPage(
        event=found,
        words=desk.mask_text(words, found.original if found.payload is not None else b"null"),
        waiting=not story.own and not story.letters and found.type != codec.ATTEMPTED,
        tree=event_tree(story, standing),
        letters=story.letters,
        again=story.again,
        truncated=story.truncated,
        depth=depth,
        deepest=DEPTH_MAX,
        unread=unread,
        sent=sent,
        lines=event_lines(desk.names, found.seq, found.type, found.key, found.payload, origin),
    )
    return page(request, desk, "event.html", context, title=f"Event {seq}")


async def stored_event(desk: Desk, seq: int) -> StoredEvent | None:
    """The event of a sequence as people may see it, or None; raises Unreachable."""
    stored = await desk.client.event(seq) if 1 <= seq <= SEQ_MAX else None
    if stored is None:
        return None
    try:
        type, key = desk.names.parse_event(stored.subject)
    except BadName:
        type, key = stored.subject, None
    payload = Raw(desk.mask(stored.data)) if is_json(stored.data) else None
    return StoredEvent(
        seq=stored.seq,
        type=type,
        key=key,
        id=stored.headers.get(codec.MSG_ID, ""),
        at=codec.moment(stored.at_ns),
        headers=dict(stored.headers),
        original=stored.data,
        payload=payload,
        text="" if payload is not None else stored.data.decode(errors="replace"),
    )


def no_event(request: Request[Who, Any, State], desk: Desk, seq: int) -> Response[str]:
    """The page for a sequence that holds no event."""
    words = "It was never stored, or retention has taken it. The list has what is stored."
    return missing(request, desk, f"There is no event {seq}", words, ("/events", {}))


def is_json(data: bytes) -> bool:
    """Whether a payload is JSON."""
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _nothing_known(seq: int) -> Story:
    return Story(
        seq=seq,
        outcomes=(),
        effects=(),
        attempts=(),
        steps=(),
        letters=(),
        again=(),
        truncated=False,
    )


ROUTES = (events, events_unmatched, event)
