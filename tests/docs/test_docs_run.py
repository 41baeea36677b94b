"""Goal: what the pages show runs, as it stands there.

Method: all blocks that open with exactly ```python are run, page by page and in order, in one
module for each page. A block that only shows something opens with ```python notest.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page.read_text(encoding="utf-8")
    # Annotations are looked up in the module of a class, so there has to be one.
    module = ModuleType(f"page_{page.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start(1))
        code = compile("\n" * line + block.group(1), str(page), "exec")
        exec(code, vars(module))


def test_there_are_blocks_to_run() -> None:
    for page in (ROOT / "README.md", ROOT / "docs" / "sagas.md"):
        assert BLOCK.search(page.read_text(encoding="utf-8"))
