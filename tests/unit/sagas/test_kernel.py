"""Goal: what one message does to one instance, in every status, is what the contract says.

Method: small sagas in the test harness or straight at the kernel; next to each thing that happens
stands one that must not.
"""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw, Struct

from sagas import (
    Context,
    Message,
    SagaDefinition,
    SagaHandle,
    complete,
    define_saga,
    fail,
    publish,
    schedule,
    send,
    spawn,
    unschedule,
)
from sagas.effects import EFFECTS_MAX
from sagas.instance import BACKLOG_MAX, COMMANDS_MAX, PAYLOAD_BYTES_MAX, SEEN_MAX, TIMERS_MAX
from sagas.kernel import Ignored, Snapshot, Transition, Undeliverable, decide
from sagas.messages import Address, Cause
from sagas.testing import given
from tests.unit.sagas.factories import AT, after, cause, event, started

Handle = SagaHandle[dict[str, Any]]


def _do(saga: Handle, message: Message[Any]) -> Any:
    """Return the effects that the test put into ``EFFECTS`` under the message's payload."""
    return EFFECTS[message.payload]() if isinstance(message.payload, str) else None


EFFECTS: dict[str, Any] = {
    "send": lambda: send("job", {"x": 1}),
    "late": lambda: [send("job"), complete("done")],
    "twice": lambda: [complete(), complete()],
    "timer": lambda: schedule({"type": "Rang"}, "5m", id="a@b"),
    "timers": lambda: [schedule({"type": "Rang"}, n + 1) for n in range(TIMERS_MAX + 1)],
    "no timer": lambda: unschedule("a@b"),
    "many": lambda: [publish("T") for _ in range(EFFECTS_MAX + 1)],
    "commands": lambda: [send("job") for _ in range(200)],
    "child": lambda: spawn("Kid", {"x": 1}),
    "large": lambda: [send("job", "x" * 300_000) for _ in range(2)],
    "nonsense": lambda: "send",
    "unwritable": lambda: fail("\ud800"),
}


def _saga(**more: Any) -> SagaDefinition:
    chain = define_saga("S").state({}).on_unknown(more.get("on_unknown", "dead_letter"))
    chain.on("Start", _do).on("Do", _do).on("Rang", _do).on("Done", _do).on("Kid.completed", _do)
    return chain.on_signal("Poke", _do).build()


SAGA = _saga()


def test_only_a_starting_message_begins_an_instance() -> None:
    transition = decide(SAGA, Snapshot("k"), event("Start"), AT)
    assert isinstance(transition, Transition)
    first = transition.after
    assert (first.version, first.status, first.prev, first.started) == (1, "running", "", AT)
    assert isinstance(decide(SAGA, Snapshot("k"), event("Do"), AT), Undeliverable)


@pytest.mark.parametrize(
    ("policy", "outcome"),
    [("start", Transition), ("ignore", Ignored), ("dead_letter", Undeliverable)],
)
def test_a_message_that_finds_no_instance(policy: str, outcome: type) -> None:
    assert isinstance(decide(_saga(on_unknown=policy), Snapshot("k"), event("Do"), AT), outcome)


@pytest.mark.parametrize(
    "nobody",
    [
        cause("signal", "Snorri-Drain"),
        cause("child", "Kid.completed"),
        cause("timer", "Rang", id="a@3", epoch=3),
        cause("timer", "Start", id="a@3", epoch=3),
        event("Unheard"),
    ],
)
def test_what_belongs_to_an_instance_never_begins_one(nobody: Cause) -> None:
    assert isinstance(decide(SAGA, Snapshot("k"), nobody, AT), Ignored)


def test_a_cron_tick_begins_one_and_a_second_one_does_not() -> None:
    tick = cause("timer", "Start", {"at": "…"}, id="cron@2026")
    snapshot = after(decide(SAGA, Snapshot("2026"), tick, AT))
    assert isinstance(decide(SAGA, snapshot, tick, AT), Ignored)


def test_a_child_begins_once_and_knows_its_parent() -> None:
    spawned = cause("spawn", "Start", "send", parent=Address("P", "p"))
    snapshot = after(decide(SAGA, Snapshot("k"), spawned, AT))
    assert snapshot.instance is not None
    assert snapshot.instance.parent == Address("P", "p")
    again = decide(SAGA, snapshot, spawned, AT)
    assert isinstance(again, Undeliverable)
    assert "key of its own" in again.reason


