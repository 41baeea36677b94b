"""Goal: `snorri sql` and `snorri instances --where` answer what is asked, in every shape, and an
error shows its place.

Method: a real `snorri dev` with a few orders, asked by the commands.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator

import duckdb
import pytest

from tests.integration.cli_kit import Process, dev, port_when_ready


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    running = dev(tmp_path_factory.mktemp("dev"), "--port", "0")
    try:
        running.environment["SNORRI_PORT"] = port_when_ready(running)
        for number in range(1, 4):
            order = json.dumps({"orderId": f"o-{number}", "total": number * 100})
            running.run("publish", "OrderCreated", order, "--key", f"o-{number}")
        running.eventually(lambda: _completed(running) == 3, "three orders in the projections")
        yield running
    finally:
        running.close()


def _completed(process: Process) -> int:
    sql = "SELECT count(*) FROM instances WHERE saga = 'CheckoutSaga' AND status = 'completed'"
    return process.json("sql", sql)["rows"][0][0]


TOTALS = "SELECT key, (state->>'$.total')::INTEGER AS total FROM instances ORDER BY key"


def test_a_table_for_people(process: Process) -> None:
    done = process.run("sql", TOTALS)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["key", "total"]
    assert ["o-3", "300"] in lines
    assert re.search(r"rows?, \d+ ms, the log up to \d+", done.stderr)


def test_rows_that_are_too_wide_are_shown_one_below_the_other(process: Process) -> None:
    done = process.run("sql", "FROM transitions WHERE saga = 'CheckoutSaga' LIMIT 2")
    assert [line for line in done.stdout.splitlines() if line.startswith("row ")] == [
        *("row 1", "row 2")
    ]
    assert re.search(r"^  cause_type +OrderCreated$", done.stdout, re.MULTILINE)


def test_a_limit_that_cuts_is_told(process: Process) -> None:
    done = process.run("sql", "FROM range(10)", "--limit", "2")
    assert "the first 2 rows; ask for more with --limit" in done.stderr


def test_parameters_and_stdin(process: Process) -> None:
    sql = "SELECT $a AS a, $n + 1 AS n"
    found = process.run(
        *("sql", "-", "--param", "a=o-1", "--param", "n=41", "--json"), input=sql
    ).stdout
    assert json.loads(found)["rows"] == [["o-1", 42]]


def test_files_by_their_ending(process: Process) -> None:
    for name in ("x.csv", "x.json", "x.parquet", "x.arrow"):
        done = process.run("sql", TOTALS, "-o", name)
        assert "rows in" in done.stderr
    folder = process.cwd
    rows = list(csv.reader(io.StringIO((folder / "x.csv").read_text())))
    assert rows[0] == ["key", "total"]
    assert json.loads((folder / "x.json").read_text())["rows"] == [
        [key, int(total)] for key, total in rows[1:]
    ]
    with duckdb.connect() as reader:
        found = reader.execute(f"FROM '{folder / 'x.parquet'}'").fetchall()
    assert [list(map(str, row)) for row in found] == rows[1:]
    assert (folder / "x.arrow").read_bytes()


def test_csv_on_stdout(process: Process) -> None:
    assert process.run("sql", "SELECT 1 AS a", "--format", "csv").stdout == "a\n1\n"


def test_an_error_shows_its_place(process: Process) -> None:
    done = process.run("sql", "SELECT key,\n  foo FROM instances", code=1)
    lines = done.stderr.splitlines()
    at = next(index for index, line in enumerate(lines) if line.strip() == "^")
    assert lines[at - 1][lines[at].index("^") :].startswith("foo FROM")
    assert "DESCRIBE" in done.stderr


def test_a_refusal_says_why(process: Process) -> None:
    done = process.run("sql", "DROP VIEW instances", code=1)
    assert "not a question" in done.stderr


def test_instances_by_a_condition(process: Process) -> None:
    where = "(state->>'$.total')::INTEGER >= 200"
    found = process.json("instances", "--where", where, "--saga", "CheckoutSaga")
    assert sorted(one["key"] for one in found) == ["o-2", "o-3"]
    known = process.json("instances", "--saga", "CheckoutSaga")
    assert found[0].keys() >= known[0].keys()
    by_key = {one["key"]: one for one in known}
    for one in found:
        assert (one["seq"], one["version"]) == (
            by_key[one["key"]]["seq"],
            by_key[one["key"]]["version"],
        )
    shown = process.run("instances", "--where", where, "--status", "completed").stdout
    assert "o-3" in shown
    assert "o-1" not in shown
    assert process.run("instances", "--where", "false").stdout == ""
    done = process.run("instances", "--where", "version > 1 AND foo", code=1)
    line, mark = done.stderr.splitlines()[-3:-1]
    assert line[mark.index("^") :].startswith("foo")


def test_the_answer_of_a_huge_query_is_its_error(process: Process) -> None:
    done = process.run(
        "sql", "SELECT count(*) FROM range(1000000000000)", "--timeout", "0.5", code=1
    )
    assert "0.5 s" in done.stderr
