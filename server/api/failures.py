"""Failures grouped by cause: how often, since when, how many still wait for somebody, and notes."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from litestar import get, put
from litestar.params import JSONBody, PathParameter, QueryParameter
from msgspec import Meta, Struct

from server.access.roles import ROLE
from server.api.bodies import Exact
from server.api.deps import Deps
from server.api.lists import (
    LIMIT_DEFAULT,
    CursorText,
    Limit,
    Projection,
    Since,
    WaitFor,
    make_cursor,
    moment,
    projection_of,
    read_cursor,
    settle,
)
from server.api.parameters import Parts
from server.api.problems import Problem
from server.api.shown import Asked
from store.failure_notes import NOTE_CHARS_MAX, FailureNote, FailureNotes
from store.fingerprints import FINGERPRINT_CHARS
from store.projection.failures import (
    BUCKETS,
    Count,
    FailureKind,
    Group,
    failure_counts,
    failure_groups,
    failure_members,
)

DAYS_DEFAULT = 7
_FINGERPRINT = re.compile(rf"[0-9a-f]{{{FINGERPRINT_CHARS}}}")

Fingerprint = Annotated[str, PathParameter(description="`fingerprint` of a group")]


class Bucket(Struct, frozen=True, kw_only=True, rename="camel"):
    """Failures within one of equal spans of time."""

    at: Annotated[datetime, Meta(description="Where the span begins")]
    count: int


class Note(Struct, frozen=True, kw_only=True, rename="camel"):
    """What somebody wrote about a group."""

    text: str
    by: str
    at: datetime


class FailureGroup(Struct, frozen=True, kw_only=True, rename="camel"):
    """Failures with one cause."""

    fingerprint: Annotated[str, Meta(description="The cause's name; it stays the same")]
    kind: Annotated[
        FailureKind,
        Meta(
            description="parked: a handler raised; failed, cancelled: the saga's own end; job: a"
            " job failed for good; dead_letter: a message could not be delivered"
        ),
    ]
    saga: Annotated[str, Meta(description="Empty where a message reached no saga")]
    definition: Annotated[str, Meta(description="Hash of the definition that decided it, or empty")]
    place: Annotated[str, Meta(description="Message type; of a job its target")]
    error_type: Annotated[str, Meta(description="Name of the exception or a word of ours")]
    cause: Annotated[str, Meta(description="First line without ids, numbers and quoted values")]
    message: Annotated[str, Meta(description="The last one as it was")]
    count: Annotated[int, Meta(description="Failures within the time asked for")]
    open: Annotated[int, Meta(description="How many still wait for somebody")]
    first_at: Annotated[datetime, Meta(description="First of all time")]
    last_at: datetime
    over_time: Annotated[list[Bucket], Meta(description="Equal spans since then; empty ones not")]
    keys: Annotated[list[str], Meta(description="Instances it happened to, the last ones")]
    note: Note | None


class FailurePage(Struct, frozen=True, kw_only=True, rename="camel"):
    """Groups of failures, the last seen first."""

    items: list[FailureGroup]
    next: Annotated[str | None, Meta(description="Cursor of the next page, null at the end")]
    since: datetime
    projection: Projection


class FailureMember(Struct, frozen=True, kw_only=True, rename="camel"):
    """One failure of a group."""

    kind: FailureKind
    saga: str
    key: str
    version: Annotated[int | None, Meta(description="Version it caused, null for dead letters")]
    message: str
    at: datetime
    seq: Annotated[int, Meta(description="Of the transition; of a dead letter its message's")]
    id: Annotated[str, Meta(description="Id of the command or the dead letter, else empty")]
    open: Annotated[bool, Meta(description="Whether it still waits for somebody")]


class FailureDetail(Struct, frozen=True, kw_only=True, rename="camel"):
    """A group and its failures, newest first."""

    group: FailureGroup
    items: list[FailureMember]
    next: Annotated[str | None, Meta(description="Cursor of the next page, null at the end")]
    projection: Projection


class NoteBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A note on a group."""

    text: Annotated[
        str,
        Meta(
            max_length=NOTE_CHARS_MAX,
            description="Empty takes the note away",
            examples=["The bank is down, see the status page; retry when it is back"],
        ),
    ]


@get(
    "/api/v1/sagas/failures",
    opt={ROLE: "viewer"},
    operation_id="listFailures",
    summary="List failures by cause",
)
async def list_failures(
    request: Asked,
    deps: Parts,
    saga: Annotated[str | None, QueryParameter(description="Only of this saga")] = None,
    since: Since = None,
    limit: Limit = LIMIT_DEFAULT,
    cursor: CursorText = None,
    wait_for: WaitFor = None,
) -> FailurePage:
    """Groups that had a failure since then (7 days without `since`), the last seen first."""
    scope = f"failures {saga} {since}"
    behind = read_cursor(cursor, scope, tuple[datetime, str]) if cursor else None
    await settle(deps.read, wait_for)
    from_at = _since(deps, since)
    groups = await failure_groups(
        deps.read, since=from_at, saga=saga or "", limit=limit + 1, behind=behind
    )
    next = None
    if len(groups) > limit:
        last = groups[limit - 1]
        next = make_cursor(scope, (last.last_at, last.fingerprint))
    return FailurePage(
        items=await shown_groups(deps, groups[:limit], from_at),
        next=next,
        since=from_at,
        projection=projection_of(deps.read),
    )


