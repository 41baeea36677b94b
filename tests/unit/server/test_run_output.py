"""Goal: whoever waits for a run at a terminal is told once what each step and each undo came to.

Method: the versions of a run tried with `given(…)` are told one after the other.
"""

from __future__ import annotations

from typing import Any

import pytest

from sagas import step, steps
from sagas.testing import given
from server.commands.runs import _progress, print_steps


async def _function(ctx: Any, data: Any = None) -> Any: ...


ORDER = steps(
    "order",
    [
        step("reserve", _function, _function),
        step("mail", _function, background=True),
        step("charge", _function),
    ],
)


def test_steps_and_undos_are_told_once_each(capsys: pytest.CaptureFixture[str]) -> None:
    run = given(ORDER, key="o-1").when("order", {}).when_step("reserve", {"rid": "r-1"})
    run.when_failed("order.charge", "declined", attempts=3).when_step("reserve")
    tell = _progress()
    for version in (*run.history, run.instance):
        tell(version)
    told = capsys.readouterr()
    assert told.out == ""
    assert [line.strip() for line in told.err.splitlines()] == [
        "reserve: running",
        "reserve: completed",
        "mail: running",
        "charge: running",
        "charge: failed after 3 attempts: declined",
        "reserve: undo running",
        "reserve: undo done",
    ]


def test_the_table_of_steps_has_attempts_and_undos(capsys: pytest.CaptureFixture[str]) -> None:
    run = given(ORDER, key="o-1").when("order", {}).when_step("reserve", {"rid": "r-1"})
    run.when_failed("order.charge", "declined", attempts=3)
    print_steps(run.instance)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1][:2] == ["reserve", "completed"]
    assert rows[1][-4:] == ["running,", "attempt", "1", '{"rid":"r-1"}']
    assert rows[2][:3] == ["mail", "(background)", "running"]
    assert (rows[3][:3], rows[3][-1]) == (["charge", "failed", "3"], "declined")
    print_steps(given(ORDER, key="o-2").when("order", {}).instance)
    assert "running" in capsys.readouterr().out
