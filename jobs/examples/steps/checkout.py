"""A checkout as a workflow function: reserve, charge, ship; what was done is undone in reverse.

Shows typed input and result. Start it, and let it fail where you like:

    snorri start CheckoutWorkflow '{"productId":"tea","amount":4999}' --key o-1 --wait
    snorri start CheckoutWorkflow '{"productId":"tea","amount":4999,"simulate":"no-carrier"}' --wait
"""

from __future__ import annotations

from msgspec import Struct

from jobs import PermanentFailure, StepContext
from jobs.examples.simulation import simulated, stable_id
from sagas import WorkflowSaga, retry, step, workflow


class Checkout(Struct):
    """What is bought; ``simulate``: no-stock, decline, no-carrier, flaky, slow, broken."""

    productId: str
    quantity: int = 1
    amount: int = 0
    simulate: str = ""


class Reservation(Struct):
    """Goods that were put aside."""

    reservationId: str


class Payment(Struct):
    """Money that was taken."""

    paymentId: str


class Shipment(Struct):
    """A parcel on its way."""

    trackingNumber: str


class Receipt(Struct):
    """What the caller gets."""

    reservationId: str
    paymentId: str
    trackingNumber: str


async def release(ctx: StepContext[Checkout], reserved: Reservation) -> None:
    """Put the goods back."""
    ctx.log.info("released", reservation=reserved.reservationId)


@step("ReserveInventory", compensate=release)
async def reserve(ctx: StepContext[Checkout], order: Checkout) -> Reservation:
    """Put the goods aside."""
    if order.simulate == "no-stock":
        raise PermanentFailure("out of stock", code="OUT_OF_STOCK")
    return Reservation(stable_id("rsv", ctx))


async def refund(ctx: StepContext[Checkout], paid: Payment) -> None:
    """Give the money back."""
    ctx.log.info("refunded", payment=paid.paymentId)


@step("ChargePayment", compensate=refund, retry=retry(4, "200ms"), timeout="20s")
async def charge(ctx: StepContext[Checkout], order: Checkout) -> Payment:
    """Take the money; a line that goes dead is tried again."""
    await simulated(ctx, order.simulate)
    if order.simulate == "decline":
        raise PermanentFailure("the card was declined", code="DECLINED")
    return Payment(stable_id("pay", ctx))


@step("CreateShipment", nothing_to_undo=True)
async def ship(ctx: StepContext[Checkout], order: Checkout) -> Shipment:
    """Hand the parcel to the carrier."""
    if order.simulate == "no-carrier":
        raise PermanentFailure("no carrier goes there")
    return Shipment(stable_id("trk", ctx))


@workflow("CheckoutWorkflow")
async def checkout(saga: WorkflowSaga, order: Checkout) -> Receipt:
    """Buy something."""
    reserved = await reserve(saga, order)
    paid = await charge(saga, order)
    shipped = await ship(saga, order)
    return Receipt(reserved.reservationId, paid.paymentId, shipped.trackingNumber)
