"""The sequence diagram: who stands where, and that every message is one arrow in order."""

from __future__ import annotations

from sagas.examples.checkout import checkout
from sagas.examples.reminder import reminder
from sagas.testing import given
from ui.sequence import sequence

ORDER = {"orderId": "o-1", "customerId": "c-7", "items": [], "total": 4999}


def test_an_order_is_commands_out_and_answers_back() -> None:
    scenario = given(checkout).when("OrderCreated", ORDER)
    scenario.when_failed("process-payment", "no", type="PaymentFailed", orderId="o-1")
    drawn = sequence(scenario.history)
    names = [party.name for party in drawn.parties]
    assert names[:3] == ["publisher", "CheckoutSaga", "process-payment"]
    x = {party.name: party.x for party in drawn.parties}
    assert [(a.label, a.kind, a.version) for a in drawn.arrows[:3]] == [
        ("OrderCreated", "event", 1),
        ("process-payment", "command", 1),
        ("PaymentFailed", "failed", 2),
    ]
    answer = drawn.arrows[2]
    assert (answer.x1, answer.x2) == (x["process-payment"], x["CheckoutSaga"])
    assert answer.middle == (answer.x1 + answer.x2) / 2
    assert [a.y for a in drawn.arrows] == sorted({a.y for a in drawn.arrows})


def test_timers_come_from_the_clock_and_operators_have_names() -> None:
    cart = given(reminder).when("CartChanged", {"cartId": "k", "patience": "5m"})
    cart.advance("6m")
    cart.action("pause", reason="look")
    drawn = sequence(cart.history)
    labels = [(a.label, a.kind) for a in drawn.arrows]
    assert ("CartAbandoned", "timer") in labels
    assert ("pause", "operator") in labels
    assert all(0 <= party.x <= drawn.width for party in drawn.parties)