@get(
    "/api/v1/sagas/failures/{fingerprint:str}",
    opt={ROLE: "viewer"},
    operation_id="getFailure",
    summary="The failures of one cause",
)
async def get_failure(
    request: Asked,
    deps: Parts,
    fingerprint: Fingerprint,
    since: Since = None,
    limit: Limit = LIMIT_DEFAULT,
    cursor: CursorText = None,
    wait_for: WaitFor = None,
) -> FailureDetail:
    """A group and its failures of all time, newest first; `since` is for its counts."""
    scope = f"failure {fingerprint}"
    behind = read_cursor(cursor, scope, tuple[datetime, int, str]) if cursor else None
    await settle(deps.read, wait_for)
    group = await _group(deps, fingerprint)
    members = await failure_members(deps.read, fingerprint, limit=limit + 1, behind=behind)
    next = None
    if len(members) > limit:
        last = members[limit - 1]
        next = make_cursor(scope, (last.failed_at, last.seq, last.id))
    [shown] = await shown_groups(deps, [group], _since(deps, since))
    return FailureDetail(
        group=shown,
        items=[
            FailureMember(
                kind=one.kind,
                saga=one.saga,
                key=one.key,
                version=one.version,
                message=one.message,
                at=one.failed_at,
                seq=one.seq,
                id=one.id,
                open=one.open,
            )
            for one in members[:limit]
        ],
        next=next,
        projection=projection_of(deps.read),
    )


@put(
    "/api/v1/sagas/failures/{fingerprint:str}/note",
    opt={ROLE: "operator"},
    dto=Exact[NoteBody],
    return_dto=None,
    operation_id="noteFailure",
    summary="Write a note on a cause",
)
async def note_failure(
    request: Asked, deps: Parts, fingerprint: Fingerprint, data: JSONBody[NoteBody]
) -> Note:
    """Put a note in the place of the one before; who wrote it and when is on record."""
    await _group(deps, fingerprint)
    notes = FailureNotes(deps.backend, deps.names)
    written = await notes.write(fingerprint, data.text.strip(), request.user.name, deps.now())
    return _note(written)


def _since(deps: Deps, text: str | None) -> datetime:
    now = deps.now()
    return moment("since", text, now) or now - timedelta(days=DAYS_DEFAULT)


async def _group(deps: Deps, fingerprint: str) -> Group:
    """The group of that name, of all time; raises Problem when there is none."""
    beginning = datetime.fromtimestamp(0, UTC)
    if _FINGERPRINT.fullmatch(fingerprint):
        found = await failure_groups(deps.read, since=beginning, fingerprint=fingerprint, limit=1)
        if found:
            return found[0]
    raise Problem(
        404,
        "no-such-failure",
        "There is no such group of failures",
        f"No failure has the fingerprint {fingerprint[:100]!r}.",
        "GET /api/v1/sagas/failures lists the groups; one that happened just now may take a"
        " moment to be there.",
    )


async def shown_groups(deps: Deps, groups: list[Group], since: datetime) -> list[FailureGroup]:
    """Groups with their counts over time and their notes."""
    names = [group.fingerprint for group in groups]
    width = (deps.now() - since) / BUCKETS
    counts = await failure_counts(deps.read, names, since=since, width=width)
    notes = await FailureNotes(deps.backend, deps.names).of(names)
    return [_one(group, counts, since, notes.get(group.fingerprint)) for group in groups]


def _one(
    group: Group, counts: list[Count], since: datetime, note: FailureNote | None
) -> FailureGroup:
    mine = [count for count in counts if count.fingerprint == group.fingerprint]
    return FailureGroup(
        fingerprint=group.fingerprint,
        kind=group.kind,
        saga=group.saga,
        definition=group.definition,
        place=group.place,
        error_type=group.error_type,
        cause=group.cause,
        message=group.message,
        count=sum(count.count for count in mine),
        open=group.open,
        first_at=group.first_at,
        last_at=group.last_at,
        over_time=[Bucket(at=count.from_at, count=count.count) for count in mine],
        keys=list(dict.fromkeys(group.keys or ())),
        note=_note(note) if note else None,
    )


def _note(note: FailureNote) -> Note:
    return Note(text=note.text, by=note.by, at=note.at)


ROUTES = (list_failures, get_failure, note_failure)
