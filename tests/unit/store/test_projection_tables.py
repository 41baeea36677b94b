"""Goal: the tables are those of the schema, and the macros answer what they promise.

Method: the columns as DuckDB describes them against `store.projection.schema`; macros on a planted
history whose answers are written down here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from store.duck.file import DuckFile
from store.live_mask import LiveMask
from store.projection.schema import RELATIONS, Relation
from store.subjects import Names
from tests.unit.store.projected import MADE, rows

STATES = (
    (1, "2026-01-01T00:00:00Z", {"a": 1, "b": {"c": [1, 2]}, "gone": True}),
    (2, "2026-01-02T00:00:00Z", {"a": 1, "b": {"c": [1]}, "new": None, "text": "it's"}),
    (3, "2026-01-03T00:00:00Z", {"a": 2.5, "b": {}, "new": None, "text": "it's"}),
)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[DuckFile]:
    """Tables with one instance of three versions, and another of one."""
    made = DuckFile(tmp_path / "t.duckdb", Names(), LiveMask())
    made.begin(MADE, "")
    with made.cursor() as cursor:
        for version, at, state in STATES:
            cursor.execute(
                "INSERT INTO base.transitions (saga, key, version, committed_at, status,"
                " state_after) VALUES ('S', 'k''1', $1, $2, 'running', $3)",
                [version, at, json.dumps(state)],
            )
        cursor.execute(
            "INSERT INTO base.transitions (saga, key, version, committed_at, status, state_after)"
            " VALUES ('S', 'other', 1, '2026-01-02T12:00:00Z', 'parked', '{}')"
        )
    yield made
    made.close()


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda relation: relation.name)
def test_a_relation_has_exactly_the_columns_of_the_schema(
    file: DuckFile, relation: Relation
) -> None:
    real = rows(file, f"DESCRIBE {relation.name}")
    full = {"TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}
    assert [(name, type) for name, type, *_ in real] == [
        (column.name, full.get(column.type, column.type)) for column in relation.columns
    ]


@pytest.mark.parametrize(
    ("moment", "state"),
    [
        ("2025-12-31T23:59:59Z", None),
        ("2026-01-01T00:00:00Z", STATES[0][2]),
        ("2026-01-02T23:00:00Z", STATES[1][2]),
        ("2030-01-01T00:00:00Z", STATES[2][2]),
    ],
)
def test_state_at_is_the_state_that_stood_then(file: DuckFile, moment: str, state: Any) -> None:
    sql = "SELECT state_at('S', 'k''1', $1::TIMESTAMPTZ)"
    found = rows(file, sql, moment)[0][0]
    assert (found if found is None else json.loads(found)) == state


def test_state_at_takes_columns_for_arguments(file: DuckFile) -> None:
    sql = "SELECT key, state_at('S', key, now()) IS NULL FROM (VALUES ('other'), ('none')) k(key)"
    assert dict(rows(file, sql)) == {"other": False, "none": True}


def test_history_is_one_instance_in_order(file: DuckFile) -> None:
    assert rows(file, "SELECT version, key FROM history('S', 'k''1')") == [
        (version, "k'1") for version, *_ in STATES
    ]


def test_sagas_at_has_each_instance_that_was_there_once(file: DuckFile) -> None:
    sql = "SELECT key, version, status FROM sagas_at($1::TIMESTAMPTZ) ORDER BY key"
    assert rows(file, sql, "2026-01-02T06:00:00Z") == [("k'1", 2, "running")]
    assert rows(file, sql, "2026-02-01T00:00:00Z") == [
        ("k'1", 3, "running"),
        ("other", 1, "parked"),
    ]


@pytest.mark.parametrize(
    ("versions", "changes"),
    [
        (
            (1, 2),
            [
                ("$.b.c[1]", "2", None),
                ("$.gone", "true", None),
                ("$.new", None, "null"),
                ("$.text", None, '"it\'s"'),
            ],
        ),
        ((2, 3), [("$.a", "1", "2.5"), ("$.b", None, "{}"), ("$.b.c[0]", "1", None)]),
        ((3, 3), []),
        ((3, 9), [(path, before, None) for path, before in (
            ("$.a", "2.5"), ("$.b", "{}"), ("$.new", "null"), ("$.text", '"it\'s"')
        )]),
    ],
)  # fmt: skip
def test_diff_names_each_field_that_differs(
    file: DuckFile, versions: tuple[int, int], changes: list[Any]
) -> None:
    assert rows(file, "FROM diff('S', 'k''1', $1, $2)", *versions) == changes
