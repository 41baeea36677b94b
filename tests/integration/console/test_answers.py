"""Goal: an answer is right in every format, says when it was cut, and errors point at their place.

Method: a console over a small database; each format is read back by somebody else's reader.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import nanoarrow
import pytest
import pytest_asyncio
from nanoarrow import ipc

from store.duck.console import DuckConsole
from store.projection.console import (
    PARAMETERS_MAX,
    SQL_CHARACTERS_MAX,
    Format,
    Place,
    Query,
    QueryError,
    ResultColumn,
)
from tests.console_kit import ROWS, answered, content, open_console

pytestmark = pytest.mark.asyncio(loop_scope="module")

VALUES = """
SELECT 1 AS i, 'a"b\nc' AS t, NULL AS n, 1.50::DECIMAL(6, 2) AS d, 'nan'::DOUBLE AS x,
    TIMESTAMPTZ '2026-01-02 03:04:05.678901+02' AS z, DATE '2026-01-02' AS day,
    '{"a": [1, null]}'::JSON AS j, [1, 2] AS l, {'k': 'v'} AS s, true AS b,
    170141183460469231731687303715884105727::HUGEINT AS h, '-5' AS f, -5 AS m -- to the end"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def console(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DuckConsole]:
    async with open_console(tmp_path_factory.mktemp("console")) as opened:
        yield opened


async def _error(console: DuckConsole, sql: str, **more: Any) -> QueryError:
    with pytest.raises(QueryError) as found:
        await console.ask(Query(sql=sql, **more))
    return found.value


# --- formats


async def test_json_has_every_kind_of_value(console: DuckConsole) -> None:
    answer = await console.ask(Query(sql=VALUES))
    assert answer.columns[0] == ResultColumn("i", "INTEGER")
    assert answer.columns[5] == ResultColumn("z", "TIMESTAMP WITH TIME ZONE")
    [row] = json.loads(content(answer))
    assert row == [
        *(1, 'a"b\nc', None, 1.5, None, "2026-01-02T01:04:05.678901Z", "2026-01-02"),
        *({"a": [1, None]}, [1, 2], {"k": "v"}, True, 2**127 - 1, "-5", -5),
    ]
    assert (answer.rows, answer.truncated) == (1, "")
    assert datetime.fromisoformat(row[5]).tzinfo is not None


async def test_csv_is_harmless_to_spreadsheets(console: DuckConsole) -> None:
    text = (await answered(console, VALUES, format="csv")).decode()
    names, values = csv.reader(io.StringIO(text, newline=""))
    row = dict(zip(names, values, strict=True))
    assert (row["i"], row["t"], row["n"], row["f"], row["m"]) == ("1", 'a"b\nc', "", "'-5", "-5")
    for start in ("=", "+", "-", "@", "\t", "\r"):
        cell = f"{start}cmd|' /C calc'!A0"
        sent = await answered(
            console, 'SELECT $c AS c, $c AS "=d"', parameters={"c": cell}, format="csv"
        )
        assert list(csv.reader(io.StringIO(sent.decode(), newline=""))) == [
            ["c", "'=d"],
            [f"'{cell}"] * 2,
        ]


