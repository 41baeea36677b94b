"""Operator actions on one timer of an instance: fire it, have it fire at another time, cancel it.

They answer as the actions on the instance itself do; a timer that has fired meanwhile is a 409.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from litestar import post
from litestar.params import JSONBody, PathParameter
from msgspec import Meta, structs

from sagas.actions import ActionRequest
from sagas.durations import when
from sagas.errors import BadDelay
from server.api.acting import ActionBody, take
from server.api.actions import NOTHING, PATH, SHARED, Answer
from server.api.bodies import Exact
from server.api.idempotency import IdempotencyKey
from server.api.parameters import Key, Parts, Saga
from server.api.problems import Problem
from server.api.shown import Asked

TIMER_PATH = f"{PATH}/timers/{{timer:str}}"
TIME_CHARS_MAX = 100

TimerId: TypeAlias = Annotated[str, PathParameter(description="Id of the timer in its instance")]


class PostponeBody(ActionBody, frozen=True):
    """When the timer shall fire."""

    to: Annotated[
        str,
        Meta(
            max_length=TIME_CHARS_MAX,
            description="How long from now (`30s`, `2h`, `1d`), or a time of ISO 8601, UTC when it"
            " names no zone; it may be earlier than before",
            examples=["2h", "2026-11-21T12:00:00Z"],
        ),
    ]

    def request(self) -> ActionRequest:
        """See ActionBody."""
        try:
            return structs.replace(super().request(), to=when(self.to))
        except BadDelay as error:
            raise Problem(
                400,
                "invalid-request",
                "The time is not clear",
                str(error),
                "Correct `to`.",
            ) from None


@post(
    f"{TIMER_PATH}/fire",
    dto=Exact[ActionBody],
    operation_id="fireTimer",
    summary="Fire a timer now",
    **SHARED,
)
async def fire(
    request: Asked,
    deps: Parts,
    saga: Saga,
    key: Key,
    timer: TimerId,
    data: JSONBody[ActionBody] = NOTHING,
    idempotency_key: IdempotencyKey = None,
) -> Answer:
    """Handle a timer's message now. Where messages wait for the instance, it waits behind them."""
    return await take(request, deps, saga, key, "fire_timer", data, idempotency_key, timer)


@post(
    f"{TIMER_PATH}/postpone",
    dto=Exact[PostponeBody],
    operation_id="postponeTimer",
    summary="Have a timer fire at another time",
    **SHARED,
)
async def postpone(
    request: Asked,
    deps: Parts,
    saga: Saga,
    key: Key,
    timer: TimerId,
    data: JSONBody[PostponeBody],
    idempotency_key: IdempotencyKey = None,
) -> Answer:
    """Set a timer to another time; what it said while the instance was held is taken back."""
    return await take(request, deps, saga, key, "postpone_timer", data, idempotency_key, timer)


@post(
    f"{TIMER_PATH}/cancel",
    dto=Exact[ActionBody],
    operation_id="cancelTimer",
    summary="Cancel a timer",
    **SHARED,
)
async def cancel(
    request: Asked,
    deps: Parts,
    saga: Saga,
    key: Key,
    timer: TimerId,
    data: JSONBody[ActionBody] = NOTHING,
    idempotency_key: IdempotencyKey = None,
) -> Answer:
    """Have a timer not fire at all; what it said while the instance was held is taken back."""
    return await take(request, deps, saga, key, "cancel_timer", data, idempotency_key, timer)


ROUTES = (fire, postpone, cancel)
