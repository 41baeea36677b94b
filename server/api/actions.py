"""Operator actions on one instance: each becomes a transition with who, why and from where.

All answer with the transition they caused, or with 409, where the instance stands and what it
allows. With ``dryRun`` they answer with a plan whose ``hash``, sent back as ``plan``, makes exactly
that happen.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from litestar import Response, post
from litestar.params import JSONBody
from msgspec import UNSET, Meta, Raw, UnsetType, structs

from sagas.actions import ABSENT, ActionRequest
from server.access.roles import ROLE
from server.api.acting import ActionBody, ActionOutcome, ActionPlan, take
from server.api.bodies import Exact
from server.api.idempotency import IdempotencyKey
from server.api.parameters import Key, Parts, Saga
from server.api.problems import Problem
from server.api.shown import Asked

PATH = "/api/v1/sagas/instances/{saga:str}/{key:str}"
TYPES_MAX = 100

Answer: TypeAlias = Response[ActionOutcome | ActionPlan]

SHARED: dict[str, Any] = {"opt": {ROLE: "operator"}, "return_dto": None, "status_code": 200}


class RetryBody(ActionBody, frozen=True):
    """What to retry: by default what parked the instance."""

    command: Annotated[
        str,
        Meta(max_length=500, description="Send this open command again, by its id"),
    ] = ""
    payload: Annotated[
        Raw | UnsetType, Meta(description="Replaces the payload of the message or command")
    ] = UNSET

    def request(self) -> ActionRequest:
        """See ActionBody."""
        wanted = super().request()
        return structs.replace(wanted, command=self.command, payload=_raw(self.payload))


class CompensateBody(ActionBody, frozen=True):
    """What to undo."""

    types: Annotated[
        tuple[str, ...],
        Meta(
            max_length=TYPES_MAX,
            description="What to undo, in this order; not needed when the saga has one way back",
        ),
    ] = ()
    payload: Annotated[Raw | UnsetType, Meta(description="For the handlers")] = UNSET

    def request(self) -> ActionRequest:
        """See ActionBody."""
        wanted = super().request()
        return structs.replace(wanted, types=self.types, payload=_raw(self.payload))


class SignalBody(ActionBody, frozen=True):
    """Which signal."""

    name: Annotated[str, Meta(max_length=100, description="As the saga declares it (.on_signal)")]
    payload: Annotated[Raw | UnsetType, Meta(description="For its handler")] = UNSET

    def request(self) -> ActionRequest:
        """See ActionBody."""
        return structs.replace(super().request(), name=self.name, payload=_raw(self.payload))


class PatchBody(ActionBody, frozen=True):
    """The new state, whole or in changes."""

    state: Annotated[Raw | UnsetType, Meta(description="A whole new state")] = UNSET
    patch: Annotated[
        Raw | UnsetType, Meta(description="Changes to it as in RFC 7396: null removes a field")
    ] = UNSET

    def request(self) -> ActionRequest:
        """See ActionBody."""
        if (self.state is UNSET) == (self.patch is UNSET):
            raise Problem(
                400,
                "invalid-request",
                "The new state is not clear",
                "The body needs either `state` or `patch`.",
                "Send a whole new state, or the changes to it.",
            )
        return structs.replace(super().request(), state=_raw(self.state), patch=_raw(self.patch))


class SkipBody(ActionBody, frozen=True):
    """How what parked the instance is noted."""

    by_hand: Annotated[
        bool, Meta(description="The failed undo was done outside: note it as done by hand")
    ] = False

    def request(self) -> ActionRequest:
        """See ActionBody."""
        return structs.replace(super().request(), by_hand=self.by_hand)


NOTHING = ActionBody()


@post(
    f"{PATH}/retry",
    dto=Exact[RetryBody],
    operation_id="retryInstance",
    summary="Retry what parked an instance",
    **SHARED,
)
async def retry(
    request: Asked,
    deps: Parts,
    saga: Saga,
    key: Key,
    data: JSONBody[RetryBody] = RetryBody(),  # noqa: B008 - frozen
    idempotency_key: IdempotencyKey = None,
) -> Answer:
    """Handle the message again that parked the instance, or send an open command again."""
    return await take(request, deps, saga, key, "retry", data, idempotency_key)


@post(
    f"{PATH}/resume",
    dto=Exact[ActionBody],
    operation_id="resumeInstance",
    summary="Resume a paused instance",
    **SHARED,
)
async def resume(
    request: Asked,
    deps: Parts,
    saga: Saga,
    key: Key,
    data: JSONBody[ActionBody] = NOTHING,
    idempotency_key: IdempotencyKey = None,
) -> Answer:
    """Go on with a paused instance; what arrived meanwhile is handled in order."""
    return await take(request, deps, saga, key, "resume", data, idempotency_key)


@post(
    f"{PATH}/pause",
    dto=Exact[ActionBody],
    operation_id="pauseInstance",
    summary="Pause an instance",
    **SHARED,
)
async def pause(
    request: Asked,
    deps: Parts,
    saga: Saga,
    key: Key,
    data: JSONBody[ActionBody] = NOTHING,
    idempotency_key: IdempotencyKey = None,
) -> Answer:
    """Stop an instance; messages wait in its backlog."""
    return await take(request, deps, saga, key, "pause", data, idempotency_key)


@post(
    f"{PATH}/cancel",
    dto=Exact[ActionBody],
    operation_id="cancelInstance",
    summary="Cancel an instance",
    **SHARED,
)
async def cancel(
    request: Asked,
    deps: Parts,
    saga: Saga,
    key: Key,
    data: JSONBody[ActionBody] = NOTHING,
    idempotency_key: IdempotencyKey = None,
) -> Answer:
    """End an instance now; its timers are cancelled and nothing is undone."""
    return await take(request, deps, saga, key, "cancel", data, idempotency_key)


@post(
    f"{PATH}/compensate",
    dto=Exact[CompensateBody],
    operation_id="compensateInstance",
    summary="Undo what an instance has done",
    **SHARED,
)
async def compensate(
    request: Asked,
    deps: Parts,
    saga: Saga,
    key: Key,
    data: JSONBody[CompensateBody] = CompensateBody(),  # noqa: B008 - frozen
    idempotency_key: IdempotencyKey = None,
) -> Answer:
    """Undo by the saga's `.compensate` handlers. Ask for the plan first: it lists the commands."""
    return await take(request, deps, saga, key, "compensate", data, idempotency_key)


