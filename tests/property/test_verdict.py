"""Goal: no way of writing a statement changes the verdict on it.

Method: statements that are refused and questions that are not, written anew with comments, spaces,
odd case and quotes between their tokens, as DuckDB's own tokenizer cuts them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.duck.console_verdict import Refused, judge
from store.duck.tables import ddl
from tests.integration.console.test_hostile import FILES, HIDING, SECRETS, SETTINGS, WRITES

QUESTIONS = (
    "SELECT key FROM instances WHERE saga = 'x' -- the end",
    "FROM history('a', 'b')",
    "WITH a AS (SELECT 1 AS n) SELECT n, ';' FROM a",
    "EXPLAIN SELECT * FROM instances",
    "DESCRIBE instances",
    "SHOW TABLES",
    "VALUES (1), (2)",
)
GAPS = (" ", "\n", "\t", "  ", "/**/", "/* SELECT */", " -- DROP\n", "/* ; */ ", "\r\n")


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        opened.execute(ddl())
        yield opened


def _written_anew(sql: str, chance: random.Random) -> str:
    """The same tokens with other gaps between them, keywords and bare names in any case."""
    data = sql.encode()
    tokens = duckdb.tokenize(sql)
    if not tokens:
        return sql
    ends = [*(at for at, _ in tokens[1:]), len(data)]
    parts: list[str] = []
    for (at, kind), end in zip(tokens, ends, strict=True):
        text = data[at:end].decode()
        word = text.rstrip()
        if kind == duckdb.token_type.comment:
            parts.append(f"{word}\n")
            continue
        if (
            kind in (duckdb.token_type.keyword, duckdb.token_type.identifier)
            and word.isidentifier()
        ):
            word = "".join(chance.choice((c.lower(), c.upper())) for c in word)
        gap = chance.choice(GAPS) if text != word and text[-1:].isspace() else ""
        parts.append(f"{word}{gap or text[len(word) :]}")
    return chance.choice(("", ";", "/* */", "\n")) + "".join(parts)


def _is_allowed(connection: duckdb.DuckDBPyConnection, sql: str) -> bool:
    try:
        judge(connection, sql)
    except (Refused, duckdb.Error):
        return False
    return True


BAD = [
    sql
    for sql in (*FILES, *WRITES, *SETTINGS, *SECRETS, *HIDING)
    # These get past the verdict to the fence behind it: they are tables that are not there.
    if sql not in ("SELECT * FROM '/etc/passwd.csv'",)
]


@settings(deadline=None, max_examples=300)
@given(sql=st.sampled_from(BAD), seed=st.integers(0, 2**32))
def test_what_is_refused_is_refused_however_it_is_written(
    connection: duckdb.DuckDBPyConnection, sql: str, seed: int
) -> None:
    assert not _is_allowed(connection, sql)
    anew = _written_anew(sql, random.Random(seed))
    assert not _is_allowed(connection, anew), anew


@settings(deadline=None, max_examples=200)
@given(sql=st.sampled_from(QUESTIONS), seed=st.integers(0, 2**32))
def test_a_question_stays_one_however_it_is_written(
    connection: duckdb.DuckDBPyConnection, sql: str, seed: int
) -> None:
    assert _is_allowed(connection, sql)
    anew = _written_anew(sql, random.Random(seed))
    assert _is_allowed(connection, anew), anew


@settings(deadline=None, max_examples=300)
@given(sql=st.text(max_size=200))
def test_any_text_gets_a_verdict(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    try:
        judge(connection, sql)
    except (Refused, duckdb.Error):
        pass
