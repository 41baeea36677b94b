"""Goal: no write to the projections escapes the copies made of them.

Method: the statements themselves. What changes a row must set its tick, what deletes rows must put
them back, and every table is known to the copies with what tells its rows apart.
"""

from __future__ import annotations

import re

import pytest

from store.duck.copies import KEYS, TABLES, statements
from store.duck.file import STEPS
from store.duck.tables import HELPERS, OWN, TICK, ddl
from store.projection.schema import RELATIONS

WRITES = [step.sql for step in STEPS if re.search(r"\b(UPDATE|DELETE FROM|INTO) base\.", step.sql)]


def _table(sql: str) -> str:
    found = re.search(r"\b(?:UPDATE|DELETE FROM|INTO) base\.(\w+)", sql)
    assert found is not None
    return found[1]


def test_all_tables_are_copied() -> None:
    assert set(TABLES) == {relation.name for relation in RELATIONS} | set(OWN) - {"checkpoint"}
    assert set(HELPERS) <= set(TABLES)
    assert ddl().count(f'"{TICK[0]}" {TICK[1]}') == len(TABLES)


@pytest.mark.parametrize("sql", WRITES, ids=lambda sql: " ".join(sql.split()[:3]))
def test_a_write_tells_the_copies(sql: str) -> None:
    table = _table(sql)
    assert table in TABLES
    if "UPDATE base." in sql:
        assert "tick = getvariable('tick')" in sql
        assert table in KEYS, f"rows of {table} change, so they need a key"
    if "DELETE FROM base." in sql:
        assert table in KEYS
        assert any(f"INTO base.{table} " in other for other in WRITES), "only to be put back"


def test_there_are_writes_of_every_kind() -> None:
    assert {_table(sql) for sql in WRITES} == set(TABLES)


def test_the_keys_are_columns() -> None:
    for table, column in KEYS.items():
        relation = next(relation for relation in RELATIONS if relation.name == table)
        known = {column.name for column in relation.columns}
        known |= {name for name, _ in HELPERS.get(table, ())}
        assert column in known
    assert all(f"base.{table}" in " ".join(statements(7)) for table in TABLES)
