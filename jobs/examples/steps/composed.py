"""Workflows in workflows: one that joins its parent, and one that answers for itself.

``run_as_step`` puts the steps of PaymentWorkflow into the run of OrderWorkflow: a shipment that
fails undoes the payment, too. NotificationWorkflow is a run of its own: it is not undone with the
order, and the order goes on when it fails.

    snorri start OrderWorkflow '{"items":["tea"],"total":4999}' --key o-1 --wait
    snorri start OrderWorkflow '{"items":["tea"],"total":4999,"simulate":"no-carrier"}' --wait
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from jobs import PermanentFailure, StepContext
from jobs.examples.simulation import stable_id
from sagas import StepFailed, WorkflowSaga, step, workflow


class Order(Struct):
    """What is ordered; ``simulate``: no-carrier, no-mail."""

    items: list[str] = []
    total: int = 0
    simulate: str = ""


class Amount(Struct):
    """What is to be paid."""

    amount: int


class Note(Struct):
    """Whom to tell what; ``simulate``: no-mail."""

    message: str
    simulate: str = ""


async def undo(ctx: StepContext[Any], made: dict[str, str]) -> None:
    """Take back what a step has made."""
    ctx.log.info("undone", step=ctx.step, **made)


@step("AuthorizePayment", compensate=undo)
async def authorize(ctx: StepContext[Amount], wanted: Amount) -> dict[str, str]:
    """Set the amount aside on the card."""
    return {"authorizationId": stable_id("auth", ctx)}


@step("CapturePayment", compensate=undo)
async def capture(ctx: StepContext[Any], authorized: dict[str, str]) -> dict[str, str]:
    """Take what was set aside."""
    return {"paymentId": stable_id("cap", ctx)}


@workflow("PaymentWorkflow")
async def payment(saga: WorkflowSaga, wanted: Amount) -> dict[str, str]:
    """Pay: of use alone and inside of others."""
    authorized = await authorize(saga, wanted)
    return await capture(saga, authorized)


@step("SendNote", nothing_to_undo=True)
async def send_note(ctx: StepContext[Note], note: Note) -> dict[str, str]:
    """Send a mail."""
    if note.simulate == "no-mail":
        raise PermanentFailure("the mailbox is full")
    return {"mailId": stable_id("mail", ctx)}


@workflow("NotificationWorkflow")
async def notification(saga: WorkflowSaga, note: Note) -> dict[str, str]:
    """Tell somebody something."""
    return await send_note(saga, note)


@step("CreateOrder", compensate=undo)
async def create_order(ctx: StepContext[Order], order: Order) -> dict[str, str]:
    """Write the order down."""
    return {"orderId": stable_id("ord", ctx)}


@step("ShipOrder", nothing_to_undo=True)
async def ship_order(ctx: StepContext[Order], order: Order) -> dict[str, str]:
    """Hand it to the carrier."""
    if order.simulate == "no-carrier":
        raise PermanentFailure("no carrier goes there")
    return {"shipmentId": stable_id("shp", ctx)}


@workflow("OrderWorkflow")
async def order_workflow(saga: WorkflowSaga, order: Order) -> dict[str, Any]:
    """Order, pay and ship as one; tell the customer apart from that."""
    made = await create_order(saga, order)
    paid = await payment.run_as_step(saga, Amount(order.total))
    shipped = await ship_order(saga, order)
    try:
        told = await saga.child(notification, Note("Order created", order.simulate))
    except StepFailed as failed:
        told = {"mail": f"not sent: {failed.reason}"}
    saga.spawn(notification, Note("Tell us how you like it"))  # nobody waits for this one
    return {**made, **paid, **shipped, **told}