@post(
    f"{PATH}/signal",
    dto=Exact[SignalBody],
    operation_id="signalInstance",
    summary="Send an instance a signal",
    **SHARED,
)
async def signal(
    request: Asked,
    deps: Parts,
    saga: Saga,
    key: Key,
    data: JSONBody[SignalBody],
    idempotency_key: IdempotencyKey = None,
) -> Answer:
    """Send an instance a signal that its saga declares."""
    return await take(request, deps, saga, key, "signal", data, idempotency_key)


@post(
    f"{PATH}/patch",
    dto=Exact[PatchBody],
    operation_id="patchInstance",
    summary="Change the state of an instance",
    **SHARED,
)
async def patch(
    request: Asked,
    deps: Parts,
    saga: Saga,
    key: Key,
    data: JSONBody[PatchBody],
    idempotency_key: IdempotencyKey = None,
) -> Answer:
    """Change the state by hand; it must fit the saga's state type."""
    return await take(request, deps, saga, key, "patch", data, idempotency_key)


@post(
    f"{PATH}/skip",
    dto=Exact[SkipBody],
    operation_id="skipInstance",
    summary="Skip what parked an instance",
    **SHARED,
)
async def skip(
    request: Asked,
    deps: Parts,
    saga: Saga,
    key: Key,
    data: JSONBody[SkipBody] = SkipBody(),  # noqa: B008 - frozen
    idempotency_key: IdempotencyKey = None,
) -> Answer:
    """Let a parked instance go on without the message or command that parked it."""
    return await take(request, deps, saga, key, "skip", data, idempotency_key)


def _raw(given: Raw | UnsetType) -> Raw:
    return ABSENT if given is UNSET else given


ROUTES = (retry, resume, pause, cancel, compensate, signal, patch, skip)
