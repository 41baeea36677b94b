"""Publishing one event by hand: a form, its receipt, and the instances it names."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromQuery
from msgspec import Raw, Struct

from sagas.names import BadName
from store.cards import SagaCard, saga_cards
from store.codec import TRACEPARENT
from store.event_story import story_of
from store.events import Rejected
from store.masking import MASKED
from store.projection.events import OutcomeRow
from store.projection.port import ReadError
from ui.addresses import Addresses
from ui.copying import Line
from ui.desk import Desk, Who
from ui.editing import to_edit
from ui.json_place import Place, json_of
from ui.render import page
from ui.sending_lines import own_headers, publish_lines
from ui.suggested import Suggestion, suggestions

SEQ_MAX = 2**53


class EventFields(Struct, frozen=True, kw_only=True):
    """What was filled in, as text; ``headers`` has one ``Name: value`` on each line."""

    type: str = ""
    payload: str = ""
    key: str = ""
    id: str = ""
    headers: str = ""


class Touched(Struct, frozen=True, kw_only=True):
    """An instance that the event names: how it stands now, and what became of the event there."""

    saga: str
    key: str
    status: str
    version: int | None
    outcome: OutcomeRow | None


class SentEvent(Struct, frozen=True, kw_only=True):
    """The receipt. ``known`` is False while the registry can't tell whom the event names."""

    seq: int
    duplicate: bool
    known: bool
    touched: tuple[Touched, ...]


class KnownType(Struct, frozen=True):
    """A type that sagas handle; ``starts`` when it may start one of them."""

    name: str
    sagas: tuple[str, ...]
    starts: bool


class PublishPage(Struct, frozen=True, kw_only=True):
    """The context of ``publish.html``."""

    fields: EventFields
    types: tuple[KnownType, ...]
    suggested: Suggestion | None
    sent: SentEvent | None
    place: Place | None
    fault: str
    lines: tuple[Line, ...]


class BadHeaders(ValueError):
    """The headers can't be read; the message names the line."""


@get("/publish", opt={"role": "viewer"})
async def publish_form(
    request: Request[Who, Any, State],
    desk: NamedDependency[Desk],
    type: FromQuery[str] = "",
    sent: FromQuery[int] = 0,
    again: FromQuery[int] = 0,
) -> Response[str]:
    """The form, for a ``type`` or as it was ``sent``, with what became of that."""
    cards = await saga_cards(desk.meta)
    stored = await _sent_fields(desk, sent) if 1 <= sent <= SEQ_MAX else None
    if stored is not None:
        fields, receipt = stored[0], await _receipt(desk, sent, bool(again), *stored)
        return _answer(request, desk, cards, fields, receipt=receipt)
    suggested = (await suggestions(desk, cards, [type]))[type] if type else None
    text = suggested.text if suggested else ""
    fields = EventFields(type=type, payload=text, id=_new_id())
    return _answer(request, desk, cards, fields, suggested=suggested)


@post("/publish", opt={"role": "operator"}, status_code=200)
async def publish(request: Request[Who, Any, State], desk: NamedDependency[Desk]) -> Response[str]:
    """Store it and lead to its receipt; with ``fill`` only put an example into the editor."""
    form = await request.form()
    fields = EventFields(
        type=str(form.get("type", "")).strip(),
        payload=str(form.get("payload", "")),
        key=str(form.get("key", "")),
        id=str(form.get("id", "")).strip(),
        headers=str(form.get("headers", "")),
    )
    cards = await saga_cards(desk.meta)
    if form.get("fill"):
        suggested = (await suggestions(desk, cards, [fields.type]))[fields.type]
        filled = EventFields(**{**_texts(fields), "payload": suggested.text})
        return _answer(request, desk, cards, filled, suggested=suggested)
    payload = json_of(fields.payload)
    if isinstance(payload, Place):
        return _answer(request, desk, cards, fields, place=payload, status=400)
    try:
        headers = _headers(fields.headers)
    except BadHeaders as error:
        return _answer(request, desk, cards, fields, fault=str(error), status=400)
    with desk.sending.traced(fields.type) as trace:
        if trace and TRACEPARENT not in {name.lower() for name in headers}:
            headers[TRACEPARENT] = trace
        receipt = await desk.client.publish(
            fields.type, payload, fields.key or None, fields.id or None, headers
        )
    if isinstance(receipt, Rejected):
        words = receipt.reason
        if receipt.retryable:
            words += ". Send it again as it is; with its id it is stored once"
        status = 503 if receipt.retryable else 400
        return _answer(request, desk, cards, fields, fault=words, status=status)
    query = {"sent": receipt.seq, "again": 1 if receipt.duplicate else None}
    to = Addresses(desk.base).page("/publish", query)
    return Response("", status_code=303, headers={"Location": to})


