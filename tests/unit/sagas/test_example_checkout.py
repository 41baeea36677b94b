"""Goal: the checkout ends right on every way through it, and money is given back once at most.

Method: given / when / expect on one order; every failure the jobs know is played through.
"""

from __future__ import annotations

import pytest

from sagas import cancel, compensate, complete, publish, send
from sagas.examples.checkout import checkout
from sagas.testing import Scenario, given

ORDER = {"orderId": "o-1", "customerId": "c-7", "items": [{"productId": "p-1"}], "total": 4999}
ITEMS = [{"productId": "p-1", "quantity": 1}]
PAID = {"orderId": "o-1", "transactionId": "tx-1"}


def _paid() -> Scenario:
    return (
        given(checkout)
        .when("OrderCreated", ORDER)
        .when_answer("process-payment", "PaymentCompleted", PAID)
    )


def _reserved() -> Scenario:
    return _paid().when_answer("reserve-inventory", "InventoryReserved", {"orderId": "o-1"})


def test_an_order_is_paid_reserved_sent_and_completed() -> None:
    scenario = given(checkout).when("OrderCreated", ORDER)
    scenario.expect(send("process-payment", {"orderId": "o-1", "amount": 4999}))
    scenario.expect_state(status="payment_pending", orderId="o-1", total=4999)
    scenario.when_answer("process-payment", "PaymentCompleted", PAID)
    scenario.expect(send("reserve-inventory", {"orderId": "o-1", "items": ITEMS}))
    scenario.when_answer("reserve-inventory", "InventoryReserved", {"orderId": "o-1"})
    scenario.expect(send("create-shipment", {"orderId": "o-1"}))
    sent = {"orderId": "o-1", "trackingNumber": "trk-1"}
    scenario.when_answer("create-shipment", "ShipmentCreated", sent)
    scenario.expect(complete({"transactionId": "tx-1", "trackingNumber": "trk-1"}))
    scenario.expect_status("completed").expect_state(status="completed")
    assert scenario.query("progress") == {
        "status": "completed",
        "total": 4999,
        "trackingNumber": "trk-1",
    }


def test_a_declined_payment_cancels_the_order_and_undoes_nothing() -> None:
    scenario = given(checkout).when("OrderCreated", {**ORDER, "simulate": "decline"})
    scenario.expect(
        send("process-payment", {"orderId": "o-1", "amount": 4999, "simulate": "decline"})
    )
    scenario.when_failed("process-payment", "no funds", type="PaymentFailed", orderId="o-1")
    reason = "payment failed: no funds"
    scenario.expect(publish("OrderCancelled", {"orderId": "o-1", "reason": reason}), cancel(reason))
    scenario.expect_status("cancelled").expect_state(status="cancelled", cancelReason=reason)


@pytest.mark.parametrize(
    ("before", "target", "type"),
    [
        (_paid, "reserve-inventory", "InventoryUnavailable"),
        (_reserved, "create-shipment", "ShipmentFailed"),
    ],
)
def test_what_can_not_be_sent_is_refunded_before_it_is_cancelled(before, target, type) -> None:
    scenario = before().when_failed(target, "none left", type=type, orderId="o-1")
    told = {"reason": "none left", "orderId": "o-1"}
    scenario.expect(
        compensate({"type": "RefundPayment", "payload": told}, "none left"),
        send("refund-payment", {"orderId": "o-1", "transactionId": "tx-1"}),
    )
    scenario.expect_status("compensating").expect_state(status="refunding")
    scenario.when_answer("refund-payment", "PaymentRefunded", {"orderId": "o-1"})
    scenario.expect(
        publish("OrderCancelled", {"orderId": "o-1", "reason": "none left"}), cancel("none left")
    )
    scenario.expect_status("cancelled").expect_state(status="cancelled", cancelReason="none left")
    assert [undo.status for undo in scenario.instance.undo] == ["done"]


def test_a_refund_that_fails_for_good_waits_for_somebody() -> None:
    scenario = _paid().when_failed("reserve-inventory", type="InventoryUnavailable")
    scenario.when_failed("refund-payment", "the bank is closed", type="RefundFailed")
    scenario.expect_parked("the bank is closed")
    scenario.action("retry", reason="open again")
    scenario.expect(send("refund-payment", {"orderId": "o-1", "transactionId": "tx-1"}))
    scenario.when_answer("refund-payment", "PaymentRefunded").expect_status("cancelled")
    assert scenario.instance.undo[0].attempts == 2


def test_messages_out_of_order_change_nothing() -> None:
    scenario = given(checkout).when("OrderCreated", ORDER)
    scenario.when("InventoryReserved", {"orderId": "o-1"}).expect_nothing()
    scenario.when("ShipmentCreated", {"orderId": "o-1"}).expect_nothing()
    scenario.expect_state(status="payment_pending").expect_status("running")


def test_the_same_order_twice_is_paid_once() -> None:
    scenario = given(checkout).when("OrderCreated", ORDER, id="m-1")
    scenario.when("OrderCreated", ORDER, id="m-1").expect_ignored("duplicate")
    assert len(scenario.history) == 1


def test_a_late_answer_finds_the_order_over() -> None:
    scenario = _paid().action("cancel", reason="the customer called")
    scenario.when_answer("reserve-inventory", "InventoryReserved", {"orderId": "o-1"})
    scenario.expect_nothing().expect_status("cancelled")


def test_an_operator_gives_a_completed_order_back() -> None:
    scenario = _reserved().when_answer("create-shipment", "ShipmentCreated", {"orderId": "o-1"})
    plan = scenario.plan("compensate", reason="returned")
    assert not plan.refused
    assert plan.status_after == "compensating"
    scenario.action("compensate", reason="returned", plan=plan.hash)
    scenario.when_answer("refund-payment", "PaymentRefunded").expect_status("cancelled")
    scenario.expect_state(cancelReason="returned")


def test_without_a_payment_compensating_only_cancels() -> None:
    scenario = given(checkout).when("OrderCreated", ORDER).action("compensate", reason="a test")
    scenario.expect_status("cancelled").expect_state(status="cancelled", cancelReason="a test")


def test_an_answer_for_an_unknown_order_is_a_dead_letter() -> None:
    given(checkout).when("PaymentCompleted", PAID).expect_refused("does not start one")
