"""What can be done with a dead letter: send it again, put it aside, put it back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from litestar import post
from litestar.params import JSONBody, PathParameter
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from server.access.roles import ROLE
from server.api.acting import Reason, origin_of
from server.api.bodies import Exact
from server.api.deps import Deps
from server.api.idempotency import IdempotencyKey, once
from server.api.missing import near_names
from server.api.parameters import Parts
from server.api.problems import Problem
from server.api.shown import Asked
from store.dead_letters import LIST_MAX, LetterReply

PATH = "/api/v1/sagas/dead-letters/{id:str}"
SHARED: dict[str, Any] = {"opt": {ROLE: "operator"}, "return_dto": None, "status_code": 200}

LetterId = Annotated[str, PathParameter(description="Id of the dead letter, as the list names it")]


class LetterBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Why."""

    reason: Reason = ""


class RedriveBody(LetterBody, frozen=True):
    """What to send instead, if anything."""

    payload: Annotated[
        Raw | UnsetType, Meta(description="Replaces the payload that could not be taken")
    ] = UNSET


class LetterOutcome(Struct, frozen=True, kw_only=True, rename="camel"):
    """The dead letter after the change."""

    id: str
    status: Annotated[str, Meta(description="open, redriven or discarded")]
    seq: Annotated[int | UnsetType, Meta(description="Where a redrive stored the message anew")] = (
        UNSET
    )


@post(
    f"{PATH}/redrive",
    dto=Exact[RedriveBody],
    operation_id="redriveDeadLetter",
    summary="Send a dead letter's message again",
    **SHARED,
)
async def redrive(
    request: Asked,
    deps: Parts,
    id: LetterId,
    data: JSONBody[RedriveBody] = RedriveBody(),  # noqa: B008 - frozen
    idempotency_key: IdempotencyKey = None,
) -> LetterOutcome:
    """Send the message again to the saga that could not take it, or its job's command; with
    another payload when one is given. 409 when that was done before.
    """

    async def work(action: str) -> LetterReply:
        return await deps.client.redrive(
            id,
            by=request.user.name,
            reason=data.reason,
            payload=data.payload,
            origin=origin_of(request),
            action=action,
        )

    return await _change(request, deps, id, idempotency_key, work)


@post(
    f"{PATH}/discard",
    dto=Exact[LetterBody],
    operation_id="discardDeadLetter",
    summary="Put a dead letter aside",
    **SHARED,
)
async def discard(
    request: Asked,
    deps: Parts,
    id: LetterId,
    data: JSONBody[LetterBody] = LetterBody(),  # noqa: B008 - frozen
    idempotency_key: IdempotencyKey = None,
) -> LetterOutcome:
    """Take it from the list of open ones; its message stays stored."""
    return await _move(request, deps, id, idempotency_key, deps.client.discard, data.reason)


@post(
    f"{PATH}/restore",
    dto=Exact[LetterBody],
    operation_id="restoreDeadLetter",
    summary="Put a discarded dead letter back",
    **SHARED,
)
async def restore(
    request: Asked,
    deps: Parts,
    id: LetterId,
    data: JSONBody[LetterBody] = LetterBody(),  # noqa: B008 - frozen
    idempotency_key: IdempotencyKey = None,
) -> LetterOutcome:
    """Put a discarded one back among the open ones."""
    return await _move(request, deps, id, idempotency_key, deps.client.restore, data.reason)


async def _move(
    request: Asked,
    deps: Deps,
    id: str,
    key: str | None,
    move: Callable[..., Awaitable[LetterReply]],
    reason: str,
) -> LetterOutcome:
    async def work(action: str) -> LetterReply:
        by, origin = request.user.name, origin_of(request)
        return await move(id, by=by, reason=reason, origin=origin, action=action)

    return await _change(request, deps, id, key, work)


async def _change(
    request: Asked,
    deps: Deps,
    id: str,
    key: str | None,
    work: Callable[[str], Awaitable[LetterReply]],
) -> LetterOutcome:
    reply = await once(request, deps, key, LetterReply, work, lambda reply: reply.found)
    if not reply.found:
        raise await _nothing(deps, id)
    if not reply.done:
        raise Problem(
            409,
            "dead-letter-refused",
            "The dead letter can't be changed like that",
            reply.reason,
            "Look at it again: GET /api/v1/sagas/dead-letters/… says what can be done now.",
            {"currentStatus": reply.status},
        )
    return LetterOutcome(id=reply.id, status=reply.status, seq=reply.seq or UNSET)


async def _nothing(deps: Deps, id: str) -> Problem:
    near = near_names(id, [one.id for one in await deps.client.dead_letters(None, LIST_MAX)])
    hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
    return Problem(
        404,
        "no-such-dead-letter",
        "There is no such dead letter",
        f"No dead letter has the id {id[:200]!r}.",
        f"{hint}GET /api/v1/sagas/dead-letters lists what there is.",
        {"near": near},
    )


ROUTES = (redrive, discard, restore)