def test_a_message_id_counts_once_for_as_long_as_history_knows_it() -> None:
    snapshot = started(SAGA)
    for n in range(SEEN_MAX + 1):
        snapshot = after(decide(SAGA, snapshot, event("Do", id=f"n-{n}"), AT))
    old, new = event("Do", id="m-0"), event("Do", id=f"n-{SEEN_MAX}")
    assert isinstance(decide(SAGA, snapshot, new, AT), Ignored)
    assert isinstance(decide(SAGA, snapshot, old, AT, handled={"m-0"}), Ignored)
    assert isinstance(decide(SAGA, snapshot, old, AT), Transition)


def test_an_event_can_not_take_the_id_of_a_timer() -> None:
    scenario = given(SAGA).when("Start", "timer").when("Do", id="a@b@1").advance("5m")
    assert scenario.history[-1].cause.type == "Rang"


@pytest.mark.parametrize(
    "payload", [b"{", b"\xff", b'{"a":"\xff"}', b"[" * 200 + b"]" * 200, b"", b'"\x01"']
)
def test_what_can_not_be_read_is_never_recorded(payload: bytes) -> None:
    snapshot = started(SAGA, "send")
    answer = Cause(
        kind="event", type="Done", id="m", seq=1, at=AT, payload=Raw(payload), answers="S.k.1.0"
    )
    decision = decide(SAGA, snapshot, answer, AT)
    assert isinstance(decision, Undeliverable)
    assert "payload" in decision.reason


def test_a_payload_that_is_too_large_is_a_dead_letter() -> None:
    large = event("Start", "x" * PAYLOAD_BYTES_MAX)
    decision = decide(SAGA, Snapshot("k"), large, AT)
    assert isinstance(decision, Undeliverable)
    assert "reference" in decision.reason


# --- answers


def test_a_command_is_answered_once() -> None:
    scenario = given(SAGA).when("Start", "send").when_answer("job", "Done", id="r-1")
    assert scenario.instance.commands == {}
    late = event("Done", id="r-2", answers="S.k-1.1.0")
    snapshot = after(decide(SAGA, Snapshot("k-1"), event("Start", "send"), AT))
    snapshot = after(decide(SAGA, snapshot, event("Done", id="r-1", answers="S.k-1.1.0"), AT))
    decision = decide(SAGA, snapshot, late, AT)
    assert isinstance(decision, Ignored)
    assert decision.code == "already_answered"


def test_an_answer_to_what_was_never_asked_is_a_dead_letter() -> None:
    decision = decide(SAGA, started(SAGA, "send"), event("Done", answers="S.k.9.0"), AT)
    assert isinstance(decision, Undeliverable)


@pytest.mark.parametrize("id", ["S.other.1.0", "T.k.1.0", "nonsense", "S..1.0"])
def test_an_answer_to_somebody_else_is_an_event_like_any_other(id: str) -> None:
    snapshot = after(decide(SAGA, started(SAGA, "send"), event("Done", answers=id), AT))
    assert snapshot.instance is not None
    assert snapshot.instance.commands
    assert snapshot.instance.cause.answers == ""


def test_an_answer_without_handler_only_closes_its_command() -> None:
    scenario = given(SAGA).when("Start", "send").when_answer("job", "Mute")
    scenario.expect_nothing().expect_status("running")
    assert not scenario.instance.commands


def test_a_failure_nobody_handles_parks_and_a_handled_one_does_not() -> None:
    given(SAGA).when("Start", "send").when_failed("job", "broken").expect_parked("broken")
    given(SAGA).when("Start", "send").when_failed("job", type="Done").expect_status("running")


def test_a_finished_instance_notes_late_answers_and_takes_nothing_else() -> None:
    scenario = given(SAGA).when("Start", "late").expect_status("completed").expect_result("done")
    assert scenario.instance.commands
    scenario.when("Do", "send").expect_ignored("finished").expect_nothing()
    scenario.when_answer("job", "Done").expect_nothing().expect_status("completed")
    assert not scenario.instance.commands


# --- timers


def test_a_timer_fires_once_and_only_as_it_is_set_now() -> None:
    scenario = given(SAGA).when("Start", "timer").advance("4m").when("Do", "timer")
    scenario.expect_timers("a@b").advance("4m").expect_nothing()
    assert scenario.history[-1].cause.type == "Do"
    scenario.advance("1m").expect_timers()
    assert scenario.history[-1].cause.type == "Rang"
    old = cause("timer", "Rang", id="a@b@1", epoch=1)
    snapshot = after(decide(SAGA, started(SAGA, "timer"), event("Do", "timer", id="m-2"), AT))
    decision = decide(SAGA, snapshot, old, AT)
    assert isinstance(decision, Ignored)
    assert decision.code == "timer_moot"


