"""An order with decorators and plain dicts: capture the payment, await fulfilment, refund if not.

Shows handlers as decorators, a dict as state, and an undo that ends the instance by itself: the
refund is sent and the order has failed in one transition. The refund is carried out after that; if
it fails for good, the instance is parked.

| job | payload | answers |
|---|---|---|
| capture-payment | orderId, amount | PaymentCaptured {transactionId}, PaymentFailed {reason} |
| refund-payment | orderId, transactionId | PaymentRefunded {refundId} |

Fulfilment is somebody else's: it publishes OrderFulfilled or FulfillmentFailed with the orderId.
"""

from __future__ import annotations

from typing import Any

from sagas import Effects, Message, SagaHandle, compensate, complete, define_saga, fail, send

Order = SagaHandle[dict[str, Any]]

_saga = (
    define_saga("order-saga")
    .name("Order")
    .description("Captures a payment and refunds it when the order can't be fulfilled.")
    .topic("shop")
    .durability("t1")
    .state({"status": "new"})
    .correlate("orderId")
)


@_saga.on("OrderPlaced")
def placed(saga: Order, message: Message[dict[str, Any]]) -> Effects:
    """Take the money that was reserved."""
    order = message.payload
    saga.state = {"status": "awaiting-payment", "orderId": order["orderId"]}
    wanted = {"orderId": order["orderId"], "amount": order.get("amount", 0)}
    if "simulate" in order:
        wanted["simulate"] = order["simulate"]
    return send("capture-payment", wanted)


@_saga.on("PaymentCaptured")
def captured(saga: Order, message: Message[dict[str, Any]]) -> Effects:
    """Wait for fulfilment."""
    saga.state["status"] = "awaiting-fulfillment"
    saga.state["transactionId"] = message.payload["transactionId"]


@_saga.on("PaymentFailed")
def not_captured(saga: Order, message: Message[dict[str, Any]]) -> Effects:
    """Nothing was taken."""
    saga.state["status"] = "unpaid"
    return fail(f"payment failed: {message.payload['reason']}")


@_saga.on("OrderFulfilled")
def fulfilled(saga: Order) -> Effects:
    """Everything went well."""
    saga.state["status"] = "completed"
    return complete({"orderId": saga.state["orderId"]})


@_saga.on("FulfillmentFailed")
def unfulfilled(saga: Order, message: Message[dict[str, Any]]) -> Effects:
    """Paid but not fulfilled: undo. Before the payment there is nothing to undo."""
    reason = message.payload.get("reason", "no reason given")
    if saga.state["status"] != "awaiting-fulfillment":
        return fail(f"unfulfilled: {reason}")
    return compensate({"type": "FulfillmentFailed", "payload": message.payload}, reason)


@_saga.compensate("FulfillmentFailed")
def refund(saga: Order, message: Message[dict[str, Any]]) -> Effects:
    """Give the money back and say that the order has failed."""
    saga.state["status"] = "refunded"
    payment = {
        "orderId": saga.state["orderId"],
        "transactionId": saga.state.get("transactionId", ""),
    }
    return [send("refund-payment", payment), fail(f"unfulfilled: {message.reason}")]


order = _saga.build()
