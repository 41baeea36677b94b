"""Goal: an operator's action does what it says, is a transition with who and why, or is refused.

Method: each action on an instance that needs it, and on one whose status does not allow it; plans
are compared with what is committed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec import Raw, Struct

from sagas import Message, SagaHandle, complete, define_saga, fail, send, spawn
from sagas.actions import (
    ACTION_STATUSES,
    ACTIONS,
    TIMER_ACTIONS,
    Action,
    act,
    allowed,
    merge_patch,
    plan,
)
from sagas.gate import gate_definition
from sagas.instance import FINISHED, STATUS_TRANSITIONS
from sagas.kernel import Refused, Snapshot, Transition, decide
from sagas.testing import Scenario, given
from tests.unit.sagas.factories import AT, after, cause, event, started


class State(Struct):
    """What is on record."""

    taken: list[str] = []
    note: str = ""


Handle = SagaHandle[State]


def _do(saga: Handle, message: Message[Any]) -> Any:
    word = message.payload
    saga.state.taken.append(word)
    match word:
        case "raise":
            raise RuntimeError("as asked")
        case "send":
            return send("job", {"x": 1})
        case "keyed":
            return send("job", concurrency_key="c")
        case "end":
            return complete()
        case _:
            return None


def _typed(saga: Handle, message: Message[int]) -> None:
    saga.state.note = f"poked {message.payload} by {message.by}: {message.reason}"


def _undo(saga: Handle, message: Message[Any]) -> Any:
    saga.state.note = "undone"
    if message.payload == "raise":
        raise RuntimeError("can't undo")
    return send("undo-job") if message.payload == "send" else None


SAGA = (
    define_saga("S")
    .state(State())
    .on("Start", _do)
    .on("Do", _do)
    .on("Done", lambda saga: None)
    .compensate("Undo", _undo)
    .compensate("Other", lambda saga: fail("ended by its undo"))
    .on_signal("Poke", _typed)
    .build()
)


def _parked() -> Scenario:
    return given(SAGA).when("Start", "start").when("Do", "raise").expect_parked("as asked")


def test_statuses_and_actions_fit_together() -> None:
    assert set(ACTION_STATUSES) == {*ACTIONS, *TIMER_ACTIONS}
    assert "retry" in allowed("parked")
    assert allowed("compensated") == ()
    for status in FINISHED:
        assert "signal" not in allowed(status)
        assert "running" not in STATUS_TRANSITIONS[status]


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_needs_an_instance_and_a_status(action: Action) -> None:
    nobody = act(SAGA, Snapshot("k"), cause("operator", action), AT)
    assert isinstance(nobody, Refused)
    assert "check saga and key" in nobody.reason
    if "completed" not in ACTION_STATUSES[action]:
        given(SAGA).when("Start", "end").action(action).expect_refused("is completed")


def test_who_why_and_when_are_on_record() -> None:
    scenario = given(SAGA).when("Start", "start").action("pause", by="ann", reason="holiday")
    cause_ = scenario.instance.cause
    assert (cause_.kind, cause_.type, cause_.by, cause_.reason) == (
        "operator",
        "pause",
        "ann",
        "holiday",
    )


def test_an_action_counts_once_and_at_the_version_it_names() -> None:
    snapshot = started(SAGA, "start")
    pause = cause("operator", "pause", {"version": 1}, id="a-1")
    snapshot = after(act(SAGA, snapshot, pause, AT))
    again = act(SAGA, snapshot, pause, AT)
    assert isinstance(again, Refused)
    assert "before" in again.reason
    old = act(SAGA, snapshot, cause("operator", "resume", {"version": 1}), AT)
    assert isinstance(old, Refused)
    assert "look again" in old.reason


@pytest.mark.parametrize("payload", [b"{", b'{"types": 5}', b"[]", b'{"payload": "\xff"}'])
def test_an_action_that_can_not_be_read_is_refused(payload: bytes) -> None:
    bad = cause("operator", "compensate", Raw(payload))
    assert isinstance(act(SAGA, started(SAGA, "start"), bad, AT), Refused)


# --- retry


def test_retry_repeats_the_message_and_the_backlog_follows() -> None:
    scenario = _parked().when("Do", "next").expect_nothing()
    scenario.action("retry", payload="better").expect_status("running")
    scenario.expect_state(taken=["start", "better", "next"])


def test_a_retry_that_fails_parks_again_and_counts() -> None:
    scenario = _parked().action("retry", by="ann", reason="hope").expect_parked("as asked")
    parked, cause_ = scenario.instance.parked, scenario.instance.cause
    assert parked is not None
    assert parked.attempts == 2
    assert (cause_.kind, cause_.by, cause_.reason) == ("operator", "ann", "hope")


def test_the_first_message_can_be_retried() -> None:
    scenario = given(SAGA).when("Start", "raise").expect_parked("as asked").expect_state(taken=[])
    scenario.action("retry", payload="start").expect_status("running").expect_state(taken=["start"])


def test_the_traceback_begins_in_the_handler_and_names_no_machine() -> None:
    error = _parked().instance.error
    assert error is not None
    assert 'File "test_actions.py"' in error.traceback
    assert "/" not in error.traceback.split("RuntimeError")[0]
    assert "sagas" not in error.traceback


def test_retry_sends_a_failed_command_again_under_its_own_id() -> None:
    scenario = given(SAGA).when("Start", "send").when_failed("job", "broken").expect_parked()
    scenario.action("retry", payload={"x": 2}).expect(send("job", {"x": 2}))
    assert list(scenario.instance.commands) == ["S.k-1.1.0"]
    scenario.when_answer("job", "Done").expect_status("running")


def test_retry_names_a_command_that_is_open() -> None:
    scenario = given(SAGA).when("Start", "send")
    scenario.action("retry").expect_refused("not parked")
    scenario.action("retry", command="S.k-1.7.0").expect_refused("open: S.k-1.1.0")
    scenario.action("retry", command="S.k-1.1.0").expect(send("job", {"x": 1}))


def test_retrying_an_answer_closes_its_command_and_frees_its_key() -> None:
    scenario = given(SAGA).when("Start", "keyed").when_answer("job", "Do", "raise").expect_parked()
    assert scenario.instance.commands
    scenario.action("retry", payload="fine").expect_status("running")
    assert not scenario.instance.commands
    scenario.when("Do", "keyed").when_answer("job", "Done")  # is let in at once


# --- skip


def test_skip_gives_the_message_up_and_goes_on() -> None:
    scenario = _parked().when("Do", "next").action("skip", reason="no good")
    scenario.expect_status("running").expect_state(taken=["start", "next"])


def test_skip_closes_the_command_whose_answer_it_gives_up() -> None:
    scenario = given(SAGA).when("Start", "send").when_answer("job", "Do", "raise").action("skip")
    scenario.expect_status("running").expect_ignored("moot")
    assert not scenario.instance.commands


def test_skip_needs_something_parked() -> None:
    given(SAGA).when("Start", "start").action("skip").expect_refused("possible:")


# --- cancel


def test_cancel_ends_it_with_all_that_waits() -> None:
    scenario = _parked().when("Do", "next").action("cancel", reason="enough")
    scenario.expect_status("cancelled").expect_nothing()
    assert [one.code for _, one in scenario.ignored] == ["moot", "finished"]
    assert scenario.instance.error is not None
    assert scenario.instance.error.message == "enough"


# --- compensate


def test_compensate_needs_to_know_what_and_does_it_once() -> None:
    scenario = given(SAGA).when("Start", "send").action("compensate")
    scenario.expect_refused("can undo: Undo, Other")
    scenario.action("compensate", types=["Never"]).expect_refused("S has: Other, Undo")
    scenario.action("compensate", types=["Undo"], payload="send").expect_status("compensating")
    scenario.action("compensate", types=["Undo"]).expect_refused("runs once")
    scenario.when_answer("undo-job", "Done").when_answer("job", "Done")
    scenario.expect_status("compensated")


def test_an_undo_that_raises_changes_nothing() -> None:
    scenario = given(SAGA).when("Start", "start")
    scenario.action("compensate", types=["Undo"], payload="raise").expect_refused("can't undo")
    scenario.expect_status("running").expect_state(note="")


def test_compensating_a_parked_instance_lets_its_message_go() -> None:
    scenario = given(SAGA).when("Start", "send").when_answer("job", "Do", "raise")
    scenario.action("compensate", types=["Undo"]).expect_status("compensated")
    assert [one.code for _, one in scenario.ignored] == ["moot"]


def test_compensating_a_finished_instance_ends_it_anew() -> None:
    scenario = given(SAGA).when("Start", "end").action("compensate", types=["Other"])
    scenario.expect_status("failed").expect_state(note="")


# --- signal, patch, pause


def test_a_signal_reaches_its_handler_with_who_and_why() -> None:
    scenario = given(SAGA).when("Start", "start")
    scenario.action("signal", by="ann", reason="why", name="Poke", payload=3)
    scenario.expect_state(note="poked 3 by ann: why")
    scenario.action("signal", name="Poke", payload="x").expect_refused("does not fit")
    scenario.action("signal", name="Push").expect_refused("it declares: Poke")


def test_a_signal_waits_its_turn() -> None:
    scenario = _parked().signal("Poke", 3).expect_state(note="")
    scenario.action("skip").expect_state(note="poked 3 by tester: ")


def test_patch_merges_or_replaces_and_has_to_fit() -> None:
    scenario = given(SAGA).when("Start", "start").action("patch", patch={"note": "mended"})
    scenario.expect_state(note="mended", taken=["start"])
    scenario.action("patch", state={"taken": []}).expect_state(note="", taken=[])
    scenario.action("patch", patch={"taken": 5}).expect_refused("Expected")
    scenario.action("patch").expect_refused("a whole new state or a patch")


@pytest.mark.parametrize(
    ("target", "patch", "merged"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": None, "d": 3}}, {"a": {"c": 2, "d": 3}}),
        ({"a": 1}, {"a": [1]}, {"a": [1]}),
        ({"a": 1}, "text", "text"),
        ("text", {"a": {"b": None}}, {"a": {}}),
    ],
)
def test_merging_follows_rfc_7396(target: object, patch: object, merged: object) -> None:
    assert merge_patch(target, patch) == merged


def test_pause_and_resume_come_back_to_where_it_was() -> None:
    scenario = given(SAGA).when("Start", "send")
    scenario.action("compensate", types=["Undo"], payload="send").action("pause")
    scenario.expect_status("paused").action("resume").expect_status("compensating")


# --- plans


def test_a_plan_says_what_would_happen_and_that_happens() -> None:
    scenario = given(SAGA).when("Start", "send")
    planned = scenario.plan("compensate", types=["Undo"], payload="send")
    assert (planned.status, planned.status_after) == ("running", "compensating")
    assert planned.cannot_undo == ("Other: not chosen",)
    assert planned.in_flight == ("job (S.k-1.1.0)",)
    assert len(scenario.history) == 1
    scenario.action("compensate", types=["Undo"], payload="send", plan=planned.hash)
    assert scenario.instance.effects == planned.effects


def test_a_plan_names_the_children_that_go_on_by_themselves() -> None:
    parent = (
        define_saga("P")
        .state({})
        .on("Begin", lambda saga, message: spawn("Kid", {}, key="k-9"), starts=True)
        .build()
    )
    planned = given(parent).when("Begin").plan("cancel")
    assert planned.in_flight == ("child Kid/k-9: no action on its parent reaches it",)


def test_a_plan_holds_only_for_the_instance_it_was_made_for() -> None:
    scenario = given(SAGA).when("Start", "start")
    planned = scenario.plan("cancel")
    scenario.when("Do", "next").action("cancel", plan=planned.hash).expect_refused("moved")
    scenario.action("cancel", plan="made up").expect_refused("none of ours")
    fresh = scenario.plan("cancel")
    scenario.advance("2h").action("cancel", plan=fresh.hash).expect_refused("too old")
    scenario.action("cancel", plan=scenario.plan("cancel").hash).expect_status("cancelled")


def test_a_plan_that_would_be_refused_has_no_hash() -> None:
    planned = plan(SAGA, started(SAGA, "start"), cause("operator", "resume"), AT)
    assert (planned.hash, planned.status_after) == ("", "running")
    assert "possible" in planned.refused
    later = plan(SAGA, Snapshot("k"), cause("operator", "cancel"), AT + timedelta(days=1))
    assert "does not exist" in later.refused


def test_a_gate_can_only_be_patched() -> None:
    ask = {"saga": "S", "key": "k", "holder": "", "limit": 1}
    decision = decide(gate_definition(), Snapshot("g"), cause("signal", "Snorri-Acquire", ask), AT)
    snapshot = after(decision)
    refused = act(gate_definition(), snapshot, cause("operator", "cancel"), AT)
    assert isinstance(refused, Refused)
    assert "patch its state" in refused.reason
    mended = act(
        gate_definition(), snapshot, cause("operator", "patch", {"patch": {"held": []}}), AT
    )
    assert isinstance(mended, Transition)


def test_events_and_actions_do_not_mix_ids() -> None:
    snapshot = after(act(SAGA, started(SAGA, "start"), cause("operator", "pause", id="x"), AT))
    snapshot = after(act(SAGA, snapshot, cause("operator", "resume", id="y"), AT))
    assert isinstance(decide(SAGA, snapshot, event("Do", "a", id="z"), AT), Transition)
