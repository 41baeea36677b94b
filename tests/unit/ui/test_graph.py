"""The graph of a saga and an instance's way through it."""

from __future__ import annotations

from sagas.examples.checkout import checkout
from sagas.testing import given
from ui.graph import Follow, graph

ORDER = {"orderId": "o-1", "customerId": "c-7", "items": [], "total": 4999}
FOLLOWS = [
    Follow("OrderCreated", "PaymentCompleted", 90),
    Follow("OrderCreated", "PaymentFailed", 10),
    Follow("PaymentFailed", "=cancelled", 10),
]


def test_declared_types_are_there_and_ends_have_their_status() -> None:
    drawn = graph(["OrderCreated", "Never"], FOLLOWS, {"PaymentCompleted": 7})
    labels = {node.label: node for node in drawn.nodes}
    assert drawn.unseen == ("Never",)
    assert labels["cancelled"].kind == "end"
    assert labels["cancelled"].tone == "cancelled"
    assert labels["PaymentCompleted"].standing == 7
    weights = {(link.drawn.start, link.drawn.end): link.weight for link in drawn.links}
    assert weights["OrderCreated", "PaymentCompleted"] == 1
    assert not any(link.taken for link in drawn.links)


def test_an_instance_shows_its_way_and_where_it_stands() -> None:
    scenario = given(checkout).when("OrderCreated", ORDER)
    here = graph(list(checkout.handlers), FOLLOWS, {}, scenario.history)
    assert [n.label for n in here.nodes if n.tone == "here"] == ["OrderCreated"]
    scenario.action("pause", reason="look").action("resume")
    scenario.when_failed("process-payment", "no", type="PaymentFailed", orderId="o-1")
    drawn = graph(list(checkout.handlers), FOLLOWS, {}, scenario.history)
    taken = [(link.drawn.start, link.drawn.end) for link in drawn.links if link.taken]
    assert taken == [("OrderCreated", "PaymentFailed"), ("PaymentFailed", "=cancelled")]
    assert next(n for n in drawn.nodes if n.label == "cancelled").tone == "cancelled"


def test_the_way_up_to_a_version_is_drawn_at_the_same_place() -> None:
    scenario = given(checkout).when("OrderCreated", ORDER)
    scenario.when_failed("process-payment", "no", type="PaymentFailed", orderId="o-1")
    whole = graph([], [], {}, scenario.history)
    early = graph([], [], {}, scenario.history, 1)
    assert [(n.label, n.tone) for n in early.nodes] == [
        *(("OrderCreated", "here"), ("PaymentFailed", ""), ("cancelled", "")),
    ]
    assert [(n.label, n.x, n.y) for n in early.nodes] == [(n.label, n.x, n.y) for n in whole.nodes]
    assert not any(link.taken for link in early.links)
    assert [link.drawn for link in early.links] == [link.drawn for link in whole.links]


def test_what_was_undone_is_told_apart() -> None:
    scenario = given(checkout).when("OrderCreated", ORDER)
    paid = {"orderId": "o-1", "transactionId": "t"}
    scenario.when_answer("process-payment", "PaymentCompleted", paid)
    scenario.when_failed(
        "reserve-inventory", "none left", type="InventoryUnavailable", orderId="o-1"
    )
    running = graph([], [], {}, scenario.history)
    assert [(n.label, n.tone) for n in running.nodes if n.kind == "undo"] == [
        ("RefundPayment", "undoing")
    ]
    scenario.when_answer("refund-payment", "PaymentRefunded", {"orderId": "o-1", "refundId": "r"})
    done = graph([], [], {}, scenario.history)
    assert [n.tone for n in done.nodes if n.kind == "undo"] == ["undone"]
    assert [n.label for n in done.nodes] == [
        *("OrderCreated", "PaymentCompleted", "InventoryUnavailable"),
        *("RefundPayment", "PaymentRefunded", "cancelled"),
    ]