def test_an_unscheduled_timer_is_moot() -> None:
    scenario = given(SAGA).when("Start", "timer").when("Do", "no timer").expect(unschedule("a@b"))
    scenario.when("Do", "no timer").expect_nothing().advance("1d").expect_nothing()


# --- waiting


def test_a_paused_instance_takes_its_messages_in_order_later() -> None:
    scenario = given(SAGA).when("Start").action("pause").when("Do", "send").when("Do", "timer")
    scenario.expect_nothing().action("resume")
    scenario.expect(send("job", {"x": 1}), schedule({"type": "Rang"}, "5m", id="a@b"))
    assert not scenario.instance.backlog


def test_a_backlog_is_bounded() -> None:
    scenario = given(SAGA).when("Start").action("pause")
    for _ in range(BACKLOG_MAX):
        scenario.when("Do")
    scenario.when("Do").expect_refused("backlog")
    scenario.action("signal", name="Poke").expect_refused("messages wait")


def test_a_message_nobody_handles_does_not_block_the_backlog() -> None:
    snapshot = after(decide(SAGA, Snapshot("k-1"), event("Start"), AT))
    scenario = given(SAGA).when("Start").action("pause")
    assert snapshot.instance is not None
    unknown = cause("signal", "Nothing")
    scenario._deliver(unknown)
    scenario.when("Do", "send").action("resume").expect(send("job", {"x": 1}))
    scenario.expect_ignored("no_handler")


def test_what_waits_at_the_end_is_noted() -> None:
    scenario = given(SAGA).when("Start", "send").action("pause")
    scenario.when_answer("job", "Done").when("Do", "send").action("cancel")
    assert [code.code for _, code in scenario.ignored] == ["finished", "finished"]
    scenario.expect_nothing().expect_status("cancelled")
    assert not scenario.instance.backlog
    assert not scenario.instance.commands


# --- limits and faults


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("twice", "ends its instance twice"),
        ("many", f"{EFFECTS_MAX} effects"),
        ("timers", f"{TIMERS_MAX} timers"),
        ("large", "bytes"),
        ("nonsense", "return effects"),
        ("unwritable", "surrogates"),
    ],
)
def test_what_can_not_be_carried_out_parks_and_does_nothing(what: str, words: str) -> None:
    scenario = given(SAGA).when("Start").when("Do", what).expect_parked(words).expect_nothing()
    assert not scenario.instance.timers


def test_open_commands_are_bounded() -> None:
    scenario = given(SAGA).when("Start", "commands").when("Do", "commands")
    assert len(scenario.instance.commands) == COMMANDS_MAX
    scenario.when("Do", "send").expect_parked("without an answer")


class Typed(Struct):
    """A state with types."""

    n: int = 0


def _spoil(saga: SagaHandle[Any]) -> None:
    saga.state.n = "text"


def test_a_state_that_could_not_be_read_again_is_not_stored() -> None:
    saga = define_saga("T").state(Typed(3)).on("Start", lambda saga: None).on("Spoil", _spoil)
    scenario = given(saga.build()).when("Start").when("Spoil").expect_parked("can't be read back")
    scenario.expect_state(n=3)


def _grow(saga: SagaHandle[Any]) -> None:
    saga.state = {"x": "y" * 400_000}


def test_a_state_that_is_too_large_is_not_stored() -> None:
    saga = define_saga("T").state({}).on("Start", lambda saga: None).on("Grow", _grow).build()
    given(saga).when("Start").when("Grow").expect_parked("bytes").expect_state()


def _look(saga: Handle, message: Message[Any], context: Context[Any]) -> None:
    saga.state = {
        "saga": context.saga_id,
        "id": context.instance_id,
        "attempt": context.attempt,
        "now": context.now.isoformat(),
        "version": context.version,
        "kind": message.kind,
        "message": message.id,
        "handle": [saga.id, saga.key, saga.version],
    }


def test_a_handler_is_told_who_and_when_it_is() -> None:
    scenario = given(define_saga("T").state({}).on("Start", _look).build()).when("Start", id="m-7")
    now = scenario.now.isoformat()
    scenario.expect_state(saga="T", id="T/k-1", attempt=1, now=now, version=1, kind="event")
    scenario.expect_state(message="m-7", handle=["T/k-1", "k-1", 1])


def test_children_are_noted_as_they_end() -> None:
    scenario = given(SAGA).when("Start", "child").expect(spawn("Kid", {"x": 1}))
    (child,) = scenario.instance.children
    assert child == "Kid/k-1-1-0"
    scenario.child_ended("Kid", status="failed").expect_nothing()
    assert scenario.instance.children == {child: "failed"}
