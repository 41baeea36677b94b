"""Starting an instance by hand, and waiting for its end when asked to."""

from __future__ import annotations

import uuid
from typing import Annotated

import msgspec
from litestar import Response, post
from litestar.params import JSONBody
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from sagas.messages import NULL
from sagas.names import KEY_BYTES_MAX, check_key
from server.access.roles import ROLE
from server.api.acting import TIMEOUT_MS, TimeoutMs, origin_of, revision_at_seq
from server.api.bodies import Exact
from server.api.deps import Deps
from server.api.idempotency import IdempotencyKey, once
from server.api.links import instance_path
from server.api.missing import registered
from server.api.outcomes import RunOutcome, outcome_of, settled
from server.api.parameters import Parts, Saga
from server.api.problems import Problem
from server.api.shown import Asked
from server.correlation import NoKey, key_of
from server.traceparent import clean_traceparent
from store.cards import SagaCard
from store.codec import TRACEPARENT, ActionReply
from store.run_lines import RunRefused, begun_with


class StartBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """With what to start."""

    input: Annotated[
        Raw | UnsetType,
        Meta(
            description="Payload of the saga's starting message; default null",
            examples=[{"orderId": "o-1001", "customerId": "c-7", "items": [], "total": 4999}],
        ),
    ] = UNSET
    key: Annotated[
        str | None,
        Meta(
            description=f"1 to {KEY_BYTES_MAX} bytes; default: what the input names, or a new one"
        ),
    ] = None
    wait: Annotated[bool, Meta(description="Answer with the outcome instead of the start")] = False
    join: Annotated[
        bool,
        Meta(description="Answer for an instance that was started with the same input, no 409"),
    ] = False
    timeout_ms: TimeoutMs = TIMEOUT_MS


@post(
    "/api/v1/sagas/sagas/{saga:str}/start",
    opt={ROLE: "operator"},
    dto=Exact[StartBody],
    return_dto=None,
    status_code=201,
    operation_id="startInstance",
    summary="Start an instance by hand",
)
async def start(
    request: Asked,
    deps: Parts,
    saga: Saga,
    data: JSONBody[StartBody] = StartBody(),  # noqa: B008 - frozen
    idempotency_key: IdempotencyKey = None,
) -> Response[RunOutcome]:
    """Start an instance with the payload of its starting message: 201, with `wait` 200 and the
    outcome, 202 when it has not begun or settled in time, 409 when the key is in use.
    """
    card = await registered(deps, saga)
    named = data.key if data.key is not None else _named(deps, card, data.input)
    if named is not None:
        check_key(named)
    if data.join and named is not None:
        there = await _begun(deps, saga, named, data)
        if there is not None:
            done = there.settled or not data.wait
            return Response(
                there, status_code=200 if done else 202, headers={"Location": there.location}
            )

    async def work(id: str) -> ActionReply:
        key = named if named is not None else id.removeprefix("once-") or uuid.uuid4().hex
        await _check_new(deps, saga, key, id)
        return await deps.client.start(
            saga,
            _input(data),
            key=key,
            by=request.user.name,
            wait=data.wait,
            timeout_s=data.timeout_ms / 1000,
            id=id,
            origin=origin_of(request),
            trace=clean_traceparent(request.headers.get(TRACEPARENT, "")),
        )

    reply = await once(
        request, deps, idempotency_key, ActionReply, work, lambda reply: not reply.pending
    )
    if not reply.done and not reply.pending:
        raise _refused(reply)
    outcome = await _outcome(deps, reply)
    status = 202 if reply.pending else 200 if data.wait else 201
    return Response(outcome, status_code=status, headers={"Location": outcome.location})


def _named(deps: Deps, card: SagaCard, input: Raw | UnsetType) -> str | None:
    """The key that the input names, None for any new one; raises Problem."""
    try:
        payload = None if input is UNSET else msgspec.json.decode(input)
        return key_of(card, payload, deps.app.registry)
    except NoKey as error:
        raise Problem(
            400, "no-key", "The instance has no key", str(error), "Send `key` or correct `input`."
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(
            400,
            "invalid-request",
            "The input can't be read",
            f"The input is no JSON that can be read: {error}.",
            "Correct the input.",
        ) from None


async def _check_new(deps: Deps, saga: str, key: str, id: str) -> None:
    """Raise Problem when the instance is there, unless this very request has started it."""
    there = await deps.client.latest(saga, key)
    if there is None:
        return
    instance = there.instance
    if id:
        async for first in deps.client.history(saga, key):
            if first.instance.cause.id == id:
                return
            break
    raise Problem(
        409,
        "instance-exists",
        "There is such an instance already",
        f"{saga}/{key} exists and is {instance.status} at version {instance.version}.",
        "Start another key, or publish the message if that instance shall have it.",
        {"currentVersion": instance.version, "currentStatus": instance.status},
        {"Location": instance_path(saga, key)},
    )


def _refused(reply: ActionReply) -> Problem:
    return Problem(
        409,
        "start-refused",
        "The instance could not be started",
        reply.reason,
        "Correct what is named here and start again.",
        {"currentVersion": reply.version, "currentStatus": reply.status},
    )


async def _begun(deps: Deps, saga: str, key: str, body: StartBody) -> RunOutcome | None:
    """The outcome of the instance that was begun with this input before; None when there is none.
    Raises Problem for one that was begun with another input.
    """
    try:
        if not await begun_with(deps.client, saga, key, _input(body)):
            return None
    except RunRefused as error:
        raise Problem(
            409,
            "instance-exists",
            "There is such an instance already",
            f"{error}.",
            "Start another key, or send the input that it was started with.",
            headers={"Location": instance_path(saga, key)},
        ) from None
    found = await settled(deps, saga, key, body.timeout_ms / 1000 if body.wait else 0.0)
    return None if found is None else outcome_of(deps, found)


def _input(body: StartBody) -> Raw:
    return NULL if body.input is UNSET else body.input


async def _outcome(deps: Deps, reply: ActionReply) -> RunOutcome:
    if not reply.pending or reply.version:
        return outcome_of(deps, await revision_at_seq(deps, reply.seq))
    return RunOutcome(
        saga=reply.saga,
        key=reply.key,
        settled=False,
        location=instance_path(reply.saga, reply.key),
        seq=reply.seq,
        next="No engine has read it in time; it begins when one does. Look there.",
    )


ROUTES = (start,)
