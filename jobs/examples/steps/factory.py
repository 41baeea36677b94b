"""The same steps with other services for each request: who asks decides whose data they work on.

``tenant=`` says where the input names its tenant, ``providers.for_tenant`` what is other for that
tenant, in the runs of its steps as in their undos; one that nobody declared is refused. Nothing has
to be built for a request.

    snorri start TenantOrder '{"tenant":"acme","customer":"c-1","amount":100}' --key o-1 --wait
    snorri start TenantOrder '{"tenant":"globex","customer":"c-1","amount":-1}' --key o-2 --wait
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from jobs import PermanentFailure, StepContext
from jobs.examples.simulation import stable_id
from jobs.examples.steps.services import Items, providers
from sagas import step, steps

__all__ = ["providers", "tenant_order"]


class TenantOrder(Struct):
    """An order of a customer of a tenant; an amount below zero is refused."""

    tenant: str
    customer: str
    amount: int


async def create_order(ctx: StepContext[TenantOrder], *, items: Items) -> dict[str, str]:
    """Write the order down in the schema of the tenant."""
    order = stable_id("ord", ctx)
    items.put("orders", order, customer=ctx.input.customer, status="pending")
    return {"orderId": order, "schema": items.access.schema}


async def delete_order(
    ctx: StepContext[TenantOrder], made: dict[str, Any], *, items: Items
) -> None:
    """Delete it there again."""
    items.delete("orders", made["orderId"])


async def process_payment(ctx: StepContext[TenantOrder], *, items: Items) -> dict[str, str]:
    """Note the payment and close the order."""
    if ctx.input.amount < 0:
        raise PermanentFailure("an amount can't be below zero")
    payment = stable_id("pay", ctx)
    items.put("payments", payment, order=ctx.get("orderId"), amount=ctx.input.amount)
    items.put("orders", ctx.get("orderId"), status="paid")
    return {"paymentId": payment, "paidBy": items.access.user}


async def refund_payment(
    ctx: StepContext[TenantOrder], made: dict[str, Any], *, items: Items
) -> None:
    """Keep the payment and say that it was given back."""
    items.put("payments", made["paymentId"], status="refunded")


tenant_order = steps(
    "TenantOrder",
    [
        step("create", create_order, delete_order),
        step("pay", process_payment, refund_payment),
    ],
    input=TenantOrder,
    tenant="tenant",
    description="An order in the schema of its tenant.",
)
