"""Book and cancel a flight, a hotel and a car. Shows jobs that share a payload and their work."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from jobs import JobContext, failure, job, success
from jobs.examples.simulation import simulated, stable_id


class Booking(Struct):
    """What belongs to a trip; ``bookingId`` names what to cancel."""

    tripId: str
    bookingId: str = ""
    simulate: str = ""


async def _book(ctx: JobContext[Booking], booking: Booking, what: str) -> Any:
    await simulated(ctx, booking.simulate)
    if booking.simulate == "sold-out":
        return failure(f"no {what} left", {"tripId": booking.tripId})
    return success({"tripId": booking.tripId, "bookingId": stable_id(what, ctx)})


async def _cancel(ctx: JobContext[Booking], booking: Booking) -> Any:
    await simulated(ctx, booking.simulate)
    return success({"tripId": booking.tripId, "bookingId": booking.bookingId})


@job("book-flight", on_success="FlightBooked", on_failure="FlightFailed")
async def book_flight(ctx: JobContext[Booking], booking: Booking) -> Any:
    """Book a flight."""
    return await _book(ctx, booking, "flight")


@job("book-hotel", on_success="HotelBooked", on_failure="HotelFailed")
async def book_hotel(ctx: JobContext[Booking], booking: Booking) -> Any:
    """Book a room."""
    return await _book(ctx, booking, "hotel")


@job("book-car", on_success="CarBooked", on_failure="CarFailed")
async def book_car(ctx: JobContext[Booking], booking: Booking) -> Any:
    """Book a car."""
    return await _book(ctx, booking, "car")


@job("cancel-flight", on_success="FlightCancelled")
async def cancel_flight(ctx: JobContext[Booking], booking: Booking) -> Any:
    """Cancel a flight."""
    return await _cancel(ctx, booking)


@job("cancel-hotel", on_success="HotelCancelled")
async def cancel_hotel(ctx: JobContext[Booking], booking: Booking) -> Any:
    """Cancel a room."""
    return await _cancel(ctx, booking)


@job("cancel-car", on_success="CarCancelled")
async def cancel_car(ctx: JobContext[Booking], booking: Booking) -> Any:
    """Cancel a car."""
    return await _cancel(ctx, booking)
