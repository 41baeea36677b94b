"""Goal: the sample workflows, lists and entities decide what their docstrings say.

Method: given / when / expect on one instance each, without a broker; what their functions do is
tested on a real one in tests/integration.
"""

from __future__ import annotations

from importlib import import_module

import msgspec
import pytest

from jobs.examples import steps as package
from jobs.examples.steps import definitions
from jobs.examples.steps.approval import approval
from jobs.examples.steps.checkout import checkout
from jobs.examples.steps.composed import order_workflow
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
from sagas import SagaDefinition, complete
from sagas.effects import Publish, Send, Spawn
from sagas.programs.workflow_signals import EntityCall
from sagas.testing import Scenario, given
from server.loading import load_app


def _open(run: Scenario) -> list[str]:
    return [one.step for one in run.instance.commands.values() if one.step]


def _undoing(run: Scenario) -> list[str]:
    """Let all undos end well; the steps in the order of their undoing."""
    undone: list[str] = []
    while run.instance.status == "compensating":
        (id,) = _open(run)
        undone.append(id)
        run.when_step(id)
    return undone


def test_the_samples_are_one_app_and_each_module_is_one() -> None:
    app = load_app(["jobs.examples.steps"])
    assert {one.id for one in app.registry} == {one.id for one in definitions}
    text = package.__doc__ or ""
    for row in text.splitlines():
        if not row.startswith("| ") or row.startswith("| module"):
            continue
        name = row.split("|")[1].strip()
        alone = load_app([f"jobs.examples.steps.{name}"])
        assert {one.id for one in alone.registry} <= {one.id for one in app.registry}
        assert "snorri start" in (import_module(f"jobs.examples.steps.{name}").__doc__ or "")


@pytest.mark.parametrize("definition", definitions, ids=lambda one: one.id)
def test_each_says_what_it_is(definition: SagaDefinition) -> None:
    assert definition.description


def test_checkout() -> None:
    run = given(checkout).when("CheckoutWorkflow", {"productId": "tea", "amount": 5})
    run.when_step("ReserveInventory", {"reservationId": "r"})
    run.when_step("ChargePayment", {"paymentId": "p"})
    run.when_step("CreateShipment", {"trackingNumber": "t"})
    run.expect_result({"reservationId": "r", "paymentId": "p", "trackingNumber": "t"})


def test_a_checkout_that_can_t_ship_is_undone_in_reverse() -> None:
    run = given(checkout).when("CheckoutWorkflow", {"productId": "tea"})
    run.when_step("ReserveInventory", {"reservationId": "r"})
    run.when_step("ChargePayment", {"paymentId": "p"})
    run.when_step_failed("CreateShipment", "no carrier")
    assert _undoing(run) == ["ChargePayment", "ReserveInventory"]
    run.expect_status("compensated")


def test_registration_has_nothing_to_undo_before_there_is_an_account() -> None:
    run = given(registration).when("UserRegistration", {"email": "", "name": "Ada"})
    run.when_step_failed("ValidateRegistration", "an e-mail address is required", code="BAD_EMAIL")
    run.expect_status("failed")
    assert run.instance.error is not None
    assert run.instance.error.type == "BAD_EMAIL"


def test_registration_deletes_the_account_and_does_not_wait_for_the_mail() -> None:
    def begun() -> Scenario:
        run = given(registration).when("UserRegistration", {"email": "a@b", "name": "Ada"})
        run.when_step("ValidateRegistration", {"valid": True})
        return run.when_step("CreateAccount", {"userId": "u"}, data={"userId": "u"})

    taken = begun().when_step_failed("ReserveName", "taken")
    assert _undoing(taken) == ["CreateAccount"]
    done = begun().when_step("ReserveName", {"name": "Ada"})
    done.expect_result({"userId": "u", "name": "Ada"})
    done.when_step_failed("SendWelcomeMail").expect_status("completed")


def _paid() -> Scenario:
    run = given(order_workflow).when("OrderWorkflow", {"total": 5})
    run.when_step("CreateOrder", {"orderId": "o"})
    run.when_step("AuthorizePayment", {"authorizationId": "a"})
    return run.when_step("CapturePayment", {"paymentId": "p"})


def test_a_nested_workflow_is_undone_with_its_parent() -> None:
    run = _paid().when_step_failed("ShipOrder", "no carrier")
    assert _undoing(run) == ["CapturePayment", "AuthorizePayment", "CreateOrder"]


def test_an_independent_workflow_may_fail_and_the_order_stands() -> None:
    run = _paid().when_step("ShipOrder", {"shipmentId": "s"})
    assert [one.saga for one in run.instance.effects if isinstance(one, Spawn)] == [
        "NotificationWorkflow"
    ]
    run.child_ended("NotificationWorkflow", status="failed", reason="full")
    run.expect_status("completed")
    assert b"not sent: full" in bytes(run.instance.result)


def _purse() -> Scenario:
    return given(wallet, key="ada").when("Wallet", deposit.request(Deposit(100)))


def test_a_transfer_books_on_both_sides_and_tells_the_other_wallet() -> None:
    run = _purse().when("Wallet", transfer.request(Transfer("bob", 30)))
    assert run.query("balance") == 100  # not before both sides are booked
    run.when_step("DebitAccount", {"bookingId": "d"}).when_step("CreditAccount", {"bookingId": "c"})
    assert run.query("balance") == 70
    assert _called(run) == [("bob", "deposit", b'{"amount":30}')]


def _called(run: Scenario) -> list[tuple[str, str, bytes]]:
    """The calls of entities that the last transition published: key, handler, input."""
    found: list[tuple[str, str, bytes]] = []
    for one in run.instance.effects:
        if isinstance(one, Publish):
            call = msgspec.json.decode(one.payload, type=EntityCall)
            found.append((one.key, call.handler, bytes(call.input)))
    return found


