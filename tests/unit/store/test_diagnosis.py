"""Goal: each reason to wait is one sentence that says what, since when, how late and what to do.

Method: documents made by hand and facts beside them; the sentences are compared as a whole.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import structs

from sagas.instance import Failure, Gate, Instance, OpenCommand, Parked, Timer
from sagas.messages import Cause, Raw
from store.diagnosis import Wait, headline, waits
from store.diagnosis_facts import ChildFacts, Facts, JobFacts, Letter, Pace, Tries
from store.port import QueueState
from store.wording import count, either, first_line, span

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
PACE = Pace(sample=1204, p50_s=20, p95_s=120, p99_s=360, followers=("Shipped",))


def _ago(**length: float) -> datetime:
    """A time before NOW."""
    return NOW - timedelta(**length)


def _cause(type: str = "OrderCreated", **more: Any) -> Cause:
    """A message that changed an instance."""
    fields: dict[str, Any] = {"kind": "event", "id": "m-1", "seq": 7, "at": _ago(minutes=41)}
    return Cause(type=type, **{**fields, **more})


def _instance(**more: Any) -> Instance:
    """An instance of Shop that has stood for 41 minutes."""
    fields: dict[str, Any] = {
        "v": 1,
        "saga": "Shop",
        "key": "o-1",
        "version": 3,
        "status": "running",
        "state": Raw(b"{}"),
        "started": _ago(hours=1),
        "at": _ago(minutes=41),
        "cause": _cause(),
        "effects": (),
        "error": None,
        "definition": "abc",
        "trace": "",
        "prev": "",
    }
    return Instance(**{**fields, **more})


def _told(instance: Instance, facts: Facts | None = None) -> list[str]:
    """The sentences."""
    return [wait.words for wait in waits(instance, facts or Facts(), NOW)]


def _one(instance: Instance, facts: Facts | None = None) -> Wait:
    """The only wait."""
    [wait] = waits(instance, facts or Facts(), NOW)
    return wait


def _sent(**more: Any) -> Instance:
    """An instance with one open command, sent 41 s ago."""
    command = OpenCommand(target="create-shipment", at=_ago(seconds=41))
    return _instance(commands={"Shop.o-1.3.0": structs.replace(command, **more)})


def _job(**more: Any) -> Facts:
    """Facts about the job of ``sent``."""
    return Facts(jobs={"create-shipment": JobFacts(**more)})


# --- commands


def test_a_queued_command_of_which_nothing_is_known() -> None:
    assert _told(_sent()) == ["command create-shipment queued 41 s"]


def test_attempt_error_and_absent_workers_are_one_sentence() -> None:
    facts = structs.replace(
        _job(workers=0, seen=_ago(hours=2)),
        tries={"Shop.o-1.3.0": Tries(number=2, error="TimeoutError: the carrier\nTraceback")},
    )
    assert _told(_sent(), facts) == [
        "command create-shipment sent 41 s ago, attempt 3 after TimeoutError: the carrier, no "
        "worker has asked for it for 2 h: start one with `snorri jobs create-shipment`"
    ]


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (
            _job(workers=0),
            "queued 41 s, no worker has ever served it: start one with "
            "`snorri jobs create-shipment`",
        ),
        (
            _job(workers=0, seen=_ago(days=3), enabled=False),
            "queued 41 s, its job is disabled: enable it in the code and start a worker",
        ),
        (
            _job(workers=2, queue=QueueState(waiting=1200, in_flight=5, asking=0)),
            "queued 41 s, 1,200 commands wait for 2 workers",
        ),
        (
            _job(workers=1, queue=QueueState(waiting=0, in_flight=1, asking=0)),
            "sent 41 s ago, a worker has it",
        ),
        (
            _job(workers=1, queue=QueueState(waiting=1, in_flight=0, asking=1)),
            "queued 41 s",
        ),
    ],
)
def test_who_serves_a_command(facts: Facts, words: str) -> None:
    assert _told(_sent(), facts) == [f"command create-shipment {words}"]


def test_a_late_command_is_measured_against_its_jobs_history() -> None:
    pace = Pace(sample=1204, p50_s=0.4, p95_s=1.5, p99_s=6)
    wait = _one(_sent(), _job(workers=1, pace=pace))
    assert wait.words == (
        "command create-shipment queued 41 s, 99 of 100 are answered within 6 s (1,204 seen)"
    )
    assert wait.overdue == 6.8
    assert wait.expected == _ago(seconds=35)


def test_between_the_95th_and_the_99th_percentile_it_is_told_but_not_overdue() -> None:
    pace = Pace(sample=1204, p50_s=0.4, p95_s=30, p99_s=60)
    wait = _one(_sent(), _job(workers=1, pace=pace))
    assert wait.words.endswith("95 of 100 are answered within 30 s (1,204 seen)")
    assert wait.overdue == 0.0


def test_a_small_sample_says_nothing() -> None:
    pace = Pace(sample=29, p50_s=0.4, p95_s=1.5, p99_s=6)
    wait = _one(_sent(), _job(workers=1, pace=pace))
    assert wait.words == "command create-shipment queued 41 s"
    assert (wait.expected, wait.overdue) == (None, 0.0)


def test_a_passed_deadline_and_an_undo_are_told() -> None:
    assert _told(_sent(timeout_s=30, undo="PaymentCompleted")) == [
        "command create-shipment (it undoes PaymentCompleted) queued 41 s, its deadline passed "
        "11 s ago"
    ]


def test_a_step_that_the_engine_carries_out_waits_for_no_worker() -> None:
    assert _told(_sent(inline=True), _job()) == [
        "command create-shipment begun 41 s ago, the engine itself carries it out"
    ]


def test_a_gated_command_knows_its_place() -> None:
    gated = _sent(gated=True, concurrency_key="c-7")
    assert _told(gated, Facts(ahead={"Shop.o-1.3.0": 3})) == [
        "command create-shipment waits for its turn: 3 ahead under concurrency key c-7 (41 s)"
    ]
    assert _told(gated) == [
        "command create-shipment waits for its turn under concurrency key c-7 (41 s)"
    ]


# --- timers, children, turns


def test_timers_come_in_the_order_they_fire() -> None:
    timers = {
        "late": Timer(at=NOW + timedelta(hours=3), version=1, type="GiveUp"),
        "approval-timeout": Timer(at=NOW + timedelta(minutes=5), version=1, type="NotApproved"),
    }
    assert _told(_instance(timers=timers)) == [
        "timer approval-timeout fires in 5 min (2026-11-21 12:05:00Z) and delivers NotApproved",
        "timer late fires in 3 h (2026-11-21 15:00:00Z) and delivers GiveUp",
    ]


def test_a_timer_that_did_not_fire_asks_for_the_engine() -> None:
    timers = {"t": Timer(at=_ago(minutes=2), version=1, type="GiveUp")}
    wait = _one(_instance(timers=timers))
    assert wait.words == (
        "timer t was due 2 min ago and GiveUp has not come yet; is an engine running? "
        "See `snorri doctor`"
    )
    assert wait.overdue == 1.0


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (Facts(), "child HotelSaga/h-1 is running"),
        (
            Facts(children={"HotelSaga/h-1": ChildFacts(status="running", since=_ago(hours=2))}),
            "child HotelSaga/h-1 has been running for 2 h",
        ),
        (Facts(children={"HotelSaga/h-1": ChildFacts()}), "child HotelSaga/h-1 has not begun"),
        (
            Facts(children={"HotelSaga/h-1": ChildFacts(status="parked", since=_ago(minutes=9))}),
            "child HotelSaga/h-1 has been parked for 9 min; `snorri show HotelSaga h-1` tells why",
        ),
        (
            Facts(
                children={"HotelSaga/h-1": ChildFacts()},
                lost_children={
                    "HotelSaga/h-1": Letter(
                        id="log-9-HotelSaga",
                        type="",
                        reason="no engine here knows the saga 'HotelSaga'; start one",
                        at=_ago(hours=1),
                    )
                },
            ),
            "child HotelSaga/h-1 was never started: no engine here knows the saga 'HotelSaga'; "
            "start one; then `snorri dead-letters redrive log-9-HotelSaga`, or "
            "`snorri dead-letters discard log-9-HotelSaga` counts it as failed",
        ),
    ],
)
def test_children(facts: Facts, words: str) -> None:
    assert _told(_instance(children={"HotelSaga/h-1": "running"}), facts) == [words]


def test_a_cancelled_parent_tells_of_children_it_left_running() -> None:
    parent = _instance(
        status="cancelled", children={"HotelSaga/h 1": "running", "HotelSaga/h-2": "completed"}
    )
    assert _told(parent) == [
        "child HotelSaga/h 1 is running although its parent is cancelled: an end does not reach "
        "children; `snorri cancel HotelSaga 'h 1'` ends it"
    ]


def test_a_new_instance_waits_for_its_turn() -> None:
    waiting = _instance(gate=Gate(key="saga/Shop/c-7"), backlog=(_cause(),))
    assert _told(waiting, Facts(ahead={"": 3})) == [
        "has waited 60 min for its turn: 3 ahead under concurrency key c-7",
        "1 message waits in its backlog until it has its turn",
    ]
    everyone = _instance(gate=Gate(key="saga/Shop/"))
    assert _told(everyone, Facts(ahead={"": 0})) == [
        "has waited 60 min for its turn: the next to go in under the limit of its saga"
    ]


def test_who_holds_its_slot_waits_for_something_else() -> None:
    held = _instance(gate=Gate(key="saga/Shop/c-7", held=True))
    assert _told(held, Facts(expects=("OrderClosed",))) == [
        "nothing is open: it waits for OrderClosed"
    ]


# --- stopped


def test_a_parked_instance_tells_what_raised_and_how_to_go_on() -> None:
    parked = _instance(
        status="parked",
        error=Failure(type="ValueError", message="an amount below zero.\nmore", traceback="…"),
        parked=Parked(cause=_cause("PaymentDeclined"), attempts=2),
        backlog=(_cause("A"), _cause("B")),
    )
    assert _told(parked) == [
        "parked since 2026-11-21 11:19:00Z (41 min) on PaymentDeclined (attempt 2): ValueError: an "
        "amount below zero; mend the cause, then `snorri retry Shop o-1`, or give it up with "
        "`snorri skip Shop o-1`",
        "2 messages wait in its backlog until it is retried or skipped",
    ]


def test_the_command_that_parked_it_is_not_told_as_on_its_way() -> None:
    commands = {id: OpenCommand(target=id, at=_ago(minutes=1)) for id in ("pay", "ship")}
    parked = _instance(status="parked", commands=commands, parked=Parked(command="pay"))
    told = _told(parked)
    assert len(told) == 2
    assert told[1].startswith("command ship ")


def test_it_is_parked_since_the_status_began_not_since_the_last_message() -> None:
    parked = _instance(status="parked", error=Failure(type="CommandFailed", message="no"))
    assert _told(parked, Facts(since=_ago(days=3)))[0].startswith(
        "parked since 2026-11-18 12:00:00Z (3 d): CommandFailed: no; mend"
    )


def test_a_paused_instance_tells_who_and_why() -> None:
    by_anna = _cause("pause", kind="operator", by="anna", reason="stock count")
    assert _told(_instance(status="paused", paused="running", cause=by_anna)) == [
        "paused by anna since 2026-11-21 11:19:00Z (41 min): stock count; `snorri resume Shop o-1` "
        "lets it go on"
    ]


def test_a_message_that_came_meanwhile_does_not_hide_who_paused() -> None:
    paused = _instance(status="paused", paused="running", backlog=(_cause("A"),))
    facts = Facts(since=_ago(hours=3), paused_by="anna", paused_why="")
    assert _told(paused, facts) == [
        "paused by anna since 2026-11-21 09:00:00Z (3 h); `snorri resume Shop o-1` lets it go on",
        "1 message waits in its backlog until it is resumed",
    ]


def test_no_engine_comes_first() -> None:
    assert _told(_sent(), Facts(engines=0)) == [
        "no engine is running, so nothing moves; start one with `snorri engine`",
        "command create-shipment queued 41 s",
    ]
    assert _told(_sent(), Facts(engines=2, able=0))[0] == (
        "no running engine has code for Shop; start one with the app that defines it: "
        "`snorri engine --app …`"
    )
    assert _told(_sent(), Facts(engines=2, able=1)) == ["command create-shipment queued 41 s"]


# --- nothing open


def test_nothing_open_names_what_the_saga_takes() -> None:
    facts = Facts(expects=("InventoryReserved", "PaymentFailed"))
    assert _told(_instance(), facts) == [
        "nothing is open: it waits for InventoryReserved or PaymentFailed"
    ]
    assert _told(_instance()) == ["nothing is open: it waits for a message"]


def test_history_knows_better_what_comes_next_and_how_late_it_is() -> None:
    found = waits(_instance(), Facts(expects=("A", "B"), pace=PACE), NOW)
    assert [wait.words for wait in found] == [
        "nothing is open: it waits for Shipped",
        "it has stood 41 min since OrderCreated, 99 of 100 went on within 6 min (1,204 seen)",
    ]
    assert found[1].overdue == 6.8
    assert headline(found) == "nothing is open: it waits for Shipped"


def test_a_small_history_names_no_followers() -> None:
    few = structs.replace(PACE, sample=29)
    assert _told(_instance(), Facts(expects=("A",), pace=few)) == [
        "nothing is open: it waits for A"
    ]


def test_a_dead_letter_for_it_is_told_even_after_its_end() -> None:
    letter = Letter(id="events-8-Shop", type="OrderClosed", reason="no key", at=_ago(hours=1))
    words = (
        "the message OrderClosed could not reach it: no key; "
        "`snorri dead-letters redrive events-8-Shop` sends it again"
    )
    assert _told(_instance(status="completed"), Facts(letters=(letter,))) == [words]
    assert _told(_instance(), Facts(letters=(letter,)))[0] == words


def test_a_finished_instance_waits_for_nothing() -> None:
    assert waits(_instance(status="completed"), Facts(engines=0, pace=PACE), NOW) == []
    assert headline([]) == ""


# --- words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 ms"),
        (0.41, "410 ms"),
        (1, "1 s"),
        (116, "116 s"),
        (119, "2 min"),
        (120, "2 min"),
        (7000, "117 min"),
        (7199, "2 h"),
        (7200, "2 h"),
        (167_000, "46 h"),
        (172_799, "2 d"),
        (172_800, "2 d"),
        (-5, "0 ms"),
    ],
)
def test_spans(seconds: float, words: str) -> None:
    assert span(seconds) == words
    assert span(timedelta(seconds=seconds)) == words


def test_counts_choices_and_first_lines() -> None:
    assert [count(1, "job"), count(2, "job")] == ["1 job", "2 jobs"]
    assert either(("A",)) == "A"
    assert either(tuple("ABCDEFG")) == "A, B, C, D, E or 2 more"
    assert first_line("  one.\ntwo") == "one"
    assert first_line("x" * 500) == "x" * 159 + "…"
