"""Goal: histories repeat exactly under the same definition, and a change is told where it is.

Method: lives made by the harness (answers, timers, waiting, gates, people), then the same messages
given to the definition they came from and to one that was changed.
"""

from __future__ import annotations

from typing import Any

import pytest

from sagas import SagaDefinition, complete, define_saga, send
from sagas.examples.checkout import checkout
from sagas.examples.reminder import reminder
from sagas.replay import replay
from sagas.testing import Scenario, given

ORDER = {"orderId": "o-1", "customerId": "c-7", "items": [], "total": 4999}
PAID = {"orderId": "o-1", "transactionId": "t-1"}


def _shop(limit: int = 10, *, broken: bool = False, gated: bool = False) -> SagaDefinition:
    def placed(saga: Any, message: Any) -> Any:
        if broken:
            raise ValueError("the author was wrong")
        saga.state["sent"] = 1
        return send("charge", {"amount": min(message.payload["amount"], limit)})

    def charged(saga: Any, message: Any) -> Any:
        saga.state["charged"] = True

    meta = define_saga("Shop")
    if gated:
        meta = meta.concurrency(1)
    return (
        meta.state({})
        .on("Placed", placed, starts=True)
        .on("Charged", charged)
        .on("Closed", lambda saga, message: complete())
        .build()
    )


def _paid(definition: SagaDefinition = checkout) -> Scenario:
    scenario = given(definition).when("OrderCreated", ORDER)
    scenario.advance("2s")
    return scenario.when_answer("process-payment", "PaymentCompleted", PAID)


def _waited() -> Scenario:
    scenario = given(_shop()).when("Placed", {"amount": 5}).action("pause")
    scenario.when("Charged", {}).when("Closed", {})
    return scenario.action("resume")


def _planned() -> Scenario:
    scenario = _paid()
    plan = scenario.plan("cancel", reason="by plan")
    return scenario.action("cancel", reason="by plan", plan=plan.hash)


def _timed() -> Scenario:
    scenario = _paid()
    return scenario.advance("30d")


LIVES = {
    "answered": _paid,
    "waited in the backlog": _waited,
    "acted on by plan": _planned,
    "with timers": _timed,
    "with a gate": lambda: given(_shop(gated=True)).when("Placed", {"amount": 5}).when("Closed"),
    "parked": lambda: given(_shop(broken=True)).when("Placed", {"amount": 5}).action("retry"),
}


@pytest.mark.parametrize("life", LIVES)
def test_an_unchanged_definition_repeats_its_history(life: str) -> None:
    scenario = LIVES[life]()
    assert len(scenario.history) > 1
    found = replay(scenario.definition, scenario.history)
    assert [(s.differs, s.refused) for s in found.steps] == [((), "")] * len(scenario.history)
    assert found.first is None
    assert found.steps[-1].after == scenario.instance


def test_a_changed_command_is_told_with_its_version() -> None:
    scenario = given(_shop()).when("Placed", {"amount": 50}).when("Closed", {})
    found = replay(_shop(limit=20), scenario.history)
    assert found.first is not None
    assert found.first.recorded.version == 1
    assert found.first.differs == ("effects",)
    assert found.steps[1].same


def test_what_breaks_now_is_parked_and_the_rest_waits() -> None:
    scenario = given(_shop()).when("Placed", {"amount": 50}).when("Closed", {})
    found = replay(_shop(broken=True), scenario.history)
    assert found.steps[0].after is not None
    assert found.steps[0].after.status == "parked"
    assert {"status", "error", "effects"} <= set(found.steps[0].differs)
    assert found.changed == 2


def test_a_message_nobody_handles_any_more_is_told() -> None:
    scenario = given(_shop()).when("Placed", {"amount": 5}).when("Closed", {})
    now = define_saga("Shop").state({}).on("Other", lambda saga, message: None, starts=True).build()
    found = replay(now, scenario.history)
    assert found.steps[0].after is None
    assert "no handler for 'Placed'" in found.steps[0].refused


def test_a_history_of_another_saga_is_refused() -> None:
    with pytest.raises(ValueError, match="CheckoutSaga was recorded"):
        replay(reminder, _paid().history)
    with pytest.raises(ValueError, match="without versions"):
        replay(checkout, [])
