"""The page on step lists names only what exists on our side of its table."""

from __future__ import annotations

import re
from pathlib import Path

import jobs
import sagas
from sagas.programs.step_list import ListOptions, StepsChain
from sagas.programs.steps import StepOptions
from store.run_result import RunResult

PAGE = Path(__file__).parents[2] / "docs" / "steps.md"


def _ours() -> list[str]:
    rows = re.findall(
        r"^\| (?:VentureKit|Nevr|restate-saga) .*? \| (.*) \|$", PAGE.read_text(), re.M
    )
    return [code for row in rows for code in re.findall(r"`([^`]+)`", row)]


def test_each_name_on_our_side_of_the_table_exists() -> None:
    known = {
        *vars(sagas),
        *vars(jobs),
        *StepOptions.__annotations__,
        *ListOptions.__annotations__,
        *vars(StepsChain),
        *RunResult.__struct_fields__,
        *vars(sagas.StepResponse),
    }
    words = {
        word
        for code in _ours()
        for word in re.findall(r"\.?([a-zA-Z_]+)(?=\(|=)", code)
        if word not in ("backoff",)
    }
    assert len(words) > 10
    assert words <= known, words - known