def _answer(
    request: Request[Who, Any, State],
    desk: Desk,
    cards: list[SagaCard],
    fields: EventFields,
    *,
    suggested: Suggestion | None = None,
    receipt: SentEvent | None = None,
    place: Place | None = None,
    fault: str = "",
    status: int = 200,
) -> Response[str]:
    context = PublishPage(
        fields=fields,
        types=known_types(cards),
        suggested=suggested,
        sent=receipt,
        place=place,
        fault=fault,
        lines=_lines(desk, fields, str(request.base_url).rstrip("/") + desk.base),
    )
    return page(request, desk, "publish.html", context, title="Publish", status=status)


def known_types(cards: list[SagaCard]) -> tuple[KnownType, ...]:
    """All types that some saga handles, those that start one first."""
    sagas: dict[str, list[str]] = {}
    for card in cards:
        for type in card.types:
            sagas.setdefault(type, []).append(card.id)
    starting = {type for card in cards for type in card.starting}
    found = (KnownType(type, tuple(ids), type in starting) for type, ids in sagas.items())
    return tuple(sorted(found, key=lambda one: (not one.starts, one.name)))


async def _sent_fields(desk: Desk, seq: int) -> tuple[EventFields, bytes, dict[str, str]] | None:
    """A stored event as the form shows it, its payload and its headers."""
    stored = await desk.client.event(seq)
    if stored is None:
        return None
    try:
        type, key = desk.names.parse_event(stored.subject)
    except BadName:
        return None
    headers = own_headers(stored.headers)
    shown = {name: value for name, value in headers.items() if name.lower() != TRACEPARENT}
    fields = EventFields(
        type=type,
        payload=to_edit(stored.data, desk.mask),
        key=key or "",
        id=_new_id(),
        headers="\n".join(f"{name}: {value}" for name, value in shown.items()),
    )
    return fields, stored.data, headers


async def _receipt(
    desk: Desk,
    seq: int,
    duplicate: bool,
    fields: EventFields,
    payload: bytes,
    headers: Mapping[str, str],
) -> SentEvent:
    named = await desk.sending.receivers(fields.type, fields.key or None, payload, headers)
    try:
        outcomes = {(o.saga, o.key): o for o in (await story_of(desk.read, seq, 0)).own}
    except ReadError:
        outcomes = {}
    places = dict.fromkeys([*((a.saga, a.key) for a in named or ()), *outcomes])
    touched = [
        await _touched(desk, saga, key, outcomes.get((saga, key))) for saga, key in places if saga
    ]
    return SentEvent(seq=seq, duplicate=duplicate, known=named is not None, touched=tuple(touched))


async def _touched(desk: Desk, saga: str, key: str, outcome: OutcomeRow | None) -> Touched:
    instance = await desk.client.get(saga, key)
    return Touched(
        saga=saga,
        key=key,
        status=instance.status if instance else "",
        version=instance.version if instance else None,
        outcome=outcome,
    )


def _headers(text: str) -> dict[str, str]:
    """The headers that the lines of a field say; raises BadHeaders."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        name, colon, value = line.partition(":")
        if not line.strip():
            continue
        if not colon:
            raise BadHeaders(f"line {number} of the headers has no colon; write Name: value")
        found[name.strip()] = value.strip()
    return found


def _lines(desk: Desk, fields: EventFields, origin: str) -> tuple[Line, ...]:
    """The same elsewhere; none while the form says nothing that could be sent."""
    payload = json_of(fields.payload)
    try:
        if not isinstance(payload, Raw) or MASKED in fields.payload:
            return ()
        headers = _headers(fields.headers)
        key = fields.key or None
        return publish_lines(desk.names, origin, fields.type, payload, key, headers)
    except ValueError:  # no name of a type, no key, no headers
        return ()


def _texts(fields: EventFields) -> dict[str, str]:
    return {name: str(getattr(fields, name)) for name in EventFields.__struct_fields__}


def _new_id() -> str:
    return f"by-hand-{uuid.uuid4().hex[:16]}"


ROUTES = (publish_form, publish)
