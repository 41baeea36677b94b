"""The warehouse: reserve goods, send them. Shows an answer of "no" that is no error."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from jobs import JobContext, failure, job, success
from jobs.examples.simulation import simulated, stable_id


class Reservation(Struct):
    """The goods of an order; what an item looks like is the shop's business."""

    orderId: str
    items: list[Any] = []
    simulate: str = ""


class Shipment(Struct):
    """The order to send."""

    orderId: str
    simulate: str = ""


@job("reserve-inventory", on_success="InventoryReserved", on_failure="InventoryUnavailable")
async def reserve_inventory(ctx: JobContext[Reservation], wanted: Reservation) -> Any:
    """Put the goods of an order aside."""
    await simulated(ctx, wanted.simulate)
    if wanted.simulate == "no-stock":
        return failure("out of stock", {"orderId": wanted.orderId})
    return success({"orderId": wanted.orderId, "reservationId": stable_id("rsv", ctx)})


@job("create-shipment", on_success="ShipmentCreated", on_failure="ShipmentFailed")
async def create_shipment(ctx: JobContext[Shipment], shipment: Shipment) -> Any:
    """Hand the goods to the carrier."""
    await simulated(ctx, shipment.simulate)
    if shipment.simulate == "no-carrier":
        return failure("no carrier goes there", {"orderId": shipment.orderId})
    return success({"orderId": shipment.orderId, "trackingNumber": stable_id("trk", ctx)})
