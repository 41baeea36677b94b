"""Goal: small values of the authors' language (delays, cron, retries, effects) fail where written.

Method: tables of what is taken and what is refused, each refusal with the words that help.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec
import pytest
from msgspec import Raw, Struct

from sagas import (
    DefinitionError,
    Message,
    RetryPolicy,
    cancel,
    compensate,
    complete,
    fail,
    publish,
    retry,
    schedule,
    send,
    spawn,
    unschedule,
)
from sagas.cron import check_cron
from sagas.durations import moment, seconds
from sagas.errors import BadDelay, error_text
from sagas.messages import to_raw
from sagas.names import BadName
from sagas.retry import delay
from store.memory.cron import parse_cron

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("30s", 30), ("5m", 300), ("1h30m", 5400), ("1d 2h", 93600), (1.5, 1.5), ("500ms", 0.5)],
)
def test_a_delay_is_read(given: float | str, expected: float) -> None:
    assert seconds(given) == expected
    assert moment(given, NOW) == NOW + timedelta(seconds=expected)


@pytest.mark.parametrize("given", ["", "5", "5 minutes", "-1s", -1, True, float("nan"), "11000d"])
def test_what_is_no_delay_is_refused(given: Any) -> None:
    with pytest.raises(BadDelay):
        seconds(given)


def test_a_time_needs_a_zone() -> None:
    assert moment(NOW, NOW) == NOW
    with pytest.raises(BadDelay, match="time zone"):
        moment(datetime(2026, 1, 1), NOW)
    with pytest.raises(ValueError, match="time zone"):
        schedule({"type": "T"}, datetime(2026, 1, 1))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("0 0 2 * * *", "0 0 2 * * *"),
        ("*/5 * * * *", "0 */5 * * * *"),
        ("0 0 9-17 * JAN mon-fri", "0 0 9-17 * JAN mon-fri"),
        ("@daily", "@daily"),
        ("@every 90s", "@every 90s"),
    ],
)
def test_a_cron_expression_is_taken(given: str, expected: str) -> None:
    assert check_cron(given) == expected


@pytest.mark.parametrize(
    ("given", "days"),
    [
        ("7", "0"),
        ("5-7", "5,6,0"),
        ("Fri-7", "5,6,0"),
        ("1,7", "1,0"),
        ("1-7/2", "1,3,5,0"),
        ("7/2", "0"),
        ("0-7", "0,1,2,3,4,5,6,0"),
        ("*/7", "*/7"),
        ("mon-fri", "mon-fri"),
    ],
)
def test_a_sunday_that_is_seven_is_one_that_the_broker_takes(given: str, days: str) -> None:
    checked = check_cron(f"0 0 9 * * {given}")
    assert checked == f"0 0 9 * * {days}"
    parse_cron(checked)  # refuses what the broker does
    assert check_cron(checked) == checked


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ("* * *", "fields"),
        ("0 61 * * * *", "minute"),
        ("0 0 25 * * *", "hour"),
        ("0 0 17-9 * * *", "backwards"),
        ("0 0 2 * * noday", "weekday"),
        ("0 */0 * * * *", "minute"),
        ("@every 0.5s", "shorter"),
    ],
)
def test_a_wrong_cron_expression_names_the_field(given: str, word: str) -> None:
    with pytest.raises(DefinitionError, match=word):
        check_cron(given)


def test_a_retry_policy_as_people_write_it() -> None:
    policy = retry(3, "2s", backoff=3, delay_max="10s", jitter=0)
    assert [delay(policy, attempt, 1) for attempt in (1, 2, 3)] == [2, 6, 10]
    assert retry(2, "1h").delay_max_s == 3600


@pytest.mark.parametrize(
    "fields",
    [
        {"attempts_max": 0},
        {"delay_s": -1},
        {"delay_s": 5, "delay_max_s": 1},
        {"factor": 0.5},
        {"factor": float("inf")},
        {"delay_s": float("nan")},
        {"jitter": 2},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(DefinitionError):
        RetryPolicy(**fields)  # type: ignore[arg-type]  the table holds floats only


class Item(Struct):
    """A payload with a type."""

    name: str


def test_effects_hold_their_payload_as_json_at_once() -> None:
    item = Item("a")
    effect = send("job", item)
    item.name = "changed later"
    assert bytes(effect.payload) == b'{"name":"a"}'
    assert send("job", {"b": 1, "a": 2}).payload == send("job", {"a": 2, "b": 1}).payload
    assert bytes(complete().result) == b"null"
    assert publish("T", key="k").key == "k"
    assert send("job", timeout="2m").timeout_s == 120


def test_a_message_in_an_effect_is_a_message_or_its_fields() -> None:
    message = Message(type="T", payload={"x": 1})
    assert schedule(message, 5) == schedule({"type": "T", "payload": {"x": 1}}, "5s")
    assert compensate(message, ValueError("no")).reason == "ValueError: no"
    assert fail(KeyError("x")).reason == "KeyError: 'x'"
    assert cancel("why").reason == "why"


@pytest.mark.parametrize(
    "make",
    [
        lambda: send("", {}),
        lambda: send("x" * 101, {}),
        lambda: send("job", concurrency_key="k" * 201),
        lambda: send("job", idempotency_key="\ud800"),
        lambda: publish(""),
        lambda: spawn("S", key="k" * 201),
        lambda: unschedule(""),
        lambda: schedule({"type": ""}, 1),
    ],
)
def test_an_effect_with_a_bad_name_fails_in_its_own_line(make: Any) -> None:
    with pytest.raises(BadName):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: send("job", object()),
        lambda: schedule({"payload": 1}, 1),
        lambda: schedule(cast("Any", "T"), 1),
        lambda: spawn(3),
    ],
)
def test_an_effect_that_can_not_be_carried_out_fails_in_its_own_line(make: Any) -> None:
    with pytest.raises(TypeError):
        make()


def test_json_is_deterministic_and_raw_stays_as_it_is() -> None:
    assert to_raw({"b": {3, 1, 2}, "a": None}) == to_raw({"a": None, "b": {2, 3, 1}})
    assert to_raw(Raw(b"[1 ]")) == Raw(b"[1 ]")
    assert msgspec.json.decode(to_raw({"b": 1, "a": 2})) == {"a": 2, "b": 1}


def test_the_text_of_any_exception_can_be_stored() -> None:
    class Mute(Exception):
        """An exception that can't even say so."""

        def __str__(self) -> str:
            raise RuntimeError

    assert error_text(ValueError("\ud800")).encode()
    assert "can't" in error_text(Mute())
    assert len(error_text(ValueError("x" * 10_000))) == 2000


def test_a_retry_policy_is_written_as_it_is_read_back() -> None:
    written = msgspec.json.encode(retry(3, 2, backoff=2, delay_max=60, jitter=0))
    assert msgspec.json.encode(msgspec.json.decode(written, type=RetryPolicy)) == written
    assert RetryPolicy(delay_s=1, factor=3).factor == 3.0
