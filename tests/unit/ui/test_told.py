"""What came and what followed, in words: answers are told by what they are the answers of."""

from __future__ import annotations

from typing import Any

from sagas import step, steps, workflow
from sagas.examples.checkout import checkout
from sagas.programs.steps import UNDO
from sagas.testing import Scenario, given
from tests.unit.ui.lives import revisions
from ui.sequence import sequence
from ui.timeline import timeline
from ui.told import arrived, came, commands_of, told


async def _work(ctx: Any, given: Any = None) -> Any:
    return None


order = steps("order", [step("reserve", _work, _work), step("charge", _work)])


@workflow("Naps")
async def naps(saga: Any, input: Any) -> None:
    await saga.sleep("1m")


def _story(scenario: Scenario) -> list[str]:
    commands = commands_of(scenario.history)
    return [came(one, commands) for one in scenario.history]


def _undone() -> Scenario:
    scenario = given(order).when("order", {})
    scenario.when_answer("order.reserve", "Snorri-Completed", {"output": 1})
    scenario.when_failed("order.charge", "declined")
    return scenario.when_answer(f"order.reserve{UNDO}", "Snorri-Completed", {})


def test_answers_are_told_by_their_step() -> None:
    assert _story(_undone()) == [
        *("order", "reserve done", "charge failed", "undo of reserve done"),
    ]


def test_answers_without_a_type_of_their_own_are_told_by_their_job() -> None:
    scenario = given(checkout).when("OrderCreated", {"orderId": "o-1", "items": [], "total": 1})
    scenario.when_failed("process-payment", "the bank is away")
    assert _story(scenario) == ["OrderCreated", "process-payment failed"]


def test_types_of_our_own_are_told_in_words_where_no_more_is_known() -> None:
    assert [arrived(type) for type in ("Snorri-Completed", "Snorri-Failed", "Paid", "")] == [
        *("work done", "work failed", "Paid", ""),
    ]


def test_the_end_of_a_pause_is_told_as_that() -> None:
    scenario = given(naps).when("Naps", {})
    scenario.advance("2m")
    assert _story(scenario) == ["Naps", "sleep is over"]


def test_commands_are_told_as_steps_and_undos() -> None:
    followed = [told(effect) for one in _undone().history for effect in one.effects]
    assert [(one.kind, one.name) for one in followed if one.kind in ("step", "undo")] == [
        *(("step", "reserve"), ("step", "charge"), ("undo", "reserve")),
    ]


def test_pictures_name_the_steps() -> None:
    scenario = _undone()
    lanes = timeline(revisions(scenario), [], scenario.now, "short").lanes
    assert [lane.label for lane in lanes] == ["status", "reserve", "charge", "undo of reserve"]
    labels = [arrow.label for arrow in sequence(scenario.history).arrows]
    assert labels[1:4] == ["reserve", "reserve done", "charge"]
