"""An app of steps for tests of the command line: a list that fails on demand, and a workflow."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from jobs import PermanentFailure, StepContext
from sagas import WorkflowSaga, retry, step, steps, workflow


class Order(Struct):
    """What runs start with."""

    total: int


async def reserve(ctx: StepContext[Order]) -> dict[str, str]:
    """Done at the second try."""
    if ctx.attempt == 1:
        raise OSError("not at once")
    return {"rid": f"r-{ctx.input.total}"}


async def release(ctx: StepContext[Order], reserved: Any) -> None:
    """Its undo."""


async def pay(ctx: StepContext[Order], order: Order) -> dict[str, int]:
    """Declined over 100."""
    if order.total > 100:
        raise PermanentFailure("declined", code="CARD_DECLINED")
    return {"paid": order.total}


@step("quote")
async def quote(ctx: StepContext[Any], order: Order) -> int:
    """What it costs."""
    return order.total


orders = steps(
    "orders",
    [step("reserve", reserve, release, retry=retry(2, 0.01)), step("pay", pay)],
    input=Order,
)


@workflow("Quoting", signals={"accept": bool})
async def quoting(saga: WorkflowSaga, order: Order) -> int:
    """Waits for a word after its quote."""
    total = await quote(saga, order)
    await saga.wait_for_signal("accept")
    return total
