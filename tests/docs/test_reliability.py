"""Goal: the page on reliability names tests that exist, and every chaos test is on it.

Method: the paths in the page against the tree.
"""

from __future__ import annotations

import re
from pathlib import Path

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