async def test_parquet_is_read_back(console: DuckConsole, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(
        await answered(console, VALUES.replace("'nan'::DOUBLE", "2.5"), format="parquet")
    )
    with duckdb.connect() as reader:
        found = reader.execute(f"SELECT i, t, n, x, l, h, m FROM '{path}'").fetchall()
    assert found == [(1, 'a"b\nc', None, 2.5, [1, 2], pytest.approx(2**127), -5)]


async def test_arrow_is_read_back(console: DuckConsole) -> None:
    body = await answered(
        console, "SELECT key, seq FROM instances ORDER BY seq", format="arrow", rows_max=ROWS
    )
    found: Any = nanoarrow.ArrayStream(ipc.InputStream.from_readable(io.BytesIO(body))).read_all()
    assert found.to_pylist()[7] == {"key": "o-7", "seq": 7}
    assert len(found) == ROWS


@pytest.mark.parametrize("format", ["json", "csv", "parquet", "arrow"])
async def test_no_rows_are_an_answer_too(console: DuckConsole, format: Format) -> None:
    answer = await console.ask(Query(sql="SELECT key FROM instances WHERE false", format=format))
    assert (answer.rows, answer.truncated) == (0, "")
    assert content(answer)


@pytest.mark.parametrize("format", ["json", "csv", "parquet", "arrow"])
async def test_a_limit_says_whether_it_cut(console: DuckConsole, format: Format) -> None:
    sql = "SELECT key FROM instances ORDER BY seq"
    whole = await console.ask(Query(sql=sql, format=format, rows_max=ROWS))
    cut = await console.ask(Query(sql=sql, format=format, rows_max=ROWS - 1))
    assert (whole.rows, whole.truncated) == (ROWS, "")
    assert (cut.rows, cut.truncated) == (ROWS - 1, "rows")
    assert content(whole)
    assert content(cut)


@pytest.mark.parametrize("format", ["json", "csv"])
async def test_text_that_grows_too_large_is_cut_after_a_row(
    console: DuckConsole, format: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.duck.console.BYTES_MAX", 5000)
    answer = await console.ask(Query(sql="SELECT key, state FROM instances", format=format))
    body = content(answer)
    assert answer.truncated == "bytes"
    assert 0 < answer.rows < ROWS
    assert len(body) <= 5000
    rows = (
        json.loads(body) if format == "json" else list(csv.reader(io.StringIO(body.decode())))[1:]
    )
    assert len(rows) == answer.rows


@pytest.mark.parametrize("format", ["parquet", "arrow"])
async def test_files_that_grow_too_large_are_refused(
    console: DuckConsole, format: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.duck.console.BYTES_MAX", 5000)
    sql = "SELECT md5(range::VARCHAR) FROM range(100000)"
    error = await _error(console, sql, format=format, rows_max=100_000)
    assert error.code == "size_limit"


async def test_all_sorts_of_questions_are_answered(console: DuckConsole) -> None:
    for sql, least in {
        "FROM instances": 1000,
        "TABLE instances;": 1000,
        ";; SELECT ';' -- ;\n ; /* ; */": 1,
        "VALUES (1), (2)": 2,
        "WITH a AS MATERIALIZED (SELECT 1) SELECT * FROM a": 1,
        "DESCRIBE instances": 20,
        "SUMMARIZE instances": 20,
        "SHOW TABLES": 10,
        "SHOW instances": 20,
        "EXPLAIN FROM instances": 1,
        "EXPLAIN ANALYZE FROM instances": 1,
        "PIVOT instances ON status IN ('running', 'completed') USING count(*) GROUP BY saga": 1,
        "SELECT * FROM history('CheckoutSaga', 'o-1')": 0,
        "SELECT * FROM sagas_at(now())": 0,
        "SELECT state_at('CheckoutSaga', 'o-1', now())": 1,
        "SELECT * FROM diff('CheckoutSaga', 'o-1', 1, 2)": 0,
        "SELECT leaf.key, leaf.atom FROM instances, json_each(state) AS leaf WHERE seq = 1": 3,
        "SELECT 'Größe', '日本', '🎉' -- ü": 1,
    }.items():
        answer = await console.ask(Query(sql=sql))
        assert answer.rows >= least, sql
        assert len(json.loads(content(answer))) == answer.rows


async def test_the_order_of_rows_is_kept(console: DuckConsole) -> None:
    body = await answered(console, "SELECT seq FROM instances ORDER BY md5(key)", rows_max=ROWS)
    with duckdb.connect() as connection:
        expected = connection.execute(
            f"SELECT range FROM range({ROWS}) ORDER BY md5('o-' || range)"
        ).fetchall()
    assert [tuple(row) for row in json.loads(body)] == expected


@pytest.mark.parametrize(
    ("sql", "parameters"),
    [
        ("SELECT ? AS a, ? + 1 AS b", ["x", 2]),
        ("SELECT $1 AS a, $2 + 1 AS b", ["x", 2]),
        ("SELECT $name AS a, $n + 1 AS b", {"name": "x", "n": 2}),
    ],
)
async def test_parameters(console: DuckConsole, sql: str, parameters: Any) -> None:
    assert json.loads(await answered(console, sql, parameters=parameters)) == [["x", 3]]


# --- errors


@pytest.mark.parametrize(
    ("sql", "words", "place"),
    [
        ("SELEC 1", "syntax error", Place(1, 1, 0)),
        ("SELECT foo FROM instances", "foo", Place(1, 8, 7)),
        ("SELECT 'é€😀',\n  foo FROM instances", "foo", Place(2, 3, 16)),
        ("SELECT 1\nFROM nowhere", "nowhere", Place(2, 6, 14)),
        ("SELECT 'x'::INTEGER", "Could not convert", Place(1, 11, 10)),
        ("SELECT * FROM instances WHERE", "syntax error", Place(1, 25, 24)),
    ],
)
@pytest.mark.parametrize("format", ["json", "csv", "parquet"])
async def test_an_error_points_at_its_place(
    console: DuckConsole, sql: str, words: str, place: Place, format: Format
) -> None:
    error = await _error(console, sql, format=format)
    assert error.code == "error"
    assert words in str(error)
    assert error.place == place


async def test_errors_say_what_to_do(console: DuckConsole) -> None:
    late = await _error(console, "SELECT count(*) FROM range(1000000000000)", time_max_s=0.5)
    assert late.code == "time_limit"
    assert "0.5 s" in str(late)
    assert "60 s" in late.next
    plan = await _error(console, "EXPLAIN SELECT 1", format="parquet")
    assert (plan.code, plan.next) == ("refused", "Ask for it as JSON or CSV.")
    missing = await _error(console, "SELECT $a, $b", parameters={"a": 1})
    assert "b" in str(missing)
    long = await _error(console, "x" * (SQL_CHARACTERS_MAX + 1))
    assert long.code == "refused"
    many = await _error(console, "SELECT 1", parameters=[1] * (PARAMETERS_MAX + 1))
    assert many.code == "refused"
