"""Publishing over HTTP: one event or many, with the receipts that ``store.publishing`` gives.

Requests that wait together are stored in one batch (``store.group_commit``), so the rate of single
publishes is that of this process, not of the disk.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from litestar import post
from litestar.params import JSONBody
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from sagas.messages import NULL, Address
from sagas.names import BadName
from server.access.roles import ROLE
from server.api.bodies import Exact
from server.api.deps import Deps
from server.api.idempotency import IdempotencyKey, once
from server.api.parameters import Parts
from server.api.problems import Problem
from server.api.shown import Asked
from store.codec import TRACEPARENT
from store.events import NewEvent, Published, Receipt, Rejected
from store.publishing import Mode

PATH = "/api/v1/sagas/publish"
MESSAGES_MAX = 1000

EXAMPLE = {
    "type": "OrderCreated",
    "payload": {"orderId": "o-1001", "customerId": "c-7", "items": [], "total": 4999},
    "key": "o-1001",
}


class EventBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An event to publish."""

    type: Annotated[str, Meta(description="Event type, up to 100 bytes", examples=["OrderCreated"])]
    payload: Annotated[
        Raw | UnsetType,
        Meta(description="Any JSON; default null", examples=[EXAMPLE["payload"]]),
    ] = UNSET
    key: Annotated[
        str | None,
        Meta(
            description="Ordering key, up to 200 bytes: events with one key are handled in order",
            examples=["o-1001"],
        ),
    ] = None
    id: Annotated[
        str | None,
        Meta(description="The same id changes an instance at most once", examples=["order-1001"]),
    ] = None
    headers: Annotated[
        dict[str, str],
        Meta(description="Headers to store with it; none of NATS's own (Nats-…)"),
    ] = {}


class ManyBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Events to publish in one request."""

    messages: Annotated[
        list[EventBody],
        Meta(min_length=1, max_length=MESSAGES_MAX, description=f"1 to {MESSAGES_MAX} events"),
    ]
    mode: Annotated[
        Literal["sequential", "parallel"],
        Meta(
            description="sequential: one after the other, ending at the first that is rejected;"
            " parallel: all that can be sent, in order for each key"
        ),
    ] = "sequential"


class InstanceName(Struct, frozen=True, kw_only=True):
    """An instance: its saga and its key."""

    saga: str
    key: str


class EventReceipt(Struct, frozen=True, kw_only=True):
    """An event is stored."""

    published: Literal[True]
    seq: Annotated[int, Meta(description="Its sequence in the events stream")]
    duplicate: Annotated[
        bool, Meta(description="Its id was stored shortly before: `seq` is that one's")
    ]
    instances: Annotated[
        list[InstanceName] | UnsetType,
        Meta(
            description="The instances that the correlation rules of the sagas name; left out"
            " while the registry can't be read"
        ),
    ] = UNSET


class OneOfMany(Struct, frozen=True, kw_only=True):
    """What became of one of many events: stored as `seq`, or not known to be, for a `reason`."""

    published: bool
    seq: int | UnsetType = UNSET
    duplicate: bool | UnsetType = UNSET
    instances: list[InstanceName] | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    retryable: bool | UnsetType = UNSET


class ManyReceipts(Struct, frozen=True, kw_only=True):
    """What became of each event, in the order of the request."""

    published: Annotated[int, Meta(description="How many are stored")]
    rejected: Annotated[int, Meta(description="How many are not known to be stored")]
    receipts: list[OneOfMany]


class _Receipts(Struct, frozen=True):
    """The receipts of a request as its claim keeps them."""

    items: list[Receipt]


@post(
    PATH,
    opt={ROLE: "operator"},
    dto=Exact[EventBody],
    return_dto=None,
    status_code=200,
    operation_id="publishEvent",
    summary="Publish an event",
)
async def publish(
    request: Asked, deps: Parts, data: JSONBody[EventBody], idempotency_key: IdempotencyKey = None
) -> EventReceipt:
    """Store an event for whichever sagas handle its type. 400 when it can't be one, 503 when it is
    not known to be stored: both with `reason` and `retryable`. An `Idempotency-Key` becomes the id.
    """
    return await store_event(deps, data, request.headers.get(TRACEPARENT, ""), idempotency_key)


@post(
    f"{PATH}-many",
    opt={ROLE: "operator"},
    dto=Exact[ManyBody],
    return_dto=None,
    status_code=200,
    operation_id="publishEvents",
    summary="Publish many events",
)
async def publish_many(
    request: Asked, deps: Parts, data: JSONBody[ManyBody], idempotency_key: IdempotencyKey = None
) -> ManyReceipts:
    """Store up to 1000 events, with a receipt for each in their order. The answer is 200 also when
    some or all are rejected: look at `rejected`. With an `Idempotency-Key` events without an id get
    one made from it.
    """
    trace = request.headers.get(TRACEPARENT, "")
    events = [_new_event(one) for one in data.messages]

    async def work(id: str) -> _Receipts:
        named = [_named(event, id, number) for number, event in enumerate(events)]
        return _Receipts(await _publish_all(deps, named, data.mode, trace))

    done = await once(request, deps, idempotency_key, _Receipts, work, _is_final)
    receipts = [
        await _one_of_many(deps, event, receipt)
        for event, receipt in zip(events, done.items, strict=True)
    ]
    published = sum(1 for receipt in receipts if receipt.published)
    return ManyReceipts(published=published, rejected=len(receipts) - published, receipts=receipts)


async def store_event(
    deps: Deps, body: EventBody, incoming: str, idempotency_key: str | None = None
) -> EventReceipt:
    """Publish an event and give its receipt; ``incoming`` is the request's traceparent.

    Raises Problem when it is rejected.
    """
    event = _event(body, idempotency_key)
    with deps.tracing.publishing(event.type, incoming) as trace:
        headers = _traced(event.headers, trace)
        receipt = await deps.client.publish(event.type, event.payload, event.key, event.id, headers)
    match receipt:
        case Published():
            if receipt.duplicate and idempotency_key is not None:
                await _check_same(deps, receipt.seq, event)
            return await _stored(deps, event, receipt)
        case Rejected():
            raise _rejected(receipt)


async def _publish_all(
    deps: Deps, events: list[NewEvent], mode: Mode, incoming: str
) -> list[Receipt]:
    traced: list[NewEvent] = []
    for event in events:
        with deps.tracing.publishing(event.type, incoming) as trace:
            headers = _traced(event.headers, trace)
            traced.append(msgspec.structs.replace(event, headers=headers))
    return await deps.client.publish_many(traced, mode)


def _is_final(receipts: _Receipts) -> bool:
    """Whether a repetition could do no better: nothing was rejected for a passing reason."""
    return not any(isinstance(one, Rejected) and one.retryable for one in receipts.items)


def _new_event(body: EventBody) -> NewEvent:
    payload = NULL if body.payload is UNSET else body.payload
    return NewEvent(type=body.type, payload=payload, key=body.key, id=body.id, headers=body.headers)


def _event(body: EventBody, idempotency_key: str | None) -> NewEvent:
    event = _new_event(body)
    if idempotency_key is None:
        return event
    if event.id is not None and event.id != idempotency_key:
        raise Problem(
            400,
            "two-ids",
            "The event has two ids",
            "The body has an `id` and the header Idempotency-Key is another.",
            "Send one of them.",
        )
    return msgspec.structs.replace(event, id=idempotency_key)


def _named(event: NewEvent, id: str, number: int) -> NewEvent:
    """The event with an id made from the request's, when it has none of its own."""
    if not id or event.id is not None:
        return event
    return msgspec.structs.replace(event, id=f"{id}.{number}")


