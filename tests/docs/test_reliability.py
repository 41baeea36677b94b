"""Goal: the page on reliability names tests that exist, and every chaos test is on it.

Method: the paths in the page against the tree, and the rows of its table of checks.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.chaos.mixed.faults import KINDS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"


def _named() -> set[str]:
    return set(re.findall(r"`(tests/[\w/]+\.py)`", PAGE.read_text(encoding="utf-8")))


def test_every_test_named_is_there() -> None:
    missing = sorted(path for path in _named() if not (ROOT / path).is_file())
    assert not missing


def test_every_chaos_test_is_named() -> None:
    there = {f"tests/chaos/{path.name}" for path in (ROOT / "tests" / "chaos").glob("test_*.py")}
    assert there <= _named()


def test_all_forty_checks_are_held_or_said_to_be_undone() -> None:
    rows = re.findall(r"^\| (R\d\d) \|(.*)\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [check for check, _ in rows] == [f"R{number:02}" for number in range(1, 41)]
    for check, row in rows:
        _, held, undone = (cell.strip() for cell in row.split("|"))
        assert "`tests/" in held or undone.startswith("not done: "), check


def test_every_kind_of_fault_of_the_mixed_run_is_counted() -> None:
    assert f" {len(KINDS)} kinds of faults" in PAGE.read_text(encoding="utf-8")
