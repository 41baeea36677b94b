"""Goal: an operator fires, moves or cancels one timer of an instance, whatever its status, and
nothing that has fired already is handled twice.

Method: a saga with two timers; each action on a running, a paused and a parked instance, before
and after the timer fired; plans are compared with what is committed.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sagas import Message, SagaHandle, compensate, complete, define_saga, schedule, unschedule
from sagas.actions import TIMER_ACTIONS, Action, ActionRequest, act
from sagas.durations import when
from sagas.errors import BadDelay
from sagas.kernel import Ignored, Refused, Snapshot, Transition, decide
from sagas.messages import Cause, to_raw
from sagas.testing import NOON, Scenario, given
from store.outbox import to_messages
from store.subjects import Names

Handle = SagaHandle[dict[str, Any]]


def _start(saga: Handle) -> list[Any]:
    return [schedule({"type": "Rang", "payload": {"n": 1}}, "30m", id="bell"), _night()]


def _night() -> Any:
    return schedule({"type": "Night"}, datetime(2026, 1, 5, 22, tzinfo=UTC), id="night@home")


def _rang(saga: Handle, message: Message[Any]) -> Any:
    saga.state["rang"] = [*saga.state["rang"], message.payload["n"]]
    saga.state["by"] = message.by
    match saga.state["do"]:
        case "raise":
            raise RuntimeError("cracked")
        case "again":
            return schedule({"type": "Rang", "payload": {"n": 2}}, "5m", id="bell")
        case "end":
            return complete()
        case _:
            return None


def _told(saga: Handle, message: Message[Any]) -> Any:
    saga.state["do"] = message.payload
    match message.payload:
        case "silence":
            return unschedule("bell")
        case "break":
            raise RuntimeError("broken")
        case "undo":
            return compensate({"type": "Undo"})
        case _:
            return None


SAGA = (
    define_saga("T")
    .state({"rang": [], "do": "", "by": ""})
    .on("Start", _start, starts=True)
    .on("Rang", _rang)
    .on("Night", lambda saga: None)
    .on("Do", _told)
    .compensate("Undo", lambda saga: schedule({"type": "Rang"}, "1h", id="undone"))
    .build()
)


def _started(do: str = "") -> Scenario:
    scenario = given(SAGA).when("Start")
    return scenario.when("Do", do) if do else scenario


# --- fire


def test_a_timer_fired_by_hand_runs_its_handler_in_that_transition() -> None:
    scenario = _started()
    planned = scenario.plan("fire_timer", timer="bell")
    scenario.action("fire_timer", timer="bell", plan=planned.hash)
    scenario.expect_state(rang=[1], by="operator").expect_timers("night@home")
    assert scenario.instance.effects == planned.effects
    assert scenario.instance.state == planned.state_after
    scenario.advance("2h").expect_state(rang=[1])


def test_the_handler_and_the_history_know_who_fired_it_and_why() -> None:
    scenario = _started().action("fire_timer", by="ann", reason="no time", timer="bell")
    scenario.expect_state(by="ann")
    cause = scenario.instance.cause
    assert (cause.kind, cause.type) == ("operator", "fire_timer")
    assert (cause.by, cause.reason) == ("ann", "no time")


def test_what_the_broker_fires_later_all_the_same_is_moot() -> None:
    scenario = _started().action("fire_timer", timer="bell")
    late = Cause(kind="timer", type="Rang", id="bell@1", seq=9, at=scenario.now, epoch=1)
    decision = decide(SAGA, Snapshot("k-1", scenario.instance, "h"), late, scenario.now)
    assert isinstance(decision, Ignored)
    assert decision.code == "timer_moot"


def test_a_handler_may_set_the_same_timer_again() -> None:
    scenario = _started("again").action("fire_timer", timer="bell")
    scenario.expect_state(rang=[1]).expect_timers("bell", "night@home")
    assert scenario.instance.timers["bell"].at == NOON + timedelta(minutes=5)
    scenario.when("Do", "").advance("6m").expect_state(rang=[1, 2])


def test_a_fired_timer_may_end_its_instance() -> None:
    _started("end").action("fire_timer", timer="bell").expect_status("completed").expect_timers()


def test_a_handler_that_raises_parks_and_a_retry_goes_on_with_the_timer() -> None:
    scenario = _started("raise")
    assert "cracked" in scenario.plan("fire_timer", timer="bell").error
    scenario.action("fire_timer", timer="bell").expect_parked("cracked")
    for action in TIMER_ACTIONS:
        scenario.action(action, timer="bell", to=60).expect_refused("retry or skip")
    scenario.action("patch", patch={"do": ""}).action("retry").expect_state(rang=[1])
    scenario.expect_timers("night@home").advance("1h").expect_state(rang=[1])


@pytest.mark.parametrize("how", ["pause", "park"])
def test_where_messages_wait_a_timer_fires_at_once_and_waits_with_them(how: str) -> None:
    scenario = _started()
    scenario = scenario.action("pause") if how == "pause" else scenario.when("Do", "break")
    scenario.action("fire_timer", timer="bell").expect_state(rang=[])
    assert scenario.instance.timers["bell"].at == scenario.now
    scenario.advance(1)
    assert [one.type for one in scenario.instance.backlog] == ["Rang"]
    scenario.action("fire_timer", timer="bell").expect_refused("waits in the backlog")
    scenario.action("resume" if how == "pause" else "skip").expect_state(rang=[1])
    scenario.advance("2h").expect_state(rang=[1])


# --- postpone


@pytest.mark.parametrize("later", [7200, "2026-01-05T15:00:00+01:00"])
def test_a_postponed_timer_fires_once_at_its_new_time(later: object) -> None:
    scenario = _started().action("postpone_timer", timer="bell", to=later)
    assert scenario.instance.timers["bell"].at == NOON + timedelta(hours=2)
    scenario.expect_timers("bell", "night@home").advance("119m").expect_state(rang=[])
    scenario.advance("1m").expect_state(rang=[1]).advance("1d").expect_state(rang=[1])


def test_a_timer_may_be_brought_forward() -> None:
    scenario = _started().action("postpone_timer", timer="bell", to=60)
    scenario.advance("1m").expect_state(rang=[1]).advance("1h").expect_state(rang=[1])


def test_postponing_takes_back_what_has_fired_and_waits() -> None:
    scenario = _started().action("pause").advance("31m")
    assert len(scenario.instance.backlog) == 1
    scenario.action("postpone_timer", timer="bell", to=600).action("resume")
    scenario.expect_state(rang=[]).expect_ignored("timer_moot")
    scenario.advance("10m").expect_state(rang=[1])


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        (None, "a time, or a delay"),
        ("2026-01-05T12:00:00Z", "is past"),
        ("2026-01-05T13:00:00", "no time zone"),
        ("2046-01-05T13:00:00Z", "more than ten years"),
        (-1, "outside 0 s"),
        (1e300, "outside 0 s"),
        (0, "fire it now"),
        ("2h", "can't be read"),
    ],
)
def test_a_time_that_makes_no_sense_is_refused(to: object, reason: str) -> None:
    body = to_raw({"timer": "bell", "to": to})
    cause = Cause(kind="operator", type="postpone_timer", id="a", seq=5, at=NOON, payload=body)
    decision = act(SAGA, Snapshot("k-1", _started().instance, "h"), cause, NOON)
    assert isinstance(decision, Refused)
    assert reason in decision.reason


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2h", 7200.0),
        ("90", None),
        ("2026-01-05T13:00:00Z", NOON + timedelta(hours=1)),
        ("2026-01-05T14:00+01:00", NOON + timedelta(hours=1)),
        (" 2026-01-05 13:00 ", NOON + timedelta(hours=1)),
        ("2026-13-05", None),
        ("0001-01-01T00:00+02:00", None),
        ("soon", None),
        ("", None),
    ],
)
def test_when_as_people_write_it(text: str, meant: object) -> None:
    if meant is None:
        with pytest.raises(BadDelay, match="can't read"):
            when(text)
    else:
        assert when(text) == meant


# --- cancel


def test_a_cancelled_timer_never_fires() -> None:
    scenario = _started().action("cancel_timer", timer="night@home").expect_timers("bell")
    scenario.expect(unschedule("night@home")).advance("1d").expect_state(rang=[1])


def test_cancelling_takes_back_what_has_fired_and_waits() -> None:
    scenario = _started().action("pause").advance("31m").action("cancel_timer", timer="bell")
    scenario.action("resume").expect_state(rang=[]).expect_ignored("timer_moot")


def test_a_compensation_that_waited_for_the_timer_alone_is_over() -> None:
    scenario = _started("undo").expect_status("compensating").expect_timers("undone")
    scenario.action("cancel_timer", timer="undone").expect_status("compensated")


# --- refused


@pytest.mark.parametrize("action", TIMER_ACTIONS)
def test_a_timer_that_is_not_set_is_refused_with_those_that_are(action: Action) -> None:
    scenario = _started().action(action, timer="bel", to=60)
    scenario.expect_refused("it may have fired; set: bell, night@home")
    scenario.action(action, to=60).expect_refused("say which timer")
    scenario.advance("31m").action(action, timer="bell", to=60).expect_refused("may have")
    _started("end").advance("31m").action(action, timer="bell").expect_refused("is completed")


@pytest.mark.parametrize("action", TIMER_ACTIONS)
def test_a_plan_is_refused_once_the_timer_has_fired(action: Action) -> None:
    scenario = _started()
    planned = scenario.plan(action, timer="bell", **_request(action))
    assert planned.hash
    scenario.advance("31m")
    scenario.action(action, timer="bell", **_request(action), plan=planned.hash)
    scenario.expect_refused("may have fired")


# --- what goes to the broker


def _request(action: Action) -> dict[str, Any]:
    return {"to": 60} if action == "postpone_timer" else {}


@pytest.mark.parametrize("do", ["", "again", "end", "raise"])
@pytest.mark.parametrize("action", TIMER_ACTIONS)
def test_the_broker_hears_of_each_timer_once_in_a_transition(action: Action, do: str) -> None:
    scenario = _started(do)
    names = Names()
    request = ActionRequest(timer="bell", **_request(action))
    cause = Cause(kind="operator", type=action, id="a", seq=5, at=NOON, payload=to_raw(request))
    decision = act(SAGA, Snapshot("k-1", scenario.instance, "h"), cause, NOON)
    assert isinstance(decision, Transition)
    sent = to_messages(names, decision.after, 0)
    subject = names.timer("T", "k-1", "bell")
    about = [
        one for one in sent if subject in (one.subject, dict(one.headers).get("Nats-Scheduler"))
    ]
    parked = decision.after.status == "parked"
    assert len(about) == (0 if parked else 1)
