"""Goal: Python and SQL come to the same numbers for the same rows, and a difference is placed.

Method: rows in a DuckDB table of the public columns, the SQL that `snorri verify` sends, and the
digests made from the same values here.
"""

from __future__ import annotations

import duckdb

from store.proof.stretches import (
    EVENTS_SQL,
    STRETCH,
    TRANSITIONS_SQL,
    Stretches,
    event_text,
    transition_text,
)

ROWS = [
    ("Shop", "o-1", 1, 5, "running", ""),
    ("Shop", "o-1", 2, 9, "completed", "ab" * 32),
    ("Shop", "ö|✓", 1, STRETCH + 1, "running", ""),
]


def _wanted() -> Stretches:
    wanted = Stretches()
    for saga, key, version, seq, status, prev in ROWS:
        wanted.add(seq, transition_text(saga, key, version, seq, status, prev))
    return wanted


def _found(change: str = "", upto: int = 10 * STRETCH) -> Stretches:
    with duckdb.connect() as database:
        database.execute(
            "CREATE TABLE transitions (saga VARCHAR, key VARCHAR, version INTEGER, seq BIGINT,"
            " status VARCHAR, prev VARCHAR)"
        )
        database.executemany("INSERT INTO transitions VALUES (?, ?, ?, ?, ?, ?)", ROWS)
        if change:
            database.execute(change)
        rows = database.execute(TRANSITIONS_SQL, {"upto": upto, "stretch": STRETCH}).fetchall()
    found = Stretches()
    for stretch, count, digest in rows:
        found.add_all(stretch, count, int(digest))
    return found


def test_the_same_rows_are_the_same_numbers() -> None:
    assert _wanted().differences(_found(), "transitions") == []


def test_an_altered_row_is_placed() -> None:
    (line,) = _wanted().differences(
        _found("UPDATE transitions SET status = 'failed' WHERE seq = 9"), "transitions"
    )
    assert f"0 to {STRETCH - 1}" in line
    assert "not the same" in line


def test_a_missing_row_is_placed() -> None:
    (line,) = _wanted().differences(_found(upto=STRETCH), "transitions")
    assert f"{STRETCH} to {2 * STRETCH - 1}: 1 in the log, 0 in the projections" in line


def test_events_are_hashed_alike() -> None:
    wanted = Stretches()
    wanted.add(3, event_text(3, "OrderCreated", "id-1", 17))
    with duckdb.connect() as database:
        database.execute(
            "CREATE TABLE events (seq BIGINT, type VARCHAR, id VARCHAR, bytes INTEGER)"
        )
        database.execute("INSERT INTO events VALUES (3, 'OrderCreated', 'id-1', 17)")
        rows = database.execute(EVENTS_SQL, {"upto": 9, "stretch": STRETCH}).fetchall()
    found = Stretches()
    for stretch, count, digest in rows:
        found.add_all(stretch, count, int(digest))
    assert wanted.differences(found, "events") == []
