"""An order as a list: two checks at the same time, a charge, and notices that nobody waits for.

Shows ``parallel``, background steps, the context that steps add to, and callbacks.

    snorri start create-order '{"items":["WIDGET-1"],"total":4999,"email":"a@example.org"}' --wait
    snorri start create-order '{"items":["WIDGET-1"],"total":4999,"simulate":"decline"}' --wait
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from jobs import JobContext, StepContext
from jobs.examples.simulation import simulated, stable_id
from sagas import StepResponse, parallel, retry, step, steps


class Order(Struct):
    """What is ordered; ``simulate``: no-stock, bad-card, decline, no-mail, flaky, slow."""

    items: list[str] = []
    total: int = 0
    email: str = "nobody@example.org"
    simulate: str = ""


async def reserve_inventory(ctx: StepContext[Order]) -> dict[str, str]:
    """Put the items aside."""
    return {"reservationId": stable_id("rsv", ctx)}


async def release_inventory(ctx: StepContext[Order]) -> None:
    """Put them back; an undo may read the context, too."""
    ctx.log.info("released", reservation=ctx.get("reservationId"))


async def check_inventory(ctx: StepContext[Order]) -> Any:
    """Whether there is enough."""
    if ctx.input.simulate == "no-stock":
        return StepResponse.permanent_failure("sold out", code="NO_STOCK")
    return {"stockAvailable": True}


async def verify_payment(ctx: StepContext[Order]) -> Any:
    """Whether the card is good."""
    if ctx.input.simulate == "bad-card":
        return StepResponse.permanent_failure("the card has run out", code="BAD_CARD")
    return {"paymentVerified": True}


async def charge_payment(ctx: StepContext[Order]) -> Any:
    """Take the money."""
    await simulated(ctx, ctx.input.simulate)
    if ctx.input.simulate == "decline":
        return StepResponse.permanent_failure("the card was declined", code="DECLINED")
    return {"chargeId": stable_id("ch", ctx)}


async def refund_payment(ctx: StepContext[Order], charged: dict[str, str]) -> None:
    """Give it back."""
    ctx.log.info("refunded", charge=charged["chargeId"])


async def send_confirmation(ctx: StepContext[Order]) -> None:
    """A mail; when it fails, that is on record and the order stands."""
    if ctx.input.simulate == "no-mail":
        raise RuntimeError("the mail server is down")
    ctx.log.info("confirmation sent", to=ctx.input.email, charge=ctx.get("chargeId"))


async def track_analytics(ctx: StepContext[Order]) -> None:
    """Count the order."""
    ctx.log.info("counted", total=ctx.input.total, trace_id=ctx.trace_id)


async def alert(ctx: JobContext[dict[str, Any]], told: dict[str, Any]) -> None:
    """Told of each order that has failed."""
    ctx.log.warning("an order has failed", failure=told["failure"])


create_order = steps(
    "create-order",
    [
        step("reserve-inventory", reserve_inventory, release_inventory),
        parallel(
            "validate",
            [
                step("check-inventory", check_inventory, nothing_to_undo=True),
                step("verify-payment", verify_payment, nothing_to_undo=True),
            ],
        ),
        step("charge-payment", charge_payment, refund_payment, retry=retry(3, "200ms", backoff=2)),
        step("send-confirmation", send_confirmation, background=True, retry=retry(2, "200ms")),
        step("track-analytics", track_analytics, background=True),
    ],
    input=Order,
    on_failed=alert,
    description="Take an order, charge it, and tell those who want to know.",
)
