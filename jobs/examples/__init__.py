"""Jobs for the sample sagas: ordinary user code, made to be tried out and to fail on demand.

Nothing here talks to the outside. A payload may carry ``simulate`` to choose an outcome:

    decline     the payment provider says no             (process-payment, capture-payment)
    no-stock    the warehouse has none                   (reserve-inventory)
    sold-out    nothing is left to book                  (book-flight, book-hotel, book-car)
    flaky       the first two attempts raise, the third works
    slow        the work takes some seconds
    broken      every attempt raises: the command ends as a dead letter

Ids are made from the idempotency key of the command, so a repeated attempt gives the same one, as
a payment provider would.
"""

from __future__ import annotations

from jobs.examples.fulfilment import create_shipment, reserve_inventory
from jobs.examples.payments import capture_payment, process_payment, refund_payment
from jobs.examples.people import build_report, create_user_settings, send_reminder
from jobs.examples.travel import (
    book_car,
    book_flight,
    book_hotel,
    cancel_car,
    cancel_flight,
    cancel_hotel,
)

jobs = (
    process_payment,
    capture_payment,
    refund_payment,
    reserve_inventory,
    create_shipment,
    create_user_settings,
    send_reminder,
    build_report,
    book_flight,
    book_hotel,
    book_car,
    cancel_flight,
    cancel_hotel,
    cancel_car,
)
