"""What the golden histories tell: each sample saga, on each way through it that matters.

A story is a function that plays one instance; its name is that of its file. Stories may be added
and may grow at their end; what is recorded of them is not changed by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType

from jobs.examples.shop import checkout as shop_checkout
from jobs.examples.shop import import_people
from jobs.examples.steps.approval import approval
from jobs.examples.steps.checkout import checkout as checkout_flow
from jobs.examples.steps.composed import notification, order_workflow, payment
from jobs.examples.steps.container import place_order
from jobs.examples.steps.error_handling import import_feed, read_feed
from jobs.examples.steps.factory import tenant_order
from jobs.examples.steps.order import create_order
from jobs.examples.steps.registration import registration
from jobs.examples.steps.strictness import upload_album
from jobs.examples.steps.wallet import (
    Deposit,
    Transfer,
    Withdrawal,
    buy_ticket,
    deposit,
    transfer,
    wallet,
    withdraw,
)
from sagas import SagaDefinition
from sagas.examples.checkout import checkout
from sagas.examples.nightly import nightly
from sagas.examples.order import order
from sagas.examples.reminder import reminder
from sagas.examples.trip import car, flight, hotel, trip
from sagas.examples.user_settings import user_settings
from sagas.testing import Scenario, given

ORDER = {"orderId": "o-1", "customerId": "c-7", "items": [{"productId": "p-1"}], "total": 4999}
PAID = {"orderId": "o-1", "transactionId": "tx-1"}

Story = Callable[[], Scenario]


def _undone(run: Scenario) -> Scenario:
    """Let all undos of a run end well."""
    while run.instance.status == "compensating":
        (id,) = [one.step for one in run.instance.commands.values() if one.step]
        run.when_step(id)
    return run


# --- sagas by messages


def _paid() -> Scenario:
    run = given(checkout).when("OrderCreated", ORDER, id="m-1")
    return run.when_answer("process-payment", "PaymentCompleted", PAID)


def _checkout_completed() -> Scenario:
    run = _paid().when_answer("reserve-inventory", "InventoryReserved", {"orderId": "o-1"})
    sent = {"orderId": "o-1", "trackingNumber": "trk-1"}
    return run.when_answer("create-shipment", "ShipmentCreated", sent)


def _checkout_declined() -> Scenario:
    run = given(checkout).when("OrderCreated", {**ORDER, "simulate": "decline"})
    return run.when_failed("process-payment", "no funds", type="PaymentFailed", orderId="o-1")


def _checkout_refunded() -> Scenario:
    run = _paid().when_failed("reserve-inventory", "none left", type="InventoryUnavailable")
    return run.when_answer("refund-payment", "PaymentRefunded", {"orderId": "o-1"})


def _checkout_no_carrier() -> Scenario:
    run = _paid().when_answer("reserve-inventory", "InventoryReserved", {"orderId": "o-1"})
    run.when_failed("create-shipment", "no carrier", type="ShipmentFailed")
    run.when_failed("refund-payment", "the bank is closed", type="RefundFailed")
    run.when("InventoryReserved", {"orderId": "o-1"})  # waits behind the failed undo
    run.action("retry", by="ann", reason="open again")
    return run.when_answer("refund-payment", "PaymentRefunded")


def _checkout_by_operator() -> Scenario:
    run = _checkout_completed()
    plan = run.plan("compensate", reason="returned")
    run.action("compensate", by="ann", reason="returned", plan=plan.hash)
    return run.when_answer("refund-payment", "PaymentRefunded")


def _checkout_paused() -> Scenario:
    run = given(checkout).when("OrderCreated", ORDER).action("pause", by="ann")
    run.when_answer("process-payment", "PaymentCompleted", PAID)
    run.action("resume", by="ann").action("patch", by="ann", patch={"total": 4000})
    return run.action("cancel", by="ann", reason="the customer called")


def _captured() -> Scenario:
    run = given(order).when("OrderPlaced", {"orderId": "o-1", "amount": 10})
    return run.when_answer("capture-payment", "PaymentCaptured", {"transactionId": "cap-1"})


def _order_fulfilled() -> Scenario:
    return _captured().when("OrderFulfilled", {"orderId": "o-1"})


def _order_refunded_late() -> Scenario:
    run = _captured().when("FulfillmentFailed", {"orderId": "o-1", "reason": "lost"})
    run.when_failed("refund-payment", "no such account")
    return run.action("skip", by="ann", reason="paid in cash", by_hand=True)


def _order_unpaid() -> Scenario:
    run = given(order).when("OrderPlaced", {"orderId": "o-1", "simulate": "decline"})
    return run.when_failed("capture-payment", "no", type="PaymentFailed")


def _reminder_sent() -> Scenario:
    run = given(reminder).when("CartChanged", {"cartId": "k-7"}).advance("20m")
    run.when("CartChanged", {"cartId": "k-7"}).advance("30m")
    return run.when_answer("send-reminder", "ReminderSent")


def _reminder_in_time() -> Scenario:
    return (
        given(reminder)
        .when("CartChanged", {"cartId": "k-7"})
        .when("CartCheckedOut", {"cartId": "k-7"})
    )


def _reminder_unwanted() -> Scenario:
    return given(reminder).when("CartChanged", {"cartId": "k-7"}).signal("Unsubscribe", by="bob")


def _nightly_report() -> Scenario:
    return given(nightly).when_tick().when_answer("build-report", "ReportBuilt", {"rows": 120})


def _trip_begun() -> Scenario:
    return given(trip).when("TripRequested", {"tripId": "t-1", "simulate": {"car": "sold-out"}})


def _trip_completed() -> Scenario:
    run = _trip_begun()
    for saga in ("HotelSaga", "FlightSaga", "CarSaga"):
        run.child_ended(saga, result={"bookingId": f"b-{saga}"})
    return run


def _trip_undone() -> Scenario:
    run = _trip_begun().child_ended("HotelSaga", result={"bookingId": "h"})
    run.child_ended("CarSaga", status="failed", reason="no car left")
    run.child_ended("FlightSaga", result={"bookingId": "f"})
    run.when_answer("cancel-flight", "FlightCancelled")
    return run.when_answer("cancel-hotel", "HotelCancelled")


def _part(definition: SagaDefinition, name: str) -> Scenario:
    asked = {"tripId": "t-1", "simulate": ""}
    return given(definition, key=f"t-1-{name}").when_spawned(asked, parent=("TripSaga", "t-1"))


def _trip_flight() -> Scenario:
    made = {"tripId": "t-1", "bookingId": "f"}
    return _part(flight, "flight").when_answer("book-flight", "FlightBooked", made)


def _trip_hotel() -> Scenario:
    made = {"tripId": "t-1", "bookingId": "h"}
    return _part(hotel, "hotel").when_answer("book-hotel", "HotelBooked", made)


def _trip_car() -> Scenario:
    made = {"tripId": "t-1", "bookingId": "c"}
    return _part(car, "car").when_answer("book-car", "CarBooked", made)


def _trip_no_flight() -> Scenario:
    return _part(flight, "flight").when_failed("book-flight", "sold out", type="FlightFailed")


def _trip_no_hotel() -> Scenario:
    return _part(hotel, "hotel").when_failed("book-hotel", "sold out", type="HotelFailed")


def _trip_no_car() -> Scenario:
    run = given(car).when("CarRequested", {"tripId": "t-1", "simulate": "sold-out"})
    return run.when_failed("book-car", "sold out", type="CarFailed")


def _user_settings() -> Scenario:
    run = given(user_settings).when("UserRegistered", {"userId": "u-1"})
    made = {"userId": "u-1", "theme": "light"}
    return run.when_answer("create-user-settings", "UserSettingsCreated", made)


# --- steps, workflows, entities


def _flow_completed() -> Scenario:
    run = given(checkout_flow).when("CheckoutWorkflow", {"productId": "tea", "amount": 5})
    run.when_step("ReserveInventory", {"reservationId": "r"})
    run.when_step("ChargePayment", {"paymentId": "p"})
    return run.when_step("CreateShipment", {"trackingNumber": "t"})


def _flow_undone() -> Scenario:
    run = given(checkout_flow).when("CheckoutWorkflow", {"productId": "tea"})
    run.when_step("ReserveInventory", {"reservationId": "r"})
    run.when_step("ChargePayment", {"paymentId": "p"})
    run.when_step_failed("CreateShipment", "no carrier").when_step_failed("ChargePayment", "bank")
    run.action("retry", by="ann")
    return _undone(run)


def _registration_done() -> Scenario:
    run = given(registration).when("UserRegistration", {"email": "a@b", "name": "Ada"})
    run.when_step("ValidateRegistration", {"valid": True})
    run.when_step("CreateAccount", {"userId": "u"}, data={"userId": "u"})
    return run.when_step("ReserveName", {"name": "Ada"}).when_step_failed("SendWelcomeMail")


def _registration_refused() -> Scenario:
    run = given(registration).when("UserRegistration", {"email": "", "name": "Ada"})
    return run.when_step_failed("ValidateRegistration", "no address", code="BAD_EMAIL")


def _composed_order() -> Scenario:
    run = given(order_workflow).when("OrderWorkflow", {"total": 5})
    run.when_step("CreateOrder", {"orderId": "o"})
    run.when_step("AuthorizePayment", {"authorizationId": "a"})
    return run.when_step("CapturePayment", {"paymentId": "p"})


def _composed_told() -> Scenario:
    run = _composed_order().when_step("ShipOrder", {"shipmentId": "s"})
    return run.child_ended("NotificationWorkflow", status="failed", reason="full")


def _composed_undone() -> Scenario:
    return _undone(_composed_order().when_step_failed("ShipOrder", "no carrier"))


def _composed_payment() -> Scenario:
    run = given(payment).when("PaymentWorkflow", {"orderId": "o", "amount": 5})
    run.when_step("AuthorizePayment", {"authorizationId": "a"})
    return run.when_step("CapturePayment", {"paymentId": "p"})


def _composed_notification() -> Scenario:
    run = given(notification).when("NotificationWorkflow", {"message": "sent"})
    (id,) = [one.step for one in run.instance.commands.values() if one.step]
    return run.when_step(id)


def _wallet_transfers() -> Scenario:
    run = given(wallet, key="ada").when("Wallet", deposit.request(Deposit(100)))
    run.when("Wallet", transfer.request(Transfer("bob", 30)))
    run.when("Wallet", withdraw.request(Withdrawal(5)))  # waits for the transfer
    run.when_step("DebitAccount", {"bookingId": "d"}).when_step("CreditAccount", {"bookingId": "c"})
    run.when("Wallet", withdraw.request(Withdrawal(101)))
    run.when("Wallet", transfer.request(Transfer("nobody", 30)))
    run.when_step("DebitAccount", {"bookingId": "e"}).when_step_failed("CreditAccount", "no owner")
    return run.when_step("DebitAccount")


def _wallet_ticket() -> Scenario:
    return given(buy_ticket).when("BuyTicket", {"owner": "ada", "price": 20})


def _album_broken() -> Scenario:
    run = given(upload_album).when("UploadAlbum", {"title": "Iceland", "photos": ["a", "broken"]})
    run.when_step("CreateAlbum", {"albumId": "x"})
    run.when_step_failed("UploadPhotos", "no picture", data={"uploaded": ["a"]})
    return _undone(run)


def _feed_discarded() -> Scenario:
    run = given(import_feed).when("ImportFeed", {"url": "u"})
    run.when_step("Download", {"entries": [1]}).when_step_failed("Parse", code="Invalid")
    return _undone(run)


def _feed_mirrored() -> Scenario:
    run = given(read_feed).when("ReadFeed", {"url": "u", "simulate": "x"})
    return run.when_step_failed("ReadFirst", code="UNREACHABLE").when_step("ReadMirror", ["old"])


def _container_order() -> Scenario:
    run = given(place_order).when("PlaceOrder", {"customer": "ada", "items": []})
    return _undone(run.when_step("InsertOrder", {"orderId": "o"}).when_step_failed("TakeStock"))


def _tenant_order() -> Scenario:
    run = given(tenant_order).when("TenantOrder", {"tenant": "acme", "customer": "c", "amount": -1})
    return _undone(run.when_step("create", {"orderId": "o"}).when_step_failed("pay"))


def _list_completed() -> Scenario:
    run = given(create_order).when("create-order", {"items": ["x"], "total": 5})
    run.when_step("reserve-inventory", {"reservationId": "r"})
    run.when_step("verify-payment", {"paymentVerified": True})
    run.when_step("check-inventory", {"stockAvailable": True})
    run.when_step("charge-payment", {"chargeId": "c"})
    return run.when_step_failed("send-confirmation", "the mail server is down")


def _list_undone() -> Scenario:
    run = given(create_order).when("create-order", {"items": ["x"]})
    run.when_step("reserve-inventory", {"reservationId": "r"})
    run.when_step_failed("check-inventory", "sold out").when_step("verify-payment")
    return _undone(run)


def _approval_given() -> Scenario:
    run = given(approval).when("ExpenseApproval", {"what": "a ticket", "amount": 9})
    run.when_step("SetAside", {"budgetId": "b"}).when_step("AskPerson").advance("2d")
    run.when_step("AskPerson#2").signal("decision", {"approved": True, "by": "ada"}, by="ada")
    return run.when_step("PayExpense", {"paymentId": "p"})


def _approval_timed_out() -> Scenario:
    run = given(approval).when("ExpenseApproval", {"what": "a ticket", "amount": 9})
    run.when_step("SetAside", {"budgetId": "b"}).when_step("AskPerson").advance("2d")
    return _undone(run.when_step("AskPerson#2").advance("2d"))


def _shop_undone() -> Scenario:
    run = given(shop_checkout).when("checkout", {"id": "o-1", "product": "tea", "total": 4999})
    run.when_step("open").when_step("charge-payment", {"chargeId": "c"})
    return _undone(run.when_step_failed("book", "no carrier goes there", code="NO_CARRIER"))


def _shop_import() -> Scenario:
    run = given(import_people).when("import-people", [{"name": "Ada"}, {"name": ""}])
    run.when_step("add-person", {"id": 1}).when_step_failed("add-person#2", "no name")
    return _undone(run)


_PARTS_OF_STORIES = (_undone, _paid, _captured, _trip_begun, _part, _composed_order)

STORIES: dict[str, Story] = {
    name.strip("_").replace("_", "-"): made
    for name, made in tuple(globals().items())
    if isinstance(made, FunctionType) and name.startswith("_") and made not in _PARTS_OF_STORIES
}
