"""Goal: each other sample saga does what its docstring shows.

Method: given / when / expect on one instance each; the trip also against its children.
"""

from __future__ import annotations

import pytest

from sagas import cancel, compensate, complete, fail, schedule, send, spawn
from sagas.examples import definitions, registry
from sagas.examples.nightly import nightly
from sagas.examples.order import order
from sagas.examples.reminder import reminder
from sagas.examples.trip import flight, trip
from sagas.examples.user_settings import user_settings
from sagas.testing import Scenario, given


def test_all_samples_are_registered_once() -> None:
    ids = [definition.id for definition in registry()]
    assert len(ids) == len(set(ids)) == len(definitions) == 9
    assert {"CheckoutSaga", "order-saga", "TripSaga"} <= set(ids)
    assert all(definition.description and definition.topic for definition in definitions)


def _captured() -> Scenario:
    return (
        given(order)
        .when("OrderPlaced", {"orderId": "o-1", "amount": 10})
        .expect(send("capture-payment", {"orderId": "o-1", "amount": 10}))
        .when_answer("capture-payment", "PaymentCaptured", {"transactionId": "cap-1"})
        .expect_state(status="awaiting-fulfillment")
    )


def test_an_order_is_fulfilled() -> None:
    _captured().when("OrderFulfilled", {"orderId": "o-1"}).expect_result({"orderId": "o-1"})


def test_an_unfulfilled_order_is_refunded_and_has_failed_at_once() -> None:
    scenario = _captured().when("FulfillmentFailed", {"orderId": "o-1", "reason": "lost"})
    told = {"type": "FulfillmentFailed", "payload": {"orderId": "o-1", "reason": "lost"}}
    scenario.expect(
        compensate(told, "lost"),
        send("refund-payment", {"orderId": "o-1", "transactionId": "cap-1"}),
        fail("unfulfilled: lost"),
    )
    scenario.expect_status("failed").expect_state(status="refunded")
    scenario.when_answer("refund-payment", "PaymentRefunded").expect_status("failed")
    assert scenario.instance.undo[0].status == "done"


def test_a_refund_that_fails_after_the_end_parks_and_goes_back_to_failed() -> None:
    scenario = _captured().when("FulfillmentFailed", {"orderId": "o-1"})
    scenario.when_failed("refund-payment", "no such account").expect_parked("no such account")
    scenario.action("skip", reason="paid in cash", by_hand=True).expect_status("failed")
    assert scenario.instance.undo[0].status == "by_hand"
    assert scenario.instance.error is not None
    assert scenario.instance.error.message == "unfulfilled: no reason given"


def test_an_order_that_was_never_paid_just_fails() -> None:
    scenario = given(order).when("OrderPlaced", {"orderId": "o-1", "simulate": "decline"})
    scenario.when_failed("capture-payment", "no", type="PaymentFailed").expect_status("failed")
    assert scenario.instance.undo == ()


def test_a_new_user_gets_settings() -> None:
    scenario = given(user_settings).when("UserRegistered", {"userId": "u-1"})
    scenario.expect(send("create-user-settings", {"userId": "u-1"}))
    made = {"userId": "u-1", "theme": "light"}
    scenario.when_answer("create-user-settings", "UserSettingsCreated", made)
    scenario.expect_status("completed").expect_result(made)


def test_settings_of_a_stranger_are_no_concern() -> None:
    given(user_settings).when("UserSettingsCreated", {"userId": "u-9"}).expect_ignored(
        "unknown_instance"
    )


def test_a_cart_left_alone_is_reminded_of() -> None:
    scenario = given(reminder).when("CartChanged", {"cartId": "k-7"})
    scenario.expect(schedule({"type": "CartAbandoned"}, "30m", id="patience"))
    scenario.advance("20m").when("CartChanged", {"cartId": "k-7"}).advance("29m").expect_nothing()
    scenario.advance("1m").expect(send("send-reminder", {"cartId": "k-7"}))
    scenario.when_answer("send-reminder", "ReminderSent").expect_result({"reminded": True})


def test_a_cart_checked_out_in_time_is_not() -> None:
    scenario = given(reminder).when("CartChanged", {"cartId": "k-7"})
    scenario.when("CartCheckedOut", {"cartId": "k-7"}).expect(complete()).expect_timers()
    scenario.advance("1d").expect_nothing().expect_state(outcome="checked out")


def test_a_customer_can_say_no() -> None:
    scenario = given(reminder).when("CartChanged", {"cartId": "k-7"}).signal("Unsubscribe")
    scenario.expect(cancel("the customer wants no reminders")).expect_status("cancelled")


def test_each_night_has_a_report() -> None:
    scenario = given(nightly).when_tick()
    scenario.expect(send("build-report", {"day": "2026-01-05"}))
    assert scenario.key == "2026-01-05T12:00:00Z"
    scenario.when_answer("build-report", "ReportBuilt", {"rows": 120})
    scenario.expect_result({"day": "2026-01-05", "rows": 120})
    scenario.when_tick().expect_ignored("timer_moot")


def _trip() -> Scenario:
    return given(trip).when("TripRequested", {"tripId": "t-1", "simulate": {"car": "sold-out"}})


def test_a_trip_books_all_parts_at_once() -> None:
    scenario = _trip().expect(
        spawn("FlightSaga", {"tripId": "t-1", "simulate": ""}, key="t-1-flight"),
        spawn("HotelSaga", {"tripId": "t-1", "simulate": ""}, key="t-1-hotel"),
        spawn("CarSaga", {"tripId": "t-1", "simulate": "sold-out"}, key="t-1-car"),
    )
    for saga in ("HotelSaga", "FlightSaga", "CarSaga"):
        scenario.child_ended(saga, result={"bookingId": f"b-{saga}"})
    scenario.expect_status("completed")
    scenario.expect_result({"car": "b-CarSaga", "flight": "b-FlightSaga", "hotel": "b-HotelSaga"})


def test_a_part_that_fails_cancels_the_others_in_reverse() -> None:
    scenario = _trip().child_ended("HotelSaga", result={"bookingId": "h"})
    scenario.child_ended("CarSaga", status="failed", reason="no car left").expect_nothing()
    scenario.child_ended("FlightSaga", result={"bookingId": "f"})
    scenario.expect(
        compensate({"type": "CancelTrip"}, "car: no car left"),
        send("cancel-flight", {"tripId": "t-1", "bookingId": "f"}),
        send("cancel-hotel", {"tripId": "t-1", "bookingId": "h"}),
    )
    scenario.when_answer("cancel-flight", "FlightCancelled").expect_status("compensating")
    scenario.when_answer("cancel-hotel", "HotelCancelled").expect_status("compensated")


@pytest.mark.parametrize(
    ("type", "status"), [("FlightBooked", "completed"), ("FlightFailed", "failed")]
)
def test_a_booking_tells_its_trip_how_it_ended(type: str, status: str) -> None:
    scenario = given(flight, key="t-1-flight")
    scenario.when_spawned({"tripId": "t-1"}, parent=("TripSaga", "t-1"))
    scenario.expect(send("book-flight", {"tripId": "t-1"}))
    scenario.when_answer("book-flight", type, {"tripId": "t-1", "bookingId": "b", "reason": "no"})
    assert scenario.instance.status == status
    assert f"FlightSaga.{status}" in str(scenario.instance.effects)
