"""Services from a container: steps and undos name what they need, and get it for their command.

A parameter after the ``*`` is a dependency, found by its type among the ``providers`` of the app.

    snorri start PlaceOrder '{"customer":"ada","items":["tea"]}' --key o-1 --wait
    snorri start PlaceOrder '{"customer":"ada","items":[]}' --wait
"""

from __future__ import annotations

from msgspec import Struct

from jobs import PermanentFailure, StepContext
from jobs.examples.simulation import stable_id
from jobs.examples.steps.services import Items, providers
from sagas import WorkflowSaga, step, workflow

__all__ = ["place_order", "providers"]


class NewOrder(Struct):
    """Who orders what; an order without items is refused when its stock is taken."""

    customer: str
    items: list[str]


async def delete_row(ctx: StepContext[NewOrder], row: dict[str, str], *, items: Items) -> None:
    """Delete the row of the order, with services of the undo's own."""
    items.delete("orders", row["orderId"])


@step("InsertOrder", compensate=delete_row)
async def insert_order(
    ctx: StepContext[NewOrder], order: NewOrder, *, items: Items
) -> dict[str, str]:
    """Write the order down."""
    row = {"orderId": stable_id("ord", ctx)}
    items.put("orders", row["orderId"], customer=order.customer, status="new")
    return row


@step("TakeStock", nothing_to_undo=True)
async def take_stock(ctx: StepContext[NewOrder], order: NewOrder, *, items: Items) -> int:
    """Count the items down."""
    if not order.items:
        raise PermanentFailure("there is nothing in the order")
    for name in order.items:
        items.put("stock", name, taken=ctx.key)
    return len(order.items)


@workflow("PlaceOrder")
async def place_order(saga: WorkflowSaga, order: NewOrder) -> dict[str, str]:
    """Take an order."""
    row = await insert_order(saga, order)
    await take_stock(saga, order)
    return row
