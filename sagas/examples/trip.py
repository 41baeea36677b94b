"""A trip of flight, hotel and car: all of them or none. Shows children and undoing them in reverse.

TripSaga spawns one child for each booking, and each child runs its own job. A child's end comes
back as a message: ``FlightSaga.completed``, ``FlightSaga.failed`` … When one fails, the trip waits
until the others are over, then cancels what was booked, last booking first, and ends as
``compensated`` when the last cancellation is confirmed.

| job | payload | answers |
|---|---|---|
| book-flight, -hotel, -car | tripId, simulate | FlightBooked {bookingId}, FlightFailed {reason} … |
| cancel-flight, -hotel, -car | tripId, bookingId | FlightCancelled … |

Try ``"simulate": {"hotel": "sold-out"}`` in TripRequested.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from sagas import (
    Effects,
    Message,
    SagaDefinition,
    SagaHandle,
    compensate,
    complete,
    define_saga,
    fail,
    send,
    spawn,
)
from sagas.examples.payloads import Booked, BookingRequested, Failed, TripRequested

PARTS = ("flight", "hotel", "car")


class BookingState(Struct):
    """One booking of a trip."""

    tripId: str = ""
    bookingId: str = ""


def booking_saga(part: str) -> SagaDefinition:
    """The saga of one kind of booking: ask the job, end as it answers."""

    def requested(saga: SagaHandle[BookingState], message: Message[BookingRequested]) -> Effects:
        saga.state.tripId = message.payload.tripId
        wanted = {"tripId": message.payload.tripId}
        if message.payload.simulate:
            wanted["simulate"] = message.payload.simulate
        return send(f"book-{part}", wanted)

    def booked(saga: SagaHandle[BookingState], message: Message[Booked]) -> Effects:
        saga.state.bookingId = message.payload.bookingId
        return complete({"bookingId": message.payload.bookingId})

    def refused(saga: SagaHandle[BookingState], message: Message[Failed]) -> Effects:
        return fail(message.payload.reason)

    name = part.title()
    return (
        define_saga(f"{name}Saga")
        .name(f"{name} booking")
        .description(f"Books the {part} of a trip.")
        .topic("travel")
        .state(BookingState())
        .correlate("tripId")
        .on(f"{name}Requested", requested)
        .on(f"{name}Booked", booked)
        .on(f"{name}Failed", refused)
        .build()
    )


flight, hotel, car = (booking_saga(part) for part in PARTS)
BOOKINGS = {"flight": flight, "hotel": hotel, "car": car}


class PartBooked(Struct):
    """A part of the trip that is booked."""

    part: str
    bookingId: str


class TripState(Struct):
    """What was booked, in that order, what is still out, and what went wrong first."""

    tripId: str = ""
    booked: list[PartBooked] = []
    waiting: list[str] = []
    reason: str = ""


class Ended(Struct):
    """What a child tells at its end; ``result`` is what it completed with."""

    saga: str
    key: str
    result: Any = None
    reason: str = ""


Trip = SagaHandle[TripState]


def trip_requested(saga: Trip, message: Message[TripRequested]) -> Effects:
    """Start all bookings at once, each under a key of its own."""
    trip = message.payload
    saga.state.tripId = trip.tripId
    saga.state.waiting = list(PARTS)
    return [
        spawn(
            BOOKINGS[part],
            {"tripId": trip.tripId, "simulate": trip.simulate.get(part, "")},
            key=f"{trip.tripId}-{part}",
        )
        for part in PARTS
    ]


def part_booked(saga: Trip, message: Message[Ended]) -> Effects:
    """One of them is booked."""
    part = _over(saga, message)
    saga.state.booked.append(PartBooked(part, message.payload.result["bookingId"]))
    return _next(saga)


def part_failed(saga: Trip, message: Message[Ended]) -> Effects:
    """One of them can't be had; the others may still be on their way."""
    part = _over(saga, message)
    saga.state.reason = saga.state.reason or f"{part}: {message.payload.reason}"
    return _next(saga)


def _over(saga: Trip, message: Message[Ended]) -> str:
    part = message.payload.key.rpartition("-")[2]
    saga.state.waiting.remove(part)
    return part


def _next(saga: Trip) -> Effects:
    if saga.state.waiting:
        return None
    if saga.state.reason:
        return compensate({"type": "CancelTrip", "payload": None}, saga.state.reason)
    return complete({one.part: one.bookingId for one in saga.state.booked})


def cancel_trip(saga: Trip) -> Effects:
    """Undo: cancel what was booked, last booking first."""
    return [
        send(f"cancel-{one.part}", {"tripId": saga.state.tripId, "bookingId": one.bookingId})
        for one in reversed(saga.state.booked)
    ]


trip_chain = (
    define_saga("TripSaga")
    .name("Trip")
    .description("Books flight, hotel and car together; cancels the others when one can't be had.")
    .topic("travel")
    .retention("90d")
    .state(TripState())
    .correlate("tripId")
    .on("TripRequested", trip_requested)
    .compensate("CancelTrip", cancel_trip)
)
for one in (flight, hotel, car):
    trip_chain.on(f"{one.id}.completed", part_booked)
    for how in ("failed", "cancelled", "compensated"):
        trip_chain.on(f"{one.id}.{how}", part_failed)
trip = trip_chain.build()
