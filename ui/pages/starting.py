"""Starting an instance by hand: a form with the starting message's payload, then the instance."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Raw, Struct

from sagas.names import BadName, check_key
from store.cards import SagaCard
from store.closing import closing
from ui.addresses import Addresses
from ui.copying import Line
from ui.desk import Desk, Who
from ui.json_place import Place, json_of
from ui.origins import origin_of
from ui.pages.saga import card_of, no_saga
from ui.render import page
from ui.sending_lines import start_lines
from ui.suggested import Suggestion, suggestions

WAIT_S = 10.0


class StartFields(Struct, frozen=True, kw_only=True):
    """What was filled in; ``once`` makes sending the same form twice harmless."""

    payload: str = ""
    key: str = ""
    once: str = ""


class StartPage(Struct, frozen=True, kw_only=True):
    """The context of ``start.html``; ``place`` is where the payload is wrong."""

    card: SagaCard
    fields: StartFields
    suggested: Suggestion | None
    place: Place | None
    fault: str
    there: str
    lines: tuple[Line, ...]


class NotStarted(Exception):
    """It can't be started so; the message says what to correct, ``key`` which instance is there."""

    def __init__(self, words: str, key: str = "", status: int = 409) -> None:
        super().__init__(words)
        self.key = key
        self.status = status


@get("/sagas/{saga:str}/start", opt={"role": "operator"})
async def start_form(
    request: Request[Who, Any, State], desk: NamedDependency[Desk], saga: FromPath[str]
) -> Response[str]:
    """The form, filled from the last starting message or from its schema."""
    card = await card_of(desk, saga)
    if card is None:
        return no_saga(request, desk, saga)
    first = card.starting[:1]
    suggested = (await suggestions(desk, [card], first)).get(first[0]) if first else None
    text = suggested.text if suggested else ""
    fields = StartFields(payload=text, once=uuid.uuid4().hex)
    return _answer(request, desk, card, fields, suggested=suggested)


@post("/sagas/{saga:str}/start", opt={"role": "operator"}, status_code=200)
async def start(
    request: Request[Who, Any, State], desk: NamedDependency[Desk], saga: FromPath[str]
) -> Response[str]:
    """Start it; leads to the instance, or back to the form with what was wrong."""
    card = await card_of(desk, saga)
    if card is None:
        return no_saga(request, desk, saga)
    form = await request.form()
    fields = StartFields(
        payload=str(form.get("payload", "")),
        key=str(form.get("key", "")).strip(),
        once=str(form.get("once", "")) or uuid.uuid4().hex,
    )
    payload = json_of(fields.payload)
    if isinstance(payload, Place):
        return _answer(request, desk, card, fields, place=payload, status=400)
    try:
        key = await _start(request, desk, card, fields, payload)
    except NotStarted as error:
        return _answer(
            request, desk, card, fields, fault=str(error), there=error.key, status=error.status
        )
    to = Addresses(desk.base).instance(saga, key)
    return Response("", status_code=303, headers={"Location": to})


async def _start(
    request: Request[Who, Any, State], desk: Desk, card: SagaCard, fields: StartFields, payload: Raw
) -> str:
    """Start it and give its key; raises NotStarted."""
    try:
        named = fields.key or desk.sending.key_of(card, msgspec.json.decode(payload))
        key = check_key(named if named is not None else fields.once)
    except (BadName, ValueError) as error:
        raise NotStarted(f"{error}", status=400) from None
    if await _is_taken(desk, card.id, key, fields.once):
        raise NotStarted("There is such an instance already. Choose another key.", key)
    reply = await desk.client.start(
        card.id,
        payload,
        key=key,
        by=request.user.name,
        id=fields.once,
        origin=origin_of(request),
        timeout_s=WAIT_S,
    )
    if not reply.done:
        raise NotStarted(reply.reason, status=202 if reply.pending else 409)
    return reply.key


async def _is_taken(desk: Desk, saga: str, key: str, once: str) -> bool:
    """Whether the instance is there and this very form did not start it."""
    async with closing(desk.client.history(saga, key)) as revisions:
        async for first in revisions:
            return first.instance.cause.id != once
    return False


def _answer(
    request: Request[Who, Any, State],
    desk: Desk,
    card: SagaCard,
    fields: StartFields,
    *,
    suggested: Suggestion | None = None,
    place: Place | None = None,
    fault: str = "",
    there: str = "",
    status: int = 200,
) -> Response[str]:
    payload = json_of(fields.payload)
    base = str(request.base_url).rstrip("/") + desk.base
    lines = () if isinstance(payload, Place) else start_lines(base, card.id, payload, fields.key)
    context = StartPage(
        card=card,
        fields=fields,
        suggested=suggested,
        place=place,
        fault=fault,
        there=there,
        lines=lines,
    )
    title = f"Start {card.name or card.id}"
    return page(request, desk, "start.html", context, title=title, status=status)


ROUTES = (start_form, start)
