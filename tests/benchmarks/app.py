"""What is measured: the sample checkout, and one of a single transition for the engine alone."""

from __future__ import annotations

from msgspec import Struct

from jobs import JobContext, JobRegistry, job, success
from sagas import Message, Registry, SagaHandle, complete, define_saga, send
from sagas.effects import Effect


class Order(Struct):
    """The payload of OrderCreated."""

    orderId: str
    customerId: str = ""
    items: list[dict[str, object]] = []
    total: int = 0


class CheckoutState(Struct, kw_only=True):
    """What a checkout knows."""

    orderId: str = ""
    customerId: str = ""
    status: str = "pending"
    items: list[dict[str, object]] = []
    total: int = 0
    transactionId: str = ""
    reservationId: str = ""


class Paid(Struct):
    """The payload of PaymentCompleted."""

    transactionId: str


class Reserved(Struct):
    """The payload of InventoryReserved."""

    reservationId: str


def order_created(saga: SagaHandle[CheckoutState], event: Message[Order]) -> list[Effect]:
    """Charge."""
    order = event.payload
    saga.state = CheckoutState(
        orderId=order.orderId,
        customerId=order.customerId,
        items=order.items,
        total=order.total,
        status="payment_pending",
    )
    return [send("process-payment", {"orderId": order.orderId, "amount": order.total})]


def payment_completed(saga: SagaHandle[CheckoutState], event: Message[Paid]) -> list[Effect]:
    """Reserve."""
    saga.state.status = "paid"
    saga.state.transactionId = event.payload.transactionId
    return [send("reserve-inventory", {"orderId": saga.state.orderId, "items": saga.state.items})]


def inventory_reserved(saga: SagaHandle[CheckoutState], event: Message[Reserved]) -> list[Effect]:
    """Ship."""
    saga.state.status = "inventory_reserved"
    saga.state.reservationId = event.payload.reservationId
    return [send("create-shipment", {"orderId": saga.state.orderId})]


def shipment_created(saga: SagaHandle[CheckoutState]) -> list[Effect]:
    """Done."""
    saga.state.status = "completed"
    return [complete({"transactionId": saga.state.transactionId})]


def registry() -> Registry:
    """The measured sagas."""
    return Registry(
        [
            define_saga("CheckoutSaga")
            .state(CheckoutState())
            .correlate("orderId")
            .on("OrderCreated", order_created)
            .on("PaymentCompleted", payment_completed)
            .on("InventoryReserved", inventory_reserved)
            .on("ShipmentCreated", shipment_created)
            .build()
        ]
    )


def jobs() -> JobRegistry:
    """Jobs that answer at once: what is measured is the machinery."""

    @job("process-payment", on_success="PaymentCompleted", concurrency=64)
    async def process_payment(ctx: JobContext, payload: dict[str, object]) -> object:
        return success({"transactionId": f"txn-{ctx.command_id}"})

    @job("reserve-inventory", on_success="InventoryReserved", concurrency=64)
    async def reserve_inventory(ctx: JobContext, payload: dict[str, object]) -> object:
        return success({"reservationId": f"res-{ctx.command_id}"})

    @job("create-shipment", on_success="ShipmentCreated", concurrency=64)
    async def create_shipment(ctx: JobContext, payload: dict[str, object]) -> object:
        return success({"trackingNumber": f"trk-{ctx.command_id}"})

    return JobRegistry([process_payment, reserve_inventory, create_shipment])


def order(key: str) -> bytes:
    """The payload of an order."""
    return (
        b'{"orderId":"%s","customerId":"c-7","items":[{"productId":"p-1","quantity":2}],"total":4999}'
        % key.encode()
    )
