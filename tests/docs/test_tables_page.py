"""Goal: the page on the tables names every column there is, and no other.

Method: what `make docs` would write against what stands there; the columns as DuckDB describes them
in freshly made tables against the rows of the page.
"""

from __future__ import annotations

import re
from pathlib import Path

from store.duck.file import DuckFile
from store.live_mask import LiveMask
from store.projection.schema import RELATIONS
from store.subjects import Names
from tests.docs.tables_page import TABLES, tables_page
from tests.unit.store.projected import MADE, rows

FULL = {"TIMESTAMP WITH TIME ZONE": "TIMESTAMPTZ"}


def test_the_page_is_current() -> None:
    assert TABLES.read_text(encoding="utf-8") == tables_page(), "run `make docs`"


def test_the_page_has_the_columns_that_there_are(tmp_path: Path) -> None:
    file = DuckFile(tmp_path / "t.duckdb", Names(), LiveMask())
    file.begin(MADE, "")
    text = TABLES.read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE))
    assert set(sections) == {relation.name for relation in RELATIONS}
    views = "SELECT view_name FROM duckdb_views() WHERE NOT internal AND schema_name = 'main'"
    assert {name for (name,) in rows(file, views)} == set(sections)
    for name, section in sections.items():
        written = re.findall(r"^\| `(\w+)` \| `(\w+)` \| \S.* \|$", section, re.MULTILINE)
        real = [(one[0], FULL.get(one[1], one[1])) for one in rows(file, f"DESCRIBE {name}")]
        assert written == real, name
    file.close()
