"""Dead letters: messages that could make no progress, with the message itself."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import get
from litestar.params import PathParameter, QueryParameter
from msgspec import Meta, Raw, Struct

from sagas.messages import NULL
from server.access.roles import ROLE
from server.api import examples
from server.api.deps import Deps
from server.api.examples import answers
from server.api.lists import (
    LIMIT_DEFAULT,
    CursorText,
    Limit,
    Projection,
    Since,
    WaitFor,
    list_records,
    moment,
    projection_of,
)
from server.api.parameters import Parts
from server.api.problems import Problem
from server.api.shown import Asked, Show, Unmask, show_text, shower
from store.codec import DeadLetter, DeadLetterStatus, open_envelope
from store.codec import moment as time_of
from store.port import Stored
from store.projection.records import DEAD_LETTERS, DeadLetterRow
from store.projection.where import Where
from store.subjects import BadName

WORDS_MAX = 10


class DeadLetterPage(Struct, frozen=True, kw_only=True, rename="camel"):
    """Dead letters, those changed last first."""

    items: list[DeadLetterRow]
    next: Annotated[str | None, Meta(description="Cursor of the next page, null at the end")]
    projection: Projection


class StoredMessage(Struct, frozen=True, kw_only=True, rename="camel"):
    """The message of a dead letter as it is stored."""

    type: str
    key: Annotated[str | None, Meta(description="Ordering key of an event, or the instance's key")]
    stored_at: datetime
    headers: dict[str, str]
    payload: Annotated[Raw, Meta(description="null when it is no JSON")]
    text: Annotated[str | None, Meta(description="The payload where it is no JSON")]


class DeadLetterDetail(Struct, frozen=True, kw_only=True, rename="camel"):
    """A dead letter as the log holds it now, and its message."""

    id: str
    status: DeadLetterStatus
    type: str
    saga: str
    key: str
    command: Annotated[str, Meta(description="Command that was given up, else empty")]
    reason: str
    stream: Annotated[str, Meta(description="`events` or `log`: where the message is")]
    seq: int
    created_at: datetime
    by: Annotated[str, Meta(description="Who redrove or discarded it")]
    note: str
    actions: Annotated[list[str], Meta(description="What can be done with it now")]
    message: Annotated[
        StoredMessage | None, Meta(description="null when the message is not stored any more")
    ]


@get(
    "/api/v1/sagas/dead-letters",
    opt={ROLE: "viewer"},
    operation_id="listDeadLetters",
    summary="List dead letters",
)
async def list_dead_letters(
    request: Asked,
    deps: Parts,
    status: Annotated[
        list[DeadLetterStatus] | None, QueryParameter(description="Default: all; may be repeated")
    ] = None,
    saga: Annotated[
        list[str] | None, QueryParameter(description="Only for these sagas; may be repeated")
    ] = None,
    type: Annotated[
        list[str] | None, QueryParameter(description="Only messages of these types")
    ] = None,
    key: Annotated[str | None, QueryParameter(description="Only for this key")] = None,
    q: Annotated[
        str | None,
        QueryParameter(max_length=500, description="Words that all occur in reason, type or key"),
    ] = None,
    since: Since = None,
    limit: Limit = LIMIT_DEFAULT,
    cursor: CursorText = None,
    wait_for: WaitFor = None,
) -> DeadLetterPage:
    """Messages that could make no progress, those changed last first."""
    where = Where()
    where.one_of("status", status or ())
    where.one_of("saga", saga or ())
    where.one_of("type", type or ())
    where.equal("key", key)
    where.words(("reason", "type", "key"), (q or "").split()[:WORDS_MAX])
    where.between("created_at", moment("since", since, deps.now()), None)
    items, next = await list_records(
        deps.read,
        DEAD_LETTERS,
        where,
        query=request.scope["query_string"],
        limit=limit,
        cursor=cursor,
        wait_for=wait_for,
    )
    return DeadLetterPage(items=items, next=next, projection=projection_of(deps.read))


@get(
    "/api/v1/sagas/dead-letters/{id:str}",
    opt={ROLE: "viewer"},
    operation_id="getDeadLetter",
    summary="A dead letter with its message",
    responses=answers(DeadLetterDetail, examples.LETTER, "The dead letter"),
)
async def get_dead_letter(
    request: Asked,
    deps: Parts,
    id: Annotated[str, PathParameter(description="Id of the dead letter")],
    unmask: Unmask = False,
) -> DeadLetterDetail:
    """A dead letter as the log holds it now, with the message that is stored."""
    found = await deps.client.dead_letter(id)
    if found is None:
        raise Problem(
            404,
            "no-such-dead-letter",
            "There is no such dead letter",
            f"There is no dead letter {id[:200]!r}.",
            "GET /api/v1/sagas/dead-letters lists what there is.",
        )
    letter, stored = found
    show = shower(request, deps, unmask, f"dead letter {id}")
    return DeadLetterDetail(
        id=letter.id,
        status=letter.status,
        type=letter.type,
        saga=letter.saga,
        key=letter.key,
        command=letter.command,
        reason=show_text(show, letter.reason, _json(stored) or b"null"),
        stream=letter.stream,
        seq=letter.seq,
        created_at=letter.at,
        by=letter.by,
        note=letter.note,
        actions=_actions(letter),
        message=_message(deps, letter, stored, show) if stored is not None else None,
    )


def _actions(letter: DeadLetter) -> list[str]:
    match letter.status:
        case "open":
            return ["redrive", "discard"]
        case "discarded":
            return ["restore"]
        case "redriven":
            return []


def _message(deps: Deps, letter: DeadLetter, stored: Stored, show: Show) -> StoredMessage:
    key, payload = letter.key or None, _json(stored)
    if letter.stream == "events":
        try:
            key = deps.names.parse_event(stored.subject)[1]
        except BadName:
            key = None
    return StoredMessage(
        type=letter.type,
        key=key,
        stored_at=time_of(stored.at_ns),
        headers=dict(stored.headers),
        payload=NULL if payload is None else Raw(show(payload)),
        text=stored.data.decode(errors="replace") if payload is None else None,
    )


def _json(stored: Stored | None) -> bytes | None:
    """The payload of a stored message, None when it is no JSON or not there."""
    if stored is None:
        return None
    data = stored.data
    try:
        data = bytes(open_envelope(stored).cause.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass  # an event, or a signal that is damaged
    try:
        msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return data


ROUTES = (list_dead_letters, get_dead_letter)
