"""Goal: the harness fails when a saga does something else, and says so in words that help.

Method: expectations that do not hold, and what their failure says; what the harness hides of the
kernel's own doings.
"""

from __future__ import annotations

from typing import Any

import pytest

from sagas import Message, SagaHandle, complete, define_saga, schedule, send, unschedule
from sagas.testing import Scenario, given

Handle = SagaHandle[dict[str, Any]]


def _start(saga: Handle, message: Message[Any]) -> list[Any]:
    saga.state = {"n": 1, "items": ["a"]}
    return [send("job", {"b": 2, "a": 1}), schedule({"type": "Rang"}, "10m", id="t")]


def _fault(saga: Handle) -> None:
    raise RuntimeError("a fault of mine")


SAGA = (
    define_saga("S")
    .state({})
    .correlate("id")
    .on("Start", _start)
    .on("Rang", lambda saga: send("late"))
    .on("End", lambda saga: complete())
    .on("Fault", _fault)
    .build()
)


def _scenario() -> Scenario:
    return given(SAGA).when("Start", {"id": "a"})


def _fails(check: Any, *words: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check()
    for word in words:
        assert word in str(caught.value)


def test_effects_that_differ_are_shown_side_by_side() -> None:
    timer = schedule({"type": "Rang"}, "10m", id="t")
    scenario = _scenario().expect(send("job", {"a": 1, "b": 2}), timer)
    _fails(
        lambda: scenario.expect(send("job", {"a": 2}), timer),
        "- send(target='job', payload={\"a\":2})",
        '+ send(target=\'job\', payload={"a":1,"b":2})',
        "S/a: running at version 1",
    )
    _fails(lambda: scenario.expect(timer, send("job", {"a": 1, "b": 2})), "differ")
    _fails(lambda: scenario.expect_nothing(), "+ schedule(type='Rang', id='t'")


def test_a_delay_is_compared_by_the_time_it_ends() -> None:
    scenario = _scenario()
    job = send("job", {"a": 1, "b": 2})
    scenario.expect(job, schedule({"type": "Rang"}, 600))
    _fails(lambda: scenario.expect(job, schedule({"type": "Rang"}, "11m")), "12:11:00")
    _fails(lambda: scenario.expect(job, schedule({"type": "Rang"}, "10m", id="other")), "other")


def test_a_state_that_differs_is_shown_field_by_field() -> None:
    scenario = _scenario().expect_state(n=1, items=["a"])
    _fails(lambda: scenario.expect_state(n=2, m=1), "n: expected 2, is 1", "m: expected 1")


def test_a_fault_shows_its_traceback_wherever_it_is_met() -> None:
    scenario = _scenario().when("Fault", {"id": "a"})
    _fails(lambda: scenario.expect_status("running"), "a fault of mine", "in _fault")
    _fails(lambda: scenario.expect(send("job")), "a fault of mine")
    _fails(lambda: scenario.expect_parked("another"), "'another' is not in the error")


def test_each_expectation_can_fail() -> None:
    scenario = _scenario()
    _fails(lambda: scenario.expect_parked(), "not parked")
    _fails(lambda: scenario.expect_refused(), "not refused")
    _fails(lambda: scenario.expect_ignored(), "not ignored")
    _fails(lambda: scenario.expect_result("x"), "the result is None")
    _fails(lambda: scenario.expect_timers(), "['t']")
    _fails(lambda: given(SAGA).instance, "nothing has happened")
    _fails(lambda: given(SAGA).when("End", {"id": "a"}).state, "does not start one")


def test_a_step_that_makes_no_sense_says_what_there_is() -> None:
    scenario = _scenario()
    _fails(lambda: scenario.when_answer("mail", "Sent"), "open: job")
    _fails(lambda: scenario.child_ended("Kid"), "running: none")
    _fails(lambda: scenario.when("Rang", {"id": "b"}), "instance 'b'", "'a'")


def test_an_event_goes_by_the_rules_of_correlation() -> None:
    given(SAGA).when("Start", {}).expect_refused("finds no value")
    given(SAGA).when("Nothing").expect_ignored("no_handler")
    assert _scenario().key == "a"
    assert given(SAGA, key="a").when("Start", {"id": "a"}).key == "a"


def test_timers_fire_in_order_and_at_their_own_time() -> None:
    scenario = _scenario().advance("1h").expect(send("late"))
    assert scenario.history[-1].at == scenario.history[0].timers["t"].at
    assert (scenario.now - scenario.history[0].at).total_seconds() == 3600


def test_a_parked_instance_does_not_fire_a_timer_for_ever() -> None:
    scenario = _scenario().when("Fault", {"id": "a"}).advance("1h").advance("1h")
    assert len(scenario.instance.backlog) == 1
    scenario.action("skip").expect(send("late"))


def test_timers_that_an_end_cancels_need_not_be_listed_but_may_be() -> None:
    _scenario().when("End", {"id": "a"}).expect(complete())
    _scenario().when("End", {"id": "a"}).expect(complete(), unschedule("t"))
    _fails(lambda: _scenario().when("End", {"id": "a"}).expect(complete(), unschedule("x")), "x")


def test_the_history_is_every_version() -> None:
    scenario = _scenario().when("End", {"id": "a"})
    assert [one.version for one in scenario.history] == [1, 2]
    assert scenario.state == {"n": 1, "items": ["a"]}
