"""What the events and answers of the sample sagas carry; amounts in the smallest unit."""

from __future__ import annotations

from msgspec import Struct


class OrderItem(Struct):
    """One line of an order."""

    productId: str
    quantity: int = 1


class OrderCreated(Struct):
    """A cart became an order; ``simulate`` is passed to the jobs, to try out what can go wrong."""

    orderId: str
    customerId: str = ""
    items: list[OrderItem] = []
    total: int = 0
    simulate: str = ""


class PaymentCompleted(Struct):
    """The money was taken."""

    orderId: str
    transactionId: str


class InventoryReserved(Struct):
    """The goods are put aside."""

    orderId: str
    reservationId: str = ""


class ShipmentCreated(Struct):
    """The parcel is on its way."""

    orderId: str
    trackingNumber: str = ""


class Failed(Struct):
    """A job said no; ``reason`` is for people."""

    reason: str = "no reason given"
    orderId: str = ""


class TripRequested(Struct):
    """Somebody wants to travel; ``simulate`` names the bookings that shall be sold out."""

    tripId: str
    simulate: dict[str, str] = {}


class BookingRequested(Struct):
    """What a trip asks of one of its bookings."""

    tripId: str
    simulate: str = ""


class Booked(Struct):
    """A booking was made."""

    tripId: str
    bookingId: str
