"""Goal: an undo runs once, is tracked to its end, and a failed one is never lost.

Method: one saga whose undo asks jobs, played through success, failure, retry and every way to end.
"""

from __future__ import annotations

from typing import Any

import pytest

from sagas import (
    Message,
    SagaDefinition,
    SagaHandle,
    cancel,
    compensate,
    complete,
    define_saga,
    fail,
    schedule,
    send,
)
from sagas.testing import Scenario, given

Handle = SagaHandle[dict[str, Any]]
A = {"type": "A"}
B = {"type": "B"}


def _go(saga: Handle, message: Message[str]) -> Any:
    return EFFECTS[message.payload]()


def _saga(undo: Any, on_failure: Any = None) -> SagaDefinition:
    chain = (
        define_saga("S")
        .state({"n": 0})
        .on("Start", lambda saga: send("work"))
        .on("Go", _go)
        .on("Again", lambda saga: send("undo-2"))
        .compensate("A", undo)
        .compensate("B", lambda saga: send("undo-b"))
    )
    if on_failure is not None:
        chain.on("UndoFailed", on_failure)
    return chain.build()


EFFECTS: dict[str, Any] = {
    "compensate": lambda: compensate(A, "why"),
    "both": lambda: [compensate(A), compensate(B)],
    "twice": lambda: [compensate(A), compensate(A)],
    "unknown": lambda: compensate({"type": "Never"}),
    "and end": lambda: [compensate(A), cancel("over")],
    "timer": lambda: schedule({"type": "Rang"}, "1h", id="old"),
    "new timer": lambda: [schedule({"type": "Rang"}, "1h", id="new"), compensate(A)],
}


def _running(undo: Any = None, on_failure: Any = None) -> Scenario:
    undo = undo or (lambda saga: send("undo"))
    return given(_saga(undo, on_failure)).when("Start").when_answer("work", "Worked")


def _undos(scenario: Scenario) -> list[tuple[str, str]]:
    return [(undo.type, undo.status) for undo in scenario.instance.undo]


def test_an_undo_is_done_when_its_commands_are_answered() -> None:
    scenario = _running(lambda saga: [send("undo"), send("undo")]).when("Go", "compensate")
    scenario.expect(compensate(A, "why"), send("undo"), send("undo"))
    scenario.expect_status("compensating").when_answer("undo", "Undone")
    assert _undos(scenario) == [("A", "running")]
    scenario.when_answer("undo", "Undone").expect_status("compensated")
    assert _undos(scenario) == [("A", "done")]


def test_an_undo_with_nothing_to_do_is_done_at_once() -> None:
    scenario = _running(lambda saga: None).when("Go", "compensate").expect_status("compensated")
    assert _undos(scenario) == [("A", "done")]


def test_an_undo_runs_once_however_often_it_is_asked_for() -> None:
    scenario = _running().when("Go", "twice").expect(compensate(A), compensate(A), send("undo"))
    scenario.when("Go", "compensate").expect(compensate(A, "why"))
    assert _undos(scenario) == [("A", "running")]


def test_several_undos_run_in_the_order_asked_for() -> None:
    scenario = _running().when("Go", "both")
    scenario.expect(compensate(A), compensate(B), send("undo"), send("undo-b"))
    scenario.when_answer("undo-b", "Undone").expect_status("compensating")
    scenario.when_answer("undo", "Undone").expect_status("compensated")


def test_work_that_is_still_out_is_waited_for() -> None:
    scenario = given(_saga(lambda saga: None)).when("Start").when("Go", "compensate")
    scenario.expect_status("compensating").when_answer("work", "Worked")
    scenario.expect_status("compensated")


def test_what_follows_up_an_undo_belongs_to_it() -> None:
    scenario = _running().when("Go", "compensate").when_answer("undo", "Again")
    scenario.expect(send("undo-2"))
    assert _undos(scenario) == [("A", "running")]
    scenario.when_answer("undo-2", "Undone").expect_status("compensated")


def test_a_failed_undo_waits_for_an_operator() -> None:
    scenario = _running().when("Go", "compensate").when_failed("undo", "no line")
    scenario.expect_parked("no line")
    assert _undos(scenario) == [("A", "failed")]
    scenario.action("retry").expect(send("undo"))
    assert (scenario.instance.undo[0].attempts, _undos(scenario)) == (2, [("A", "running")])
    scenario.when_answer("undo", "Undone").expect_status("compensated")


@pytest.mark.parametrize(("by_hand", "status"), [(True, "by_hand"), (False, "skipped")])
def test_a_failed_undo_can_be_given_up(by_hand: bool, status: str) -> None:
    scenario = (
        _running().when("Go", "compensate").when_failed("undo").action("skip", by_hand=by_hand)
    )
    scenario.expect_status("compensated")
    assert _undos(scenario) == [("A", status)]


def test_a_failure_that_is_handled_without_a_remedy_ends_in_failed() -> None:
    scenario = _running(on_failure=lambda saga: None).when("Go", "compensate")
    scenario.when_failed("undo", "no line", type="UndoFailed").expect_status("failed")
    assert _undos(scenario) == [("A", "failed")]
    assert scenario.instance.error is not None
    assert "A: no line" in scenario.instance.error.message


def test_a_failure_that_is_handled_by_another_try_goes_on() -> None:
    scenario = _running(on_failure=lambda saga: send("undo")).when("Go", "compensate")
    scenario.when_failed("undo", type="UndoFailed").expect(send("undo"))
    assert (scenario.instance.undo[0].attempts, _undos(scenario)) == (2, [("A", "running")])
    scenario.when_answer("undo", "Undone").expect_status("compensated")


def test_an_undo_may_end_the_instance_itself() -> None:
    scenario = _running(lambda saga: [send("undo"), fail("it is")]).when("Go", "compensate")
    scenario.expect(compensate(A, "why"), send("undo"), fail("it is")).expect_status("failed")
    scenario.when_answer("undo", "Undone").expect_status("failed")
    assert _undos(scenario) == [("A", "done")]


def test_completing_while_compensating_is_being_compensated() -> None:
    scenario = _running(lambda saga: complete("undone")).when("Go", "compensate")
    scenario.expect_status("compensated").expect_result("undone")


def test_an_end_beside_compensate_is_where_it_ends() -> None:
    scenario = _running().when("Go", "and end").expect_status("cancelled")
    scenario.expect(compensate(A), cancel("over"), send("undo"))
    scenario.when_failed("undo", "no line").expect_parked("no line")
    scenario.when("Go", "timer").action("skip", by_hand=True).expect_status("cancelled")
    scenario.expect_ignored("finished")
    assert not scenario.instance.backlog


def test_two_ends_are_a_fault() -> None:
    _running(lambda saga: fail("x")).when("Go", "and end").expect_parked("ends its instance twice")


def _nested(saga: Handle, message: Message[Any]) -> Any:
    return compensate(B)


def test_an_undo_asks_for_no_other_undo() -> None:
    _running(_nested).when("Go", "compensate").expect_parked("another compensation")


def test_an_undo_that_does_not_exist_is_a_fault_that_names_those_that_do() -> None:
    _running().when("Go", "unknown").expect_parked("it has: A, B").expect_status("parked")


def test_compensating_cancels_the_timers_of_before() -> None:
    _running().when("Go", "timer").when("Go", "compensate").expect_timers()
    _running().when("Go", "timer").when("Go", "new timer").expect_timers("new")