def _traced(headers: object, trace: str) -> dict[str, str]:
    given = dict(headers) if isinstance(headers, dict) else {}
    if trace and not any(name.lower() == TRACEPARENT for name in given):
        given[TRACEPARENT] = trace
    return given


async def _stored(deps: Deps, event: NewEvent, receipt: Published) -> EventReceipt:
    payload = bytes(event.payload) if isinstance(event.payload, Raw) else b"null"
    found = await deps.sagas.receivers(event.type, event.key, payload, event.headers)
    return EventReceipt(
        published=True,
        seq=receipt.seq,
        duplicate=receipt.duplicate,
        instances=UNSET if found is None else [_name(one) for one in found],
    )


async def _one_of_many(deps: Deps, event: NewEvent, receipt: Receipt) -> OneOfMany:
    if isinstance(receipt, Rejected):
        return OneOfMany(published=False, reason=receipt.reason, retryable=receipt.retryable)
    stored = await _stored(deps, event, receipt)
    return OneOfMany(
        published=True, seq=stored.seq, duplicate=stored.duplicate, instances=stored.instances
    )


def _name(address: Address) -> InstanceName:
    return InstanceName(saga=address.saga, key=address.key)


async def _check_same(deps: Deps, seq: int, event: NewEvent) -> None:
    """Raise Problem when what was stored under the id is another event."""
    stored = await deps.backend.log.at("events", seq)
    if stored is None:
        return
    try:
        place = deps.names.parse_event(stored.subject)
    except BadName:
        return
    same = isinstance(event.payload, Raw) and stored.data == bytes(event.payload)
    if place != (event.type, event.key) or not same:
        raise Problem(
            422,
            "idempotency-key-reused",
            "This Idempotency-Key was used for something else",
            f"Another event is stored under this id as {seq}.",
            "Send the first event unchanged, or use a new key for a new event.",
            {"published": False, "reason": "the id belongs to another event", "retryable": False},
        )


def _rejected(receipt: Rejected) -> Problem:
    more = {"published": False, "reason": receipt.reason, "retryable": receipt.retryable}
    if not receipt.retryable:
        return Problem(
            400,
            "event-rejected",
            "The event can't be published",
            receipt.reason,
            "Correct the event and send it again.",
            more,
        )
    return Problem(
        503,
        "event-not-stored",
        "The event is not known to be stored",
        receipt.reason,
        "Send it again in a moment, with an id or an Idempotency-Key so that it is stored once.",
        more,
        {"Retry-After": "1"},
    )


ROUTES = (publish, publish_many)
