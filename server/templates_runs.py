"""The texts that `snorri new step-list` and `new workflow` write; ``<<name>>`` is filled in."""

from __future__ import annotations

STEP_LIST = '''\
"""<<id>>: what it does, in a sentence."""

from __future__ import annotations

from msgspec import Struct

from jobs import PermanentFailure, StepContext
from sagas import retry, step, steps


class <<Pascal>>(Struct):
    """What a run starts with."""

    orderId: str
    amount: int = 0


class Done(Struct):
    """What the last step gives."""

    charge: str


async def reserve(ctx: StepContext[<<Pascal>>]) -> dict[str, str]:
    """The first step. It may run more than once for one run: hand on ctx.idempotency_key."""
    return {"reservation": ctx.idempotency_key}


async def release(ctx: StepContext[<<Pascal>>], reserved: dict[str, str]) -> None:
    """Undo it; reserved is what it returned."""


async def charge(ctx: StepContext[<<Pascal>>], input: <<Pascal>>) -> Done:
    """The last step: what was done before is undone when it fails for good."""
    if input.amount < 0:
        raise PermanentFailure("the amount is below zero", code="BAD_AMOUNT")
    return Done(charge=ctx.idempotency_key)


<<snake>>_steps = steps(
    "<<id>>",
    [
        step("reserve", reserve, release),
        step("charge", charge, retry=retry(3, "1s"), nothing_to_undo=True),
    ],
    input=<<Pascal>>,
    output=Done,
)
'''

STEP_LIST_TEST = '''\
"""What <<id>> does, without a broker: the steps end well or not, and what is undone then."""

import asyncio
from types import SimpleNamespace

import pytest

from <<package>>.sagas.<<snake>> import <<Pascal>>, <<snake>>_steps, charge
from jobs import PermanentFailure
from sagas.testing import given

INPUT = {"orderId": "o-1", "amount": 4200}


def test_its_steps_run_one_after_the_other():
    (
        given(<<snake>>_steps, key="o-1")
        .when("<<id>>", INPUT)
        .when_step("reserve", {"reservation": "r-1"})
        .when_step("charge", {"charge": "c-1"})
        .expect_status("completed")
        .expect_result({"charge": "c-1"})
    )


def test_what_was_reserved_is_released_when_the_charge_fails():
    (
        given(<<snake>>_steps, key="o-1")
        .when("<<id>>", INPUT)
        .when_step("reserve", {"reservation": "r-1"})
        .when_step_failed("charge", "declined")
        .when_step("reserve")  # its undo
        .expect_status("compensated")
    )


def test_a_step_is_a_function_and_can_be_called_as_one():
    ctx = SimpleNamespace(idempotency_key="c-1")
    assert asyncio.run(charge(ctx, <<Pascal>>("o-1", 1))).charge == "c-1"
    with pytest.raises(PermanentFailure):
        asyncio.run(charge(ctx, <<Pascal>>("o-1", -1)))
'''

WORKFLOW = '''\
"""<<Pascal>>: what it does, in a sentence."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from jobs import PermanentFailure, StepContext
from sagas import WaitTimedOut, WorkflowFailed, WorkflowSaga, step, workflow


class Order(Struct):
    """What a run starts with."""

    orderId: str
    amount: int = 0


async def release(ctx: StepContext[Any], reservation: str) -> None:
    """The undo of reserve; reservation is what it returned."""


@step("<<id>>-reserve", compensate=release)
async def reserve(ctx: StepContext[Any], order: Order) -> str:
    """A step. It may run more than once for one run: hand on ctx.idempotency_key."""
    if order.amount < 0:
        raise PermanentFailure("the amount is below zero", code="BAD_AMOUNT")
    return ctx.idempotency_key


@workflow("<<Pascal>>", signals={"approve": bool})
async def <<snake>>(saga: WorkflowSaga, order: Order) -> dict[str, Any]:
    """Reserve, and ask somebody when it is much. Only what `saga` and steps give is awaited."""
    reservation = await reserve(saga, order)
    if order.amount > 1000:
        saga.state["waits"] = "for approval"
        try:
            approved = await saga.wait_for_signal("approve", bool, timeout="1d")
        except WaitTimedOut:
            approved = False
        if not approved:
            raise WorkflowFailed("not approved", code="REFUSED")  # what was done is undone
    return {"orderId": order.orderId, "reservation": reservation}
'''

WORKFLOW_TEST = '''\
"""What <<Pascal>> does, without a broker: its steps answer, somebody approves or does not."""

from <<package>>.sagas.<<snake>> import <<snake>>
from sagas.testing import given


def _asked():
    return (
        given(<<snake>>, key="o-1")
        .when("<<Pascal>>", {"orderId": "o-1", "amount": 4200})
        .when_step("<<id>>-reserve", "r-1")
    )


def test_a_small_order_completes_by_itself():
    (
        given(<<snake>>, key="o-1")
        .when("<<Pascal>>", {"orderId": "o-1", "amount": 5})
        .when_step("<<id>>-reserve", "r-1")
        .expect_result({"orderId": "o-1", "reservation": "r-1"})
    )


def test_a_large_one_waits_for_a_yes():
    _asked().expect_status("running").action("signal", name="approve", payload=True).expect_status(
        "completed"
    )


def test_without_an_answer_what_was_reserved_is_released():
    _asked().advance("1d").expect_status("compensating").when_step(
        "<<id>>-reserve"
    ).expect_status("compensated")
'''
