"""Events: all that was published, what became of each, and those that matched nothing."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated

import msgspec
from litestar import get
from litestar.params import PathParameter, QueryParameter
from msgspec import Meta, Raw, Struct

from sagas.names import BadName
from server.access.roles import ROLE
from server.api.deps import Deps
from server.api.lists import (
    LIMIT_DEFAULT,
    SEQ_MAX,
    CursorText,
    Limit,
    Projection,
    Since,
    WaitFor,
    list_records,
    moment,
    projection_of,
    settle,
)
from server.api.parameters import Parts
from server.api.problems import Problem
from server.api.shown import Asked, Show, Unmask, raw, show_text, shower
from store.codec import ATTEMPTED, CAUSE, MSG_ID, REDRIVEN
from store.codec import moment as time_of
from store.event_standing import standing_of
from store.event_story import DEPTH_DEFAULT, DEPTH_MAX, Place, Story, answer, story_of
from store.port import Stored
from store.projection.events import (
    EVENTS,
    AgainRow,
    AttemptRow,
    EffectRow,
    EventOutcome,
    EventRow,
    LetterRow,
    UnmatchedRow,
    unmatched,
)
from store.projection.where import Where

DAYS_DEFAULT = 7
WORDS_MAX = 10


Seq = Annotated[int, PathParameter(ge=1, le=SEQ_MAX, description="Sequence in the events stream")]


class EventPage(Struct, frozen=True, kw_only=True, rename="camel"):
    """Events, newest first."""

    items: list[EventRow]
    next: Annotated[str | None, Meta(description="Cursor of the next page, null at the end")]
    projection: Projection


class Reached(Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of an event at one instance; saga and key are empty where it reached none."""

    seq: Annotated[int, Meta(description="The event's sequence")]
    saga: str
    key: str
    outcome: str
    version: Annotated[int | None, Meta(description="Version it caused")]
    code: Annotated[str, Meta(description="Word of ours for the reason, empty when applied")]
    reason: Annotated[str, Meta(description="In plain words, empty when applied")]
    by: str
    at: datetime
    status: Annotated[str | None, Meta(description="Of the instance now; null when not looked up")]
    waits: Annotated[
        Place | None,
        Meta(description="Where the event still waits: in the backlog, or it parked it"),
    ]


class Consequence(Struct, frozen=True, kw_only=True, rename="camel"):
    """An effect of a transition that the event, or one it led to, has caused."""

    saga: str
    key: str
    version: int
    kind: str
    name: Annotated[str, Meta(description="Target, event type, message type or child saga")]
    id: str
    payload: Raw | None
    status: Annotated[str | None, Meta(description="Of a command, as it stands now")]
    error: str | None
    attempts: list[AttemptRow]


class NextEvent(Struct, frozen=True, kw_only=True, rename="camel"):
    """An event that an effect led to."""

    seq: int
    type: str
    key: str | None
    stored_at: datetime
    effect: Annotated[str, Meta(description="Id of the effect: the command it answers")]
    depth: Annotated[int, Meta(description="How many steps from the event asked for")]
    failed: bool
    outcome: str
    reason: str | None


class EventDetail(Struct, frozen=True, kw_only=True, rename="camel"):
    """An event and what happened to it: `answer` says it in words, the rest in detail."""

    seq: int
    type: str
    key: str | None
    id: str
    stored_at: datetime
    payload: Annotated[Raw | None, Meta(description="null when it is no JSON")]
    text: Annotated[str | None, Meta(description="The payload where it is no JSON")]
    headers: dict[str, str]
    answers: Annotated[str, Meta(description="Id of the command it answers, else empty")]
    repeats: Annotated[str, Meta(description="Dead letter or event that it repeats, else empty")]
    answer: Annotated[str, Meta(description="What happened to it, in words")]
    reached: Annotated[
        list[Reached], Meta(description="Where it went, and where the events in `events` went")
    ]
    effects: list[Consequence]
    events: list[NextEvent]
    dead_letters: list[LetterRow]
    sent_again: list[AgainRow]
    truncated: Annotated[bool, Meta(description="There is more than is listed")]
    projection: Projection


class UnmatchedList(Struct, frozen=True, kw_only=True, rename="camel"):
    """Events that changed nothing, by type and reason, the last seen first."""

    items: list[UnmatchedRow]
    since: datetime
    projection: Projection


@get("/api/v1/sagas/events", opt={ROLE: "viewer"}, operation_id="listEvents", summary="List events")
async def list_events(
    request: Asked,
    deps: Parts,
    type: Annotated[
        list[str] | None,
        QueryParameter(description="Only these types; records of attempts only when named"),
    ] = None,
    key: Annotated[str | None, QueryParameter(description="Only with this ordering key")] = None,
    id: Annotated[str | None, QueryParameter(description="Only with this message id")] = None,
    outcome: Annotated[
        list[EventOutcome] | None, QueryParameter(description="Default: all; may be repeated")
    ] = None,
    q: Annotated[
        str | None,
        QueryParameter(max_length=500, description="Words that all occur in type, key or payload"),
    ] = None,
    since: Since = None,
    limit: Limit = LIMIT_DEFAULT,
    cursor: CursorText = None,
    wait_for: WaitFor = None,
) -> EventPage:
    """All that was published and what became of it, newest first."""
    where = Where()
    if type:
        where.one_of('"type"', type)
    else:
        where.add(f'"type" <> {where.bind(ATTEMPTED)}')
    where.equal("key", key)
    where.equal("id", id)
    where.one_of("outcome", outcome or ())
    where.words(('"type"', "key", "payload::VARCHAR"), (q or "").split()[:WORDS_MAX])
    where.between("stored_at", moment("since", since, deps.now()), None)
    items, next = await list_records(
        deps.read,
        EVENTS,
        where,
        query=request.scope["query_string"],
        limit=limit,
        cursor=cursor,
        wait_for=wait_for,
    )
    return EventPage(items=items, next=next, projection=projection_of(deps.read))


