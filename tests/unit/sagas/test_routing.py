"""Goal: an event reaches the instances it is for, and for any other there is a reason to read.

Method: two sagas with different rules; events with and without keys, answers, and hostile payloads.
"""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw, Struct

from sagas import Message, Registry, SagaHandle, define_saga
from sagas.messages import Cause
from sagas.routing import Delivery, route
from tests.unit.sagas.factories import AT, event


class Order(Struct):
    """A payload."""

    orderId: str
    customerId: str = ""


def _typed(saga: SagaHandle[Any], message: Message[Order]) -> None: ...


def _rule(message: Message[Any]) -> str:
    return message.payload["customer"]["id"]


REGISTRY = Registry(
    [
        define_saga("Order").state({}).correlate("orderId").on("Placed", _typed).build(),
        define_saga("Loyalty")
        .state({})
        .correlate("orderId")
        .on("Placed", _typed, correlate="customerId")
        .build(),
        define_saga("Plain").state({}).on("Pinged", lambda saga: None).build(),
        define_saga("Rule").state({}).correlate(_rule).on("Ruled", lambda saga: None).build(),
    ]
)
PLACED = {"orderId": "o-1", "customerId": "c-7"}


def _to(deliveries: list[Delivery]) -> dict[str, str]:
    return {one.definition.id: one.key for one in deliveries}


def test_each_saga_finds_its_own_instance() -> None:
    deliveries, faults = route(REGISTRY, event("Placed", PLACED), "anything")
    assert (_to(deliveries), faults) == ({"Order": "o-1", "Loyalty": "c-7"}, [])
    assert all(isinstance(one.payload, Order) for one in deliveries)


def test_an_event_can_be_for_one_saga_only() -> None:
    deliveries, _ = route(REGISTRY, event("Placed", PLACED), None, only_saga="Loyalty")
    assert _to(deliveries) == {"Loyalty": "c-7"}


def test_one_saga_that_can_not_take_it_does_not_stop_the_other() -> None:
    deliveries, faults = route(REGISTRY, event("Placed", {"orderId": "o-1"}), None)
    assert _to(deliveries) == {"Order": "o-1"}
    assert [(one.saga, "finds no value" in one.reason) for one in faults] == [("Loyalty", True)]


def test_without_a_rule_the_ordering_key_is_the_key() -> None:
    assert _to(route(REGISTRY, event("Pinged"), "k-9")[0]) == {"Plain": "k-9"}
    assert "no ordering key" in route(REGISTRY, event("Pinged"), None)[1][0].reason


def test_nobody_handles_it() -> None:
    assert route(REGISTRY, event("Unheard"), "k") == ([], [])


@pytest.mark.parametrize(
    ("type", "payload", "words"),
    [
        ("Placed", b'{"orderId": 5}', "does not fit"),
        ("Placed", b"{", "not JSON"),
        ("Placed", b'{"orderId": "o", "x": "\xff"}', "not JSON"),
        ("Placed", b'{"orderId": "' + b"k" * 201 + b'"}', "at most 200"),
        ("Ruled", b"{}", "raised KeyError"),
        ("Ruled", b'{"customer": {"id": ""}}', "correlates to nothing"),
    ],
)
def test_what_can_not_be_delivered_has_a_reason(type: str, payload: bytes, words: str) -> None:
    cause = Cause(kind="event", type=type, id="m", seq=1, at=AT, payload=Raw(payload))
    deliveries, faults = route(REGISTRY, cause, None)
    assert deliveries == []
    assert all(words in fault.reason or "finds no value" in fault.reason for fault in faults)
    assert words in faults[0].reason


def test_an_answer_goes_to_who_asked_whatever_it_says() -> None:
    answer = event("Placed", {"orderId": "another", "customerId": "c"}, answers="Order.o-1.1.0")
    deliveries, _ = route(REGISTRY, answer, None)
    assert _to(deliveries) == {"Order": "o-1", "Loyalty": "c"}


def test_an_answer_nobody_handles_still_goes_to_who_asked() -> None:
    deliveries, faults = route(REGISTRY, event("Unheard", answers="Order.o-1.1.0"), None)
    assert (_to(deliveries), faults) == ({"Order": "o-1"}, [])


@pytest.mark.parametrize("id", ["nonsense", "Order..1.0", "Unknown.k.1.0", f"Order.k.{'9' * 99}.0"])
def test_an_answer_to_nobody_has_a_reason(id: str) -> None:
    deliveries, faults = route(REGISTRY, event("Unheard", answers=id), None)
    assert deliveries == []
    assert "it answers" in faults[0].reason
