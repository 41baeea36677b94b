"""Payments: take money, give it back. Shows Structs as payloads, failures and stable ids."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from jobs import JobContext, failure, job, success
from jobs.examples.simulation import simulated, stable_id


class Payment(Struct):
    """What to take, and for which order; the amount is in the smallest unit of its currency."""

    orderId: str
    amount: int = 0
    simulate: str = ""


class Refund(Struct):
    """Which payment to give back."""

    orderId: str
    transactionId: str = ""
    simulate: str = ""


@job("process-payment", on_success="PaymentCompleted", on_failure="PaymentFailed", timeout="20s")
async def process_payment(ctx: JobContext[Payment], payment: Payment) -> Any:
    """Charge the customer for an order."""
    await simulated(ctx, payment.simulate)
    if payment.simulate == "decline":
        return failure("the card was declined", {"orderId": payment.orderId})
    return success({"orderId": payment.orderId, "transactionId": stable_id("tx", ctx)})


@job("capture-payment", on_success="PaymentCaptured", on_failure="PaymentFailed", timeout="20s")
async def capture_payment(ctx: JobContext[Payment], payment: Payment) -> Any:
    """Take an amount that was reserved before."""
    await simulated(ctx, payment.simulate)
    if payment.simulate == "decline":
        return failure("the reservation has run out", {"orderId": payment.orderId})
    return success({"orderId": payment.orderId, "transactionId": stable_id("cap", ctx)})


@job("refund-payment", on_success="PaymentRefunded", on_failure="RefundFailed", timeout="20s")
async def refund_payment(ctx: JobContext[Refund], refund: Refund) -> Any:
    """Give a payment back."""
    await simulated(ctx, refund.simulate)
    ctx.log.info("refunded", transaction=refund.transactionId)
    return success({"orderId": refund.orderId, "refundId": stable_id("re", ctx)})
