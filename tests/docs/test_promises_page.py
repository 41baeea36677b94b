"""Goal: every promise on the page has a test, every test that it names exists, and the README leads
there.

Method: the rows of the page's tables, and the functions and classes of the files they name.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| promise")
]


@cache
def _tests_in(path: str) -> frozenset[str]:
    """Test functions of a file, and names such as ``TestKernel`` that pytest collects."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    found = {node.name for node in ast.walk(tree) if isinstance(node, functions)}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return frozenset(name for name in found if name.lower().startswith("test"))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_a_promise_is_held_by_tests_that_exist(row: list[str]) -> None:
    assert len(row) == 3, "a promise, its limits, and the tests that hold it"
    named = NAMED.findall(row[2])
    assert named, f"no test holds: {row[0]}"
    assert NAMED.sub("", row[2]).strip(" ,") == "", "only tests stand in the third column"
    for path, name in named:
        assert (ROOT / path).is_file(), f"{path} is not there"
        assert name in _tests_in(path), f"{path} has no {name}"


def test_there_are_promises_and_what_is_none() -> None:
    assert len(ROWS) > 20
    assert "## Not promised" in PAGE
    assert "## Not done here" in PAGE


def test_the_readme_leads_there() -> None:
    assert "(docs/promises.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