@get(
    "/api/v1/sagas/events/unmatched",
    opt={ROLE: "viewer"},
    operation_id="listUnmatchedEvents",
    summary="List events that changed nothing",
)
async def list_unmatched(
    deps: Parts, since: Since = None, wait_for: WaitFor = None
) -> UnmatchedList:
    """Events that no saga handles or every instance let pass (7 days without `since`)."""
    await settle(deps.read, wait_for)
    from_at = moment("since", since, deps.now()) or deps.now() - timedelta(days=DAYS_DEFAULT)
    return UnmatchedList(
        items=await unmatched(deps.read, from_at),
        since=from_at,
        projection=projection_of(deps.read),
    )


@get(
    "/api/v1/sagas/events/{seq:int}",
    opt={ROLE: "viewer"},
    operation_id="getEvent",
    summary="What happened to an event",
)
async def get_event(
    request: Asked,
    deps: Parts,
    seq: Seq,
    depth: Annotated[
        int,
        QueryParameter(ge=0, le=DEPTH_MAX, description="How many steps to follow what it led to"),
    ] = DEPTH_DEFAULT,
    unmask: Unmask = False,
    wait_for: WaitFor = None,
) -> EventDetail:
    """The event as it is stored, each instance it reached and why not, what that led to, and what
    still waits for it.
    """
    stored = await stored_event(deps, seq)
    await settle(deps.read, wait_for)
    story = await story_of(deps.read, seq, depth)
    return _detail(
        deps,
        stored,
        story,
        await _reached(deps, story),
        shower(request, deps, unmask, f"event {seq}"),
    )


async def stored_event(deps: Deps, seq: int) -> Stored:
    """The event of a sequence; raises Problem when none is stored there."""
    stored = await deps.backend.log.at("events", seq)
    if stored is None:
        raise Problem(
            404,
            "no-such-event",
            "There is no such event",
            f"The events stream holds nothing under the sequence {seq}.",
            "GET /api/v1/sagas/events lists what is stored.",
        )
    return stored


async def _reached(deps: Deps, story: Story) -> list[Reached]:
    """Where the event and those after it went, with how those instances stand now."""
    standing = await standing_of(deps.client, story)
    found: list[Reached] = []
    for one in story.outcomes:
        stands = standing.get((one.saga, one.key))
        found.append(
            Reached(
                seq=one.seq,
                saga=one.saga,
                key=one.key,
                outcome=one.outcome,
                version=one.version,
                code=one.code,
                reason=one.reason,
                by=one.by,
                at=one.recorded_at,
                status=stands.status if stands else None,
                waits=stands.waits if stands and one.seq == story.seq else None,
            )
        )
    return found


def _detail(
    deps: Deps, stored: Stored, story: Story, reached: list[Reached], show: Show
) -> EventDetail:
    try:
        type, key = deps.names.parse_event(stored.subject)
    except BadName:
        type, key = stored.subject, None
    payload = _json(stored.data)
    source = payload or b"null"
    waits_at: dict[tuple[str, str], Place] = {
        (one.saga, one.key): one.waits for one in reached if one.waits is not None
    }
    words = answer(story, type, waits_at, is_waiting=not story.own)
    headers = stored.headers
    return EventDetail(
        seq=stored.seq,
        type=type,
        key=key,
        id=headers.get(MSG_ID, ""),
        stored_at=time_of(stored.at_ns),
        payload=None if payload is None else raw(show, payload),
        text=stored.data.decode(errors="replace") if payload is None else None,
        headers=dict(headers),
        answers=headers.get(CAUSE, ""),
        repeats=headers.get(REDRIVEN, ""),
        answer=show_text(show, words, source),
        reached=reached,
        effects=[_consequence(effect, story.attempts) for effect in story.effects],
        events=[
            NextEvent(
                seq=step.event.seq,
                type=step.event.type,
                key=step.event.key,
                stored_at=step.event.stored_at,
                effect=step.effect,
                depth=step.depth,
                failed=step.event.failed,
                outcome=step.event.outcome,
                reason=step.event.reason,
            )
            for step in story.steps
        ],
        dead_letters=list(story.letters),
        sent_again=list(story.again),
        truncated=story.truncated,
        projection=projection_of(deps.read),
    )


def _consequence(effect: EffectRow, attempts: Iterable[AttemptRow]) -> Consequence:
    return Consequence(
        saga=effect.saga,
        key=effect.key,
        version=effect.version,
        kind=effect.kind,
        name=effect.name,
        id=effect.id,
        payload=effect.payload,
        status=effect.status,
        error=effect.error,
        attempts=[one for one in attempts if effect.kind == "send" and one.command == effect.id],
    )


def _json(data: bytes) -> bytes | None:
    """A payload, None when it is no JSON."""
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return data


ROUTES = (list_events, list_unmatched, get_event)
