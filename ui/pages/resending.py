"""An event delivered again by a person: published anew, or given to one instance."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get, post
from litestar.datastructures import FormMultiDict, State
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from store.cards import SagaCard, saga_cards
from store.events import Rejected
from ui.addresses import Addresses
from ui.desk import Desk, Who
from ui.editing import BadField, edited, to_edit
from ui.origins import origin_of
from ui.pages.events import StoredEvent, no_event, stored_event
from ui.render import page


class ResendFields(Struct, frozen=True, kw_only=True):
    """What is sent again, as text."""

    type: str
    key: str
    payload: str
    reason: str = ""


class ResendPage(Struct, frozen=True, kw_only=True):
    """The context of ``resend.html``."""

    event: StoredEvent
    fields: ResendFields
    handlers: dict[str, tuple[str, ...]]
    fault: str

    @property
    def takers(self) -> tuple[str, ...]:
        """The sagas that handle the type."""
        return self.handlers.get(self.fields.type, ())


class AttachFields(Struct, frozen=True, kw_only=True):
    """The instance an event is given to, as text."""

    saga: str = ""
    key: str = ""
    reason: str = ""


class AttachPage(Struct, frozen=True, kw_only=True):
    """The context of ``attach.html``."""

    event: StoredEvent
    fields: AttachFields
    sagas: tuple[SagaCard, ...]
    fault: str


@get("/events/{seq:int}/resend", opt={"role": "operator"})
async def resend_form(
    request: Request[Who, Any, State], desk: NamedDependency[Desk], seq: FromPath[int]
) -> Response[str]:
    """The event as it was, to be changed where it was wrong."""
    event = await stored_event(desk, seq)
    if event is None:
        return no_event(request, desk, seq)
    fields = ResendFields(type=event.type, key=event.key or "", payload=_payload(event, desk))
    return await _resend_page(request, desk, event, fields)


@post("/events/{seq:int}/resend", opt={"role": "operator"}, status_code=200)
async def resend(
    request: Request[Who, Any, State], desk: NamedDependency[Desk], seq: FromPath[int]
) -> Response[str]:
    """Publish it again for whichever sagas handle its type; leads to the new event."""
    event = await stored_event(desk, seq)
    if event is None:
        return no_event(request, desk, seq)
    form = await request.form()
    fields = ResendFields(
        type=_text(form, "type"),
        key=_text(form, "key"),
        payload=_text(form, "payload"),
        reason=_text(form, "reason"),
    )
    try:
        # A payload that is no JSON can't be shown for editing: it is sent as it is unless replaced.
        original = event.original if event.payload is not None else b""
        payload = edited(fields.payload, original, desk.mask)
    except BadField as error:
        return await _resend_page(request, desk, event, fields, fault=str(error))
    receipt = await desk.client.resend(
        seq,
        by=request.user.name,
        reason=fields.reason,
        type=fields.type or None,
        key=fields.key if fields.key or event.key is not None else None,
        payload=payload,
    )
    if isinstance(receipt, Rejected):
        again = " Send it once more; it is stored once." if receipt.retryable else ""
        return await _resend_page(request, desk, event, fields, fault=receipt.reason + again)
    done = "was sent before with the same words" if receipt.duplicate else "was sent again"
    to = Addresses(desk.base).event(receipt.seq, "", {"sent": f"Event {seq} {done}: this is it."})
    return Response("", status_code=303, headers={"Location": to})


@get("/events/{seq:int}/attach", opt={"role": "operator"})
async def attach_form(
    request: Request[Who, Any, State], desk: NamedDependency[Desk], seq: FromPath[int]
) -> Response[str]:
    """Which instance shall have it; the address may fill in ``saga`` and ``key``."""
    event = await stored_event(desk, seq)
    if event is None:
        return no_event(request, desk, seq)
    asked = request.query_params
    fields = AttachFields(saga=asked.get("saga", ""), key=asked.get("key", event.key or ""))
    return await _attach_page(request, desk, event, fields)


@post("/events/{seq:int}/attach", opt={"role": "operator"}, status_code=200)
async def attach(
    request: Request[Who, Any, State], desk: NamedDependency[Desk], seq: FromPath[int]
) -> Response[str]:
    """Give it to that instance alone, past all correlation; leads to the version it caused."""
    event = await stored_event(desk, seq)
    if event is None:
        return no_event(request, desk, seq)
    form = await request.form()
    fields = AttachFields(
        saga=_text(form, "saga"), key=_text(form, "key"), reason=_text(form, "reason")
    )
    reply = await desk.client.attach(
        seq,
        fields.saga,
        fields.key,
        by=request.user.name,
        reason=fields.reason,
        origin=origin_of(request),
    )
    if not reply.done:
        fault = reply.reason or "no engine has answered yet; look at the instance in a moment"
        return await _attach_page(request, desk, event, fields, fault=fault)
    query = {"version": reply.version, "done": f"event {seq}"}
    to = Addresses(desk.base).instance(reply.saga, reply.key, "", query)
    return Response("", status_code=303, headers={"Location": to})


async def _resend_page(
    request: Request[Who, Any, State],
    desk: Desk,
    event: StoredEvent,
    fields: ResendFields,
    fault: str = "",
) -> Response[str]:
    handlers: dict[str, tuple[str, ...]] = {}
    for card in await saga_cards(desk.meta):
        for type in card.types:
            handlers[type] = (*handlers.get(type, ()), card.id)
    context = ResendPage(event=event, fields=fields, handlers=handlers, fault=fault)
    title, code = f"Send event {event.seq} again", 409 if fault else 200
    return page(request, desk, "resend.html", context, title=title, status=code)


async def _attach_page(
    request: Request[Who, Any, State],
    desk: Desk,
    event: StoredEvent,
    fields: AttachFields,
    fault: str = "",
) -> Response[str]:
    cards = tuple(await saga_cards(desk.meta))
    context = AttachPage(event=event, fields=fields, sagas=cards, fault=fault)
    title, code = f"Give event {event.seq} to an instance", 409 if fault else 200
    return page(request, desk, "attach.html", context, title=title, status=code)


def _payload(event: StoredEvent, desk: Desk) -> str:
    return to_edit(event.original, desk.mask) if event.payload is not None else ""


def _text(form: FormMultiDict, name: str) -> str:
    return str(form.get(name, "")).strip()


ROUTES = (resend_form, resend, attach_form, attach)
