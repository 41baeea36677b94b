"""Sample sagas: ordinary user code, each showing something else. Their jobs: ``jobs.examples``.

| saga | starts with | shows |
|---|---|---|
| CheckoutSaga | OrderCreated | the fluent chain, typed state, compensation |
| order-saga | OrderPlaced | decorators, dicts, an undo that ends the instance |
| user-settings-saga | UserRegistered | the smallest useful saga |
| CartReminderSaga | CartChanged | timers |
| NightlyReportSaga | each night | a cron schedule |
| TripSaga, FlightSaga, HotelSaga, CarSaga | TripRequested | children |
"""

from __future__ import annotations

from sagas import Registry
from sagas.examples.checkout import checkout
from sagas.examples.nightly import nightly
from sagas.examples.order import order
from sagas.examples.reminder import reminder
from sagas.examples.trip import car, flight, hotel, trip
from sagas.examples.user_settings import user_settings

definitions = (checkout, order, user_settings, reminder, nightly, trip, flight, hotel, car)


def registry() -> Registry:
    """All sample sagas, ready for an engine."""
    return Registry(definitions)
