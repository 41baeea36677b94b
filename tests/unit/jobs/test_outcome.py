"""Every way a job can end becomes one of few outcomes, and none of them can break the worker."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Struct

from jobs import PermanentFailure, failure, success
from jobs.outcome import (
    REASON_CHARS_MAX,
    Crash,
    Failure,
    Success,
    clip,
    describe,
    outcome_of,
    outcome_of_error,
)


class Receipt(Struct):
    """A result."""

    id: str


@pytest.mark.parametrize(
    ("returned", "data"),
    [
        (None, b"{}"),
        (success(), b"{}"),
        (success(Receipt("r")), b'{"id":"r"}'),
        (Receipt("r"), b'{"id":"r"}'),
        ({"b": 1, "a": 2}, b'{"a":2,"b":1}'),
        ([1, "é"], '[1,"é"]'.encode()),
        (0, b"0"),
        (False, b"false"),
        ("", b'""'),
    ],
)
def test_data_is_success(returned: object, data: bytes) -> None:
    assert outcome_of(returned) == Success(data)


def test_failure_keeps_reason_and_data() -> None:
    assert outcome_of(failure("no", {"x": 1})) == Failure("no", {"x": 1})
    assert outcome_of(failure(KeyError("k"))) == Failure("KeyError: 'k'")
    assert outcome_of(failure("")) == Failure("")


def _loop() -> object:
    endless: list[Any] = []
    endless.append(endless)
    return endless


@pytest.mark.parametrize("returned", [object(), {"f": open}, success(object()), _loop(), "\ud800"])
def test_what_is_no_json_is_a_defect_and_not_repeated(returned: object) -> None:
    outcome = outcome_of(returned)
    assert isinstance(outcome, Failure)
    assert outcome.defect
    assert "can't be written as JSON" in outcome.reason


def test_exceptions() -> None:
    assert outcome_of_error(ValueError("x")) == Crash("ValueError: x", "ValueError")
    permanent = PermanentFailure("stolen", [1])
    assert outcome_of_error(permanent) == Failure("stolen", [1], "PermanentFailure")
    assert str(permanent) == "stolen"


class _Rude(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text for you")


def test_texts_that_break_are_mended() -> None:
    assert describe(_Rude()) == "_Rude"
    assert describe(ValueError()) == "ValueError"
    assert len(clip("é" * 5000)) == REASON_CHARS_MAX
    assert clip("a\ud800b") == "a?b"
