"""From a delivery to a command, and from an outcome to its report: pure translations.

Method: values in, values out; header values are checked to be one line of ASCII for any text.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import job
from jobs.commands import BadCommand, read_command
from jobs.context import Command
from jobs.outcome import Crash, Failure, Outcome, Returned, Success
from jobs.results import Again, Answered, Attempted, Reporter, header_json, header_text, judge
from sagas.names import escape
from sagas.retry import RetryPolicy, retry
from store import codec
from store.subjects import Names

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
HEADERS = {
    codec.COMMAND_ID: "Shop.o=2E1.2.0",
    codec.SAGA: "Shop",
    codec.KEY: "o=2E1",
    codec.VERSION: "2",
    codec.DEADLINE: "2026-01-01T12:00:30Z",
    codec.IDEMPOTENCY_KEY: escape("pay/ü"),
    codec.RETRY: '{"attempts_max":2}',
    codec.TRACEPARENT: "00-aa-bb-01",
}


@job("pay", retry=retry(3, 10, jitter=0), on_success="Paid", on_failure="NotPaid")
async def _pay(ctx: Any) -> None: ...


@job("plain")
async def _plain(ctx: Any) -> None: ...


def _attempted(number: int = 1, of: Any = _pay, **command: Any) -> Attempted:
    told: Any = {"id": "c", "target": "pay", "key": "k", "key_token": "k", "idempotency_key": "c"}
    return Attempted(
        command=Command(**(told | command)),
        job=of,
        worker="w",
        number=number,
        queued=NOW,
        started=NOW,
        ended=NOW,
    )


def test_reading_a_command() -> None:
    assert read_command("saga.commands.pay.o=2E1", HEADERS, "pay") == Command(
        id="Shop.o=2E1.2.0",
        target="pay",
        key="o.1",
        key_token="o=2E1",
        idempotency_key="pay/ü",
        saga="Shop",
        version=2,
        deadline=NOW + timedelta(seconds=30),
        retry=RetryPolicy(attempts_max=2),
        trace="00-aa-bb-01",
    )


def test_reading_a_command_with_nothing_but_its_id() -> None:
    command = read_command("saga.commands.pay.k", {codec.COMMAND_ID: "x"}, "pay")
    assert (command.id, command.key, command.idempotency_key, command.saga) == ("x", "k", "x", "")
    assert (command.version, command.deadline, command.retry, command.trace) == (0, None, None, "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (codec.COMMAND_ID, ""),
        (codec.VERSION, "two"),
        (codec.DEADLINE, "soon"),
        (codec.RETRY, "often"),
        (codec.RETRY, '{"attempts_max":0}'),
        (codec.SAGA, "=FF=FE"),
    ],
)
def test_what_is_no_command(name: str, value: str) -> None:
    with pytest.raises(BadCommand):
        read_command("saga.commands.pay.k", HEADERS | {name: value}, "pay")


def test_a_deadline_without_a_zone_is_utc() -> None:
    headers = {codec.COMMAND_ID: "x", codec.DEADLINE: "2026-01-01T12:00:00"}
    assert read_command("saga.commands.pay.k", headers, "pay").deadline == NOW


@pytest.mark.parametrize(
    ("outcome", "number", "verdict"),
    [
        (Success(b"1"), 1, Answered(b"1", "completed")),
        (Crash("e", "E"), 1, Again("retried", "e", 10.0)),
        (Crash("e", "E"), 2, Again("retried", "e", 20.0)),
        (Crash("e", "E", timed_out=True), 1, Again("timed_out", "e", 10.0)),
        (Returned(), 9, Again("returned", "the worker stopped before the job had ended", 0.0)),
    ],
)
def test_judging(outcome: Outcome, number: int, verdict: Answered | Again) -> None:
    assert judge(_attempted(number), outcome, 0.5) == verdict


def test_the_last_attempt_is_a_dead_letter_and_a_plain_failure_is_not() -> None:
    last = judge(_attempted(3), Crash("e", "E"), 0.0)
    assert isinstance(last, Answered)
    assert (last.outcome, last.dead) == ("failed", "given up after attempt 3: e")
    assert msgspec.json.decode(last.payload) == {
        "reason": "e",
        "error": "E",
        "attempts": 3,
        "target": "pay",
    }
    said = judge(_attempted(1), Failure("no", {"reason": "mine", "x": 1}), 0.0)
    assert isinstance(said, Answered)
    assert said.dead == ""
    assert msgspec.json.decode(said.payload)["reason"] == "mine"
    assert judge(_attempted(1), Failure("no", defect=True), 0.0).__class__ is Answered


@pytest.mark.parametrize("data", [[1], "text", 5, object()])
def test_failure_data_of_any_kind_stands_under_data(data: object) -> None:
    verdict = judge(_attempted(), Failure("no", data), 0.0)
    assert isinstance(verdict, Answered)
    assert "data" in msgspec.json.decode(verdict.payload)


def test_another_try_is_not_later_than_the_deadline() -> None:
    attempted = _attempted(deadline=NOW + timedelta(seconds=3))
    assert judge(attempted, Crash("e", "E"), 0.0) == Again("retried", "e", 3.0)
    attempted = _attempted(deadline=NOW - timedelta(seconds=3))
    assert judge(attempted, Crash("e", "E"), 0.0) == Again("retried", "e", 0.0)


def test_the_retry_of_the_command_wins() -> None:
    attempted = _attempted(retry=RetryPolicy(attempts_max=1))
    assert isinstance(judge(attempted, Crash("e", "E"), 0.0), Answered)


def test_reports() -> None:
    reporter = Reporter(Names(), 1_000_000)
    done = reporter.report(_attempted(trace="t", key_token="a=2Eb"), Answered(b"{}", "completed"))
    assert done.message.subject == "saga.events.Paid.a=2Eb"
    assert [name for name, _ in done.message.headers] == [
        codec.CAUSE,
        codec.TRACEPARENT,
        codec.EXECUTION,
    ]
    assert done.delay_s is None
    plain = reporter.report(_attempted(of=_plain), Answered(b"{}", "failed", "r", "dead"))
    assert plain.message.subject == "saga.events.Snorri-Failed.k"
    assert dict(plain.message.headers)[codec.DEAD_LETTER] == "dead"
    again = reporter.report(_attempted(), Again("retried", "e", 2.0))
    assert again.message.subject == "saga.events.Snorri-Attempted.k"
    assert (again.delay_s, again.message.payload) == (2.0, b"{}")
    assert codec.CAUSE not in dict(again.message.headers)


def test_a_result_over_the_limit_is_a_failure() -> None:
    report = Reporter(Names(), 2_000).report(_attempted(), Answered(b"x" * 2_000, "completed"))
    assert report.message.subject == "saga.events.NotPaid.k"
    assert report.outcome == "failed"
    assert b"at most 2000 are allowed" in report.message.payload


@given(st.text())
def test_any_text_fits_a_header(text: str) -> None:
    value = header_text(text)
    assert value.isascii()
    assert value.isprintable() or value == ""
    assert value == value.strip()


@given(st.text(st.characters(codec="utf-8")))
def test_json_in_a_header_is_the_same_json(text: str) -> None:
    value = header_json(msgspec.json.encode({"a": text}))
    assert value.isascii()
    assert value.isprintable()
    assert msgspec.json.decode(value) == {"a": text}
