"""Goal: delays, retries and payloads stay inside their bounds, and equal input is equal bytes.

Method: generated values against plain statements about them; decisions are made twice, the second
time from what was read back.
"""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Raw

from sagas import RetryPolicy
from sagas.durations import DELAY_S_MAX, seconds
from sagas.errors import BadDelay
from sagas.instance import decode, document_hash, encode
from sagas.kernel import Snapshot, Transition, decide
from sagas.messages import DEPTH_MAX, Cause, to_raw, unreadable
from sagas.retry import delay, may_retry
from tests.property.chaos import chaos
from tests.property.test_kernel_machine import SCRIPT

AT = datetime(2026, 1, 1, tzinfo=UTC)
CHAOS = (chaos(limited=False), chaos(limited=False))
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
POLICIES = st.builds(
    lambda attempts, first, factor, more, jitter: RetryPolicy(
        attempts_max=attempts,
        delay_s=first,
        factor=factor,
        delay_max_s=first + more,
        jitter=jitter,
    ),
    st.integers(1, 10**6),
    st.floats(0, 1e6),
    st.floats(1, 1000),
    st.floats(0, 1e6),
    st.floats(0, 1),
)


@given(POLICIES, st.integers(-5, 10**9), st.floats(-1, 2))
@example(RetryPolicy(), 10**9, 1.0)
def test_a_retry_delay_is_bounded_for_any_attempt(
    policy: RetryPolicy, attempt: int, fraction: float
) -> None:
    waited = delay(policy, attempt, fraction)
    assert 0 <= waited <= policy.delay_max_s
    assert waited >= min(policy.delay_s, policy.delay_max_s) * (1 - policy.jitter) * 0.999


@given(POLICIES, st.integers(1, 10**6))
def test_without_luck_a_later_retry_never_comes_sooner(policy: RetryPolicy, attempt: int) -> None:
    assert delay(policy, attempt + 1, 0) >= delay(policy, attempt, 0)
    assert may_retry(policy, attempt) == (attempt < policy.attempts_max)


@given(st.integers(0, 3000), st.sampled_from(sorted(UNITS)))
def test_a_delay_in_words_is_one_in_numbers(number: int, unit: str) -> None:
    value = number * UNITS[unit]
    assert seconds(f"{number}{unit}") == seconds(value) == seconds(timedelta(seconds=value))


@given(st.text() | st.floats() | st.integers())
@example("1" * 500 + "d")
def test_any_other_delay_is_refused_or_in_range(value: str | float) -> None:
    with contextlib.suppress(BadDelay):
        assert 0 <= seconds(value) <= DELAY_S_MAX


def _nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


@given(st.binary() | st.text().map(str.encode))
@example(_nested(DEPTH_MAX))
@example(_nested(DEPTH_MAX + 1))
@example(_nested(100_000))
@example(b'{"a": "\xff"}')
@example(b'"\\ud800"')
@example(b'{"a":1}x')
@example(b"1e999")
@example(b'["[[[[[[[[[[", "\\"[["]' + b" " * 300)
def test_a_payload_that_is_taken_can_be_read_by_anyone(data: bytes) -> None:
    if not unreadable(Raw(data)):
        json.loads(data.decode())


@pytest.mark.parametrize("levels", [DEPTH_MAX, DEPTH_MAX + 1])
def test_the_nesting_is_counted_outside_of_texts(levels: int) -> None:
    assert bool(unreadable(Raw(_nested(levels)))) == (levels > DEPTH_MAX)
    assert not unreadable(to_raw(["[" * 500, '"' + "{" * 500]))


@given(st.lists(st.tuples(st.sampled_from(["Start", "Do"]), SCRIPT), min_size=1, max_size=5))
def test_a_decision_from_what_was_read_back_is_the_same_bytes(
    messages: list[tuple[str, list[object]]],
) -> None:
    definition, other = CHAOS
    snapshot = Snapshot("k")
    for number, (type, script) in enumerate(messages):
        cause = Cause(
            kind="event",
            type=type,
            id=f"m{number}",
            seq=number,
            at=AT,
            payload=to_raw({"do": script}),
        )
        decision = decide(definition, snapshot, cause, AT)
        read_back = snapshot
        if snapshot.instance is not None:
            document = encode(snapshot.instance)
            assert document_hash(document) == snapshot.hash
            read_back = Snapshot("k", decode(document), document_hash(document))
        again = decide(other, read_back, cause, AT)
        assert _type_of(decision) == _type_of(again)
        if isinstance(decision, Transition) and isinstance(again, Transition):
            assert decision.document == again.document
            snapshot = Snapshot("k", decision.after, document_hash(decision.document))


def _type_of(decision: object) -> str:
    """The word for a decision."""
    return type(decision).__name__
