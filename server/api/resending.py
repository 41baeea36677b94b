"""Events delivered again by a person: published anew, or given to one instance."""

from __future__ import annotations

from typing import Annotated

from litestar import Response, post
from litestar.params import JSONBody
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from server.access.roles import ROLE
from server.api.acting import Reason, origin_of
from server.api.bodies import Exact
from server.api.events import Seq, stored_event
from server.api.idempotency import IdempotencyKey, once
from server.api.parameters import Parts
from server.api.problems import Problem
from server.api.shown import Asked
from store.codec import ActionReply
from store.events import Rejected


class ResendBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change before an event is published again; what is not given stays."""

    type: Annotated[str | None, Meta(description="Another event type")] = None
    key: Annotated[str | None, Meta(description="Another ordering key")] = None
    payload: Annotated[Raw | UnsetType, Meta(description="Another payload, any JSON")] = UNSET
    reason: Reason = ""


class AttachBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The instance an event is given to."""

    saga: Annotated[str, Meta(description="Id of the saga")]
    key: Annotated[str, Meta(description="Key of the instance", examples=["o-1001"])]
    reason: Reason = ""


class Resent(Struct, frozen=True, kw_only=True, rename="camel"):
    """The event is stored anew."""

    seq: Annotated[int, Meta(description="Its new sequence in the events stream")]
    duplicate: Annotated[
        bool, Meta(description="The same request was carried out shortly before, as `seq`")
    ]


class Attached(Struct, frozen=True, kw_only=True, rename="camel"):
    """The transition the event caused. While `done` is false (202) no engine has read it yet."""

    done: bool
    saga: str
    key: str
    version: int
    status: str
    seq: Annotated[int, Meta(description="Revision: where the transition stands in the log")]


@post(
    "/api/v1/sagas/events/{seq:int}/resend",
    opt={ROLE: "operator"},
    dto=Exact[ResendBody],
    return_dto=None,
    status_code=200,
    operation_id="resendEvent",
    summary="Publish an event again",
)
async def resend(request: Asked, deps: Parts, seq: Seq, data: JSONBody[ResendBody]) -> Resent:
    """Store the event once more for whichever sagas handle its type, changed or as it was.

    Who did it and why stays with it as headers. The same request again, reason included, is the
    same event.
    """
    await stored_event(deps, seq)
    receipt = await deps.client.resend(
        seq,
        by=request.user.name,
        reason=data.reason,
        type=data.type,
        key=data.key,
        payload=None if data.payload is UNSET else data.payload,
    )
    if isinstance(receipt, Rejected):
        raise _rejected(receipt)
    return Resent(seq=receipt.seq, duplicate=receipt.duplicate)


@post(
    "/api/v1/sagas/events/{seq:int}/attach",
    opt={ROLE: "operator"},
    dto=Exact[AttachBody],
    return_dto=None,
    status_code=200,
    operation_id="attachEvent",
    summary="Give an event to one instance",
)
async def attach(
    request: Asked,
    deps: Parts,
    seq: Seq,
    data: JSONBody[AttachBody],
    idempotency_key: IdempotencyKey = None,
) -> Response[Attached]:
    """Deliver the event to this instance alone, past all correlation. An instance that has taken it
    before refuses it, so it is changed once however often this is asked.
    """
    await stored_event(deps, seq)

    async def work(id: str) -> ActionReply:
        return await deps.client.attach(
            seq,
            data.saga,
            data.key,
            by=request.user.name,
            reason=data.reason,
            origin=origin_of(request),
        )

    reply = await once(
        request, deps, idempotency_key, ActionReply, work, lambda reply: not reply.pending
    )
    if not reply.done and not reply.pending:
        raise Problem(
            409,
            "event-refused",
            "The instance does not take this event",
            f"{reply.reason[:1].upper()}{reply.reason[1:]}.",
            "Look at the instance and at the event; another instance, or another type or payload"
            " (resend), may be what was meant.",
            {"currentVersion": reply.version, "currentStatus": reply.status},
        )
    answer = Attached(
        done=reply.done,
        saga=reply.saga,
        key=reply.key,
        version=reply.version,
        status=reply.status,
        seq=reply.seq,
    )
    return Response(answer, status_code=200 if reply.done else 202)


def _rejected(receipt: Rejected) -> Problem:
    if receipt.retryable:
        return Problem(
            503,
            "event-not-stored",
            "The event is not known to be stored",
            receipt.reason,
            "Send the same request again; it stores the event once.",
            {"retryable": True},
            {"Retry-After": "1"},
        )
    return Problem(
        400,
        "event-rejected",
        "The event can't be published",
        receipt.reason,
        "Correct type, key or payload in the request and send it again.",
        {"retryable": False},
    )


ROUTES = (resend, attach)