def test_a_transfer_that_fails_leaves_the_balance_as_it_was() -> None:
    run = _purse().when("Wallet", transfer.request(Transfer("nobody", 30)))
    run.when_step("DebitAccount", {"bookingId": "d"}).when_step_failed("CreditAccount", "no owner")
    run.when_step("DebitAccount")  # its undo
    assert run.query("balance") == 100
    assert run.instance.steps == {}


def test_a_wallet_is_never_overdrawn() -> None:
    run = _purse().when("Wallet", withdraw.request(Withdrawal(101)))
    assert run.query("balance") == 100
    assert b"NOT_ENOUGH" in bytes(run.instance.state)


def test_a_ticket_asks_the_wallet_first() -> None:
    run = given(buy_ticket).when("BuyTicket", {"owner": "ada", "price": 20})
    assert _open(run) == []
    assert _called(run) == [("ada", "withdraw", b'{"amount":20}')]


def test_photos_are_deleted_also_after_half_an_upload_albums_only_after_success() -> None:
    run = given(upload_album).when("UploadAlbum", {"title": "Iceland", "photos": ["a", "broken"]})
    run.when_step("CreateAlbum", {"albumId": "x"})
    run.when_step_failed("UploadPhotos", "no picture", data={"uploaded": ["a"]})
    undo = next(one for one in run.instance.effects if isinstance(one, Send))
    assert b'"uploaded":["a"]' in bytes(undo.payload)
    assert b'"failed":true' in bytes(undo.payload)
    assert _undoing(run) == ["UploadPhotos", "CreateAlbum"]
    none = given(upload_album).when("UploadAlbum", {"title": "taken"})
    none.when_step_failed("CreateAlbum").expect_status("failed")


def test_a_feed_that_can_t_be_read_is_discarded() -> None:
    run = given(import_feed).when("ImportFeed", {"url": "u"})
    run.when_step("Download", {"entries": [1]}).when_step_failed("Parse", code="Invalid")
    assert _undoing(run) == ["Download"]


def test_a_workflow_takes_another_source() -> None:
    run = given(read_feed).when("ReadFeed", {"url": "u", "simulate": "x"})
    run.when_step_failed("ReadFirst", code="UNREACHABLE").when_step("ReadMirror", ["old"])
    run.expect_result({"entries": ["old"], "source": "mirror"})
    other = given(read_feed).when("ReadFeed", {"url": "u"})
    other.when_step_failed("ReadFirst", code="OTHER").expect_status("failed")


def test_orders_of_containers_and_tenants_are_deleted_when_they_fail() -> None:
    run = given(place_order).when("PlaceOrder", {"customer": "ada", "items": []})
    run.when_step("InsertOrder", {"orderId": "o"}).when_step_failed("TakeStock")
    assert _undoing(run) == ["InsertOrder"]
    other = given(tenant_order).when(
        "TenantOrder", {"tenant": "acme", "customer": "c", "amount": -1}
    )
    other.when_step("create", {"orderId": "o"}).when_step_failed("pay")
    assert _undoing(other) == ["create"]


def test_an_order_checks_two_things_at_once_and_does_not_wait_for_notices() -> None:
    run = given(create_order).when("create-order", {"items": ["x"], "total": 5})
    run.when_step("reserve-inventory", {"reservationId": "r"})
    assert _open(run) == ["check-inventory", "verify-payment"]
    run.when_step("verify-payment", {"paymentVerified": True})
    run.when_step("check-inventory", {"stockAvailable": True})
    run.when_step("charge-payment", {"chargeId": "c"})
    run.expect_status("completed").expect_result({"chargeId": "c"})
    run.expect_state(reservationId="r", stockAvailable=True, paymentVerified=True, chargeId="c")
    run.when_step_failed("send-confirmation", "the mail server is down")
    run.expect_status("completed")
    assert run.instance.steps["send-confirmation"].status == "failed"


def test_an_order_that_fails_a_check_waits_for_the_other_and_tells_the_callback() -> None:
    run = given(create_order).when("create-order", {"items": ["x"]})
    run.when_step("reserve-inventory", {"reservationId": "r"})
    run.when_step_failed("check-inventory", "sold out").expect_status("running")
    run.when_step("verify-payment")
    assert _undoing(run) == ["reserve-inventory"]
    told = [one.target for one in run.instance.effects if isinstance(one, Send)]
    assert told == ["create-order.on_failed"]


def _asked() -> Scenario:
    run = given(approval).when("ExpenseApproval", {"what": "a ticket", "amount": 9})
    return run.when_step("SetAside", {"budgetId": "b"}).when_step("AskPerson")


def test_an_expense_is_paid_when_somebody_agrees() -> None:
    run = _asked()
    assert run.query("waits-for") == "the manager"
    run.signal("decision", {"approved": True, "by": "ada"}).when_step(
        "PayExpense", {"paymentId": "p"}
    )
    run.expect(complete({"paymentId": "p", "approvedBy": "ada"}))


def test_an_expense_goes_to_the_boss_and_is_given_up_when_nobody_answers() -> None:
    run = _asked().advance("2d").when_step("AskPerson#2")
    assert run.query("waits-for") == "the boss"
    run.advance("2d")
    assert _undoing(run) == ["SetAside"]
    assert run.instance.error is not None
    assert run.instance.error.type == "NO_DECISION"


def test_an_expense_that_is_refused_is_given_back() -> None:
    run = _asked().signal("decision", {"approved": False, "by": "ada"})
    assert _undoing(run) == ["SetAside"]
    assert run.instance.error is not None
    assert run.instance.error.message == "ada said no"
