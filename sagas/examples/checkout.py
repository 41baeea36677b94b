"""Checkout: from a cart to a parcel, with the way back. Shows the fluent chain and typed state.

    OrderCreated -> process-payment -> reserve-inventory -> create-shipment -> completed
                          | declined          | no stock            | no carrier
                          v                   +------- refund ------+
                      cancelled                          v
                                                     cancelled

A declined payment leaves nothing to undo: the order is cancelled at once. When the goods are
missing or can't be sent, the money has been taken already, so the saga compensates: the instance is
``compensating`` until the refund is confirmed, and only then ends as ``cancelled``. A refund that
fails for good parks the instance: somebody has to look. Both failures lead to the one undo, named
for what it does, so that the money can't be given back twice.

| job | payload | answers |
|---|---|---|
| process-payment | orderId, amount | PaymentCompleted {transactionId} or PaymentFailed {reason} |
| reserve-inventory | orderId, items | InventoryReserved or InventoryUnavailable {reason} |
| create-shipment | orderId | ShipmentCreated {trackingNumber} or ShipmentFailed {reason} |
| refund-payment | orderId, transactionId | PaymentRefunded {refundId} |

Try the ways with ``simulate`` in OrderCreated, which is passed to every job: "decline", "no-stock",
"no-carrier", "flaky", "slow", "broken".
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from sagas import (
    Effects,
    Message,
    SagaHandle,
    cancel,
    compensate,
    complete,
    define_saga,
    publish,
    send,
)
from sagas.examples.payloads import (
    Failed,
    InventoryReserved,
    OrderCreated,
    OrderItem,
    PaymentCompleted,
    ShipmentCreated,
)

OrderStatus = Literal[
    "pending",
    "payment_pending",
    "paid",
    "inventory_reserved",
    "completed",
    "refunding",
    "cancelled",
]


class CheckoutState(Struct):
    """What a checkout remembers; ``status`` is its own word, beside the instance's status."""

    orderId: str = ""
    customerId: str = ""
    status: OrderStatus = "pending"
    items: list[OrderItem] = []
    total: int = 0
    simulate: str = ""
    transactionId: str = ""
    trackingNumber: str = ""
    cancelReason: str = ""


Checkout = SagaHandle[CheckoutState]


def order_created(saga: Checkout, message: Message[OrderCreated]) -> Effects:
    """Charge the customer."""
    order = message.payload
    saga.state = CheckoutState(
        orderId=order.orderId,
        customerId=order.customerId,
        status="payment_pending",
        items=order.items,
        total=order.total,
        simulate=order.simulate,
    )
    return [send("process-payment", {**_order(saga), "amount": order.total})]


def payment_completed(saga: Checkout, message: Message[PaymentCompleted]) -> Effects:
    """Put the goods aside."""
    if saga.state.status != "payment_pending":
        return []
    saga.state.status = "paid"
    saga.state.transactionId = message.payload.transactionId
    return [send("reserve-inventory", {**_order(saga), "items": saga.state.items})]


def payment_failed(saga: Checkout, message: Message[Failed]) -> Effects:
    """Nothing was taken, so there is nothing to undo."""
    if saga.state.status != "payment_pending":
        return []
    return _cancelled(saga, f"payment failed: {message.payload.reason}")


def inventory_reserved(saga: Checkout, message: Message[InventoryReserved]) -> Effects:
    """Have it sent."""
    if saga.state.status != "paid":
        return []
    saga.state.status = "inventory_reserved"
    return [send("create-shipment", _order(saga))]


def shipment_created(saga: Checkout, message: Message[ShipmentCreated]) -> Effects:
    """Done."""
    if saga.state.status != "inventory_reserved":
        return []
    saga.state.status = "completed"
    saga.state.trackingNumber = message.payload.trackingNumber
    return [
        complete(
            {
                "transactionId": saga.state.transactionId,
                "trackingNumber": saga.state.trackingNumber,
            }
        )
    ]


def undeliverable(saga: Checkout, message: Message[Failed]) -> Effects:
    """The money has been taken and the goods won't come: ask for the way back."""
    if saga.state.status not in ("paid", "inventory_reserved"):
        return []
    return [
        compensate({"type": "RefundPayment", "payload": message.payload}, message.payload.reason)
    ]


def refund_payment(saga: Checkout, message: Message[Failed | None]) -> Effects:
    """Undo: give the money back. An operator may ask for it too, without a payload."""
    if not saga.state.transactionId:
        return _cancelled(saga, message.reason)
    saga.state.status = "refunding"
    saga.state.cancelReason = message.reason
    return [send("refund-payment", {**_order(saga), "transactionId": saga.state.transactionId})]


def payment_refunded(saga: Checkout) -> Effects:
    """The money is back: now the order is cancelled."""
    if saga.state.status != "refunding":
        return []
    return _cancelled(saga, saga.state.cancelReason)


def progress(state: CheckoutState) -> dict[str, object]:
    """Query: where the order stands."""
    return {"status": state.status, "total": state.total, "trackingNumber": state.trackingNumber}


def _order(saga: Checkout) -> dict[str, object]:
    order: dict[str, object] = {"orderId": saga.state.orderId}
    return {**order, "simulate": saga.state.simulate} if saga.state.simulate else order


def _cancelled(saga: Checkout, reason: str) -> Effects:
    saga.state.status = "cancelled"
    saga.state.cancelReason = reason
    news = {"orderId": saga.state.orderId, "reason": reason}
    return [publish("OrderCancelled", news), cancel(reason)]


checkout = (
    define_saga("CheckoutSaga")
    .name("Checkout")
    .description(
        "Payment, stock and shipment of an order; refunds what it took when it can't go on."
    )
    .topic("shop")
    .tags("orders", "payments")
    .retention("90d")
    .state(CheckoutState())
    .correlate("orderId")
    .on("OrderCreated", order_created)
    .on("PaymentCompleted", payment_completed)
    .on("PaymentFailed", payment_failed)
    .on("InventoryReserved", inventory_reserved)
    .on("InventoryUnavailable", undeliverable)
    .on("ShipmentCreated", shipment_created)
    .on("ShipmentFailed", undeliverable)
    .on("PaymentRefunded", payment_refunded)
    .compensate("RefundPayment", refund_payment)
    .on_query("progress", progress)
    .build()
)
