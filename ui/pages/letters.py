"""Dead letters: messages that could make no progress; one can be corrected, put aside, put back."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from msgspec import Raw, Struct

from store.cards import saga_cards
from store.codec import DeadLetter, DeadLetterStatus, open_envelope
from store.dead_letters import LetterReply
from store.port import Stored
from store.projection.records import DEAD_LETTERS, DeadLetterRow
from store.projection.times import BadTime, parse_time
from store.projection.where import Where
from ui.addresses import Addresses, Query
from ui.answered import answered
from ui.copying import Line, letter_lines
from ui.desk import Desk, Who
from ui.editing import BadField, edited, to_edit
from ui.origins import origin_of
from ui.pages.events import is_json
from ui.paging import read_place, write_place
from ui.render import missing, page

ROWS = 50
WORDS_MAX = 10
STATUSES: tuple[str, ...] = ("open", "redriven", "discarded", "all")

Change: TypeAlias = Literal["redrive", "discard", "restore"]
ALLOWED: dict[DeadLetterStatus, tuple[Change, ...]] = {
    "open": ("redrive", "discard"),
    "discarded": ("restore",),
    "redriven": (),
}


class LettersPage(Struct, frozen=True, kw_only=True):
    """The context of ``letters.html``; ``asked`` are the filters as the address has them."""

    rows: list[DeadLetterRow]
    next: Query | None
    asked: dict[str, str]
    fault: str
    sagas: tuple[str, ...]
    statuses: tuple[str, ...] = STATUSES


class Fields(Struct, frozen=True, kw_only=True):
    """What was filled in, as text."""

    payload: str = ""
    reason: str = ""


class LetterPage(Struct, frozen=True, kw_only=True):
    """The context of ``letter.html``; ``payload`` is masked JSON, ``text`` what is no JSON."""

    letter: DeadLetter
    reason: str
    stored: Stored | None
    payload: Raw | None
    text: str
    changes: tuple[Change, ...]
    fields: Fields
    fault: str
    done: str
    lines: tuple[Line, ...]


@get("/failures/dead-letters", opt={"role": "viewer"})
async def letters(
    request: Request[Who, Any, State],
    desk: NamedDependency[Desk],
    status: FromQuery[Literal["open", "redriven", "discarded", "all"]] = "open",
    saga: FromQuery[str] = "",
    type: FromQuery[str] = "",
    key: FromQuery[str] = "",
    q: FromQuery[str] = "",
    since: FromQuery[str] = "",
    after: FromQuery[str] = "",
) -> Response[str]:
    """Dead letters, those changed last first; the open ones unless others are asked for."""
    asked = {"saga": saga, "type": type, "key": key, "q": q, "since": since}
    asked = {name: value.strip() for name, value in asked.items()}
    where, fault = Where(), ""
    where.one_of("status", () if status == "all" else (status,))
    for name in ("saga", "type", "key"):
        where.equal(f'"{name}"', asked[name] or None)
    where.words(("reason", '"type"', "key"), asked["q"].split()[:WORDS_MAX])
    try:
        if asked["since"]:
            where.between("created_at", parse_time(asked["since"], desk.now()), None)
    except BadTime as error:
        fault = str(error)
    place = read_place(DEAD_LETTERS, after)
    rows, next = await DEAD_LETTERS.page(desk.read, where, place, ROWS)
    asked["status"] = status
    cards, _ = await answered(saga_cards(desk.meta))
    context = LettersPage(
        rows=rows,
        next={**asked, "after": write_place(next)} if next else None,
        asked=asked,
        fault=fault,
        sagas=tuple(card.id for card in cards or ()),
    )
    code = 400 if fault else 200
    return page(request, desk, "letters.html", context, title="Dead letters", status=code)


@get("/failures/dead-letters/{id:str}", opt={"role": "viewer"})
async def letter(
    request: Request[Who, Any, State],
    desk: NamedDependency[Desk],
    id: FromPath[str],
    done: FromQuery[str] = "",
) -> Response[str]:
    """A dead letter as the log holds it now, its message, and what can be done with it."""
    found = await desk.client.dead_letter(id)
    if found is None:
        return _missing(request, desk, id)
    return _answer(request, desk, *found, done=done)


@post("/failures/dead-letters/{id:str}/{change:str}", opt={"role": "operator"}, status_code=200)
async def change_letter(
    request: Request[Who, Any, State],
    desk: NamedDependency[Desk],
    id: FromPath[str],
    change: FromPath[str],
) -> Response[str]:
    """Send its message again, corrected or as it was; put it aside; put it back."""
    found = await desk.client.dead_letter(id)
    chosen = next((one for one in get_args(Change) if one == change), None)
    if found is None or chosen is None:
        return _missing(request, desk, id)
    form = await request.form()
    fields = Fields(payload=str(form.get("payload", "")), reason=str(form.get("reason", "")))
    try:
        reply = await _change(request, desk, *found, chosen, fields)
    except BadField as error:
        return _answer(request, desk, *found, fields=fields, fault=str(error))
    if not reply.done:
        found = await desk.client.dead_letter(id) or found
        return _answer(request, desk, *found, fields=fields, fault=reply.reason)
    to = Addresses(desk.base)
    if reply.seq and found[0].stream == "events" and not found[0].command:
        words = f"The message of dead letter {id} was sent again: this is it."
        where = to.event(reply.seq, "", {"sent": words})
    else:
        where = to.letter(id, "", {"done": chosen})
    return Response("", status_code=303, headers={"Location": where})


async def _change(
    request: Request[Who, Any, State],
    desk: Desk,
    letter: DeadLetter,
    stored: Stored | None,
    change: Change,
    fields: Fields,
) -> LetterReply:
    """Carry out a change; raises BadField. A command that was given up is sent as it was."""
    id, by, reason = letter.id, request.user.name, fields.reason.strip()
    origin = origin_of(request)
    if change == "discard":
        return await desk.client.discard(id, by=by, reason=reason, origin=origin)
    if change == "restore":
        return await desk.client.restore(id, by=by, reason=reason, origin=origin)
    payload = None
    if not letter.command:
        payload = edited(fields.payload, _original(stored) or b"", desk.mask)
    return await desk.client.redrive(
        id,
        by=by,
        reason=reason,
        origin=origin,
        payload=msgspec.UNSET if payload is None else payload,
    )


def _answer(
    request: Request[Who, Any, State],
    desk: Desk,
    letter: DeadLetter,
    stored: Stored | None,
    *,
    fields: Fields | None = None,
    fault: str = "",
    done: str = "",
) -> Response[str]:
    original = _original(stored)
    origin = str(request.base_url).rstrip("/") + desk.base
    context = LetterPage(
        letter=letter,
        reason=desk.mask_text(letter.reason, original or b"null"),
        stored=stored,
        payload=None if original is None else Raw(desk.mask(original)),
        text=stored.data.decode(errors="replace") if stored and original is None else "",
        changes=ALLOWED[letter.status],
        fields=fields or Fields(payload=to_edit(original or b"", desk.mask)),
        fault=fault,
        done=done,
        lines=letter_lines(desk.names, letter.id, origin),
    )
    title, code = f"Dead letter {letter.id}", 409 if fault else 200
    return page(request, desk, "letter.html", context, title=title, status=code)


def _original(stored: Stored | None) -> bytes | None:
    """The payload that a redrive would send, None when it is no JSON or not stored any more."""
    if stored is None:
        return None
    try:
        return bytes(open_envelope(stored).cause.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return stored.data if is_json(stored.data) else None


def _missing(request: Request[Who, Any, State], desk: Desk, id: str) -> Response[str]:
    words = "The list has those that are open, and with a filter those that were closed."
    where: tuple[str, Query] = ("/failures/dead-letters", {})
    return missing(request, desk, f"There is no dead letter {id[:200]}", words, where)


ROUTES = (letters, letter, change_letter)
