"""What is shown of an answer: rows, cut values, numbers for a chart; charts that say why not."""

from __future__ import annotations

import io
from typing import Literal

import msgspec

from store.projection.console import Answer, Freshness, ResultColumn
from ui.sql_chart import draw_answer
from ui.sql_table import ROWS_SHOWN, Table, read_table


def _answer(
    columns: str, rows: list[list[object]], truncated: Literal["", "rows", "bytes"] = ""
) -> Answer:
    """An answer as the console writes it: an array with a row on each line."""
    data = b"[" + b",\n".join(msgspec.json.encode(row) for row in rows) + b"]"
    named = (one.split(":") for one in columns.split())
    return Answer(
        format="json",
        columns=tuple(ResultColumn(name, type) for name, type in named),
        rows=len(rows),
        bytes=len(data),
        truncated=truncated,
        elapsed_ms=1.0,
        freshness=Freshness(log_seq=1, events_seq=1, lag=0, age_s=0.1),
        file=io.BytesIO(data),
    )


def _table(columns: str, *rows: list[object]) -> Table:
    return read_table(_answer(columns, list(rows)))


def test_rows_are_read_whatever_their_values_hold() -> None:
    table = _table(
        "saga:VARCHAR key:VARCHAR state:JSON total:BIGINT ok:BOOLEAN",
        ["S", "a],\n[b", {"x": [1, 2]}, 2**60 + 1, True],
        ["S", None, None, None, False],
    )
    assert [cell.text for cell in table.rows[0]][2:] == ['{"x":[1,2]}', str(2**60 + 1), "true"]
    assert table.rows[0][1].whole == "a],\n[b"
    assert table.rows[1][1].null
    assert table.numeric == {3}
    assert (table.saga_at, table.key_at, table.cut) == (0, 1, "")
    assert _table("a:BIGINT").rows == ()


def test_long_values_are_cut_and_open_laid_out() -> None:
    [[cell]] = _table("state:JSON", [{"note": "x" * 200, "n": 1}]).rows
    assert len(cell.text) < 100
    assert cell.text.endswith("…")
    assert cell.whole.startswith('{\n  "note"')
    assert cell.whole.endswith('"n": 1\n}')
    [[huge]] = _table("note:VARCHAR", ["y" * 900_000]).rows
    assert len(huge.whole) < 11_000
    assert "more characters" in huge.whole


def test_a_page_takes_no_more_than_it_can_show() -> None:
    wide = read_table(_answer("note:VARCHAR", [["z" * 100_000]] * 100))
    assert len(wide.rows) < 30
    assert "download has more" in wide.cut
    full = read_table(_answer("n:BIGINT", [[n] for n in range(ROWS_SHOWN)], truncated="rows"))
    assert len(full.rows) == ROWS_SHOWN
    assert "download has more" in full.cut


def test_a_chart_over_time_is_a_line_in_its_order() -> None:
    table = _table(
        "n:BIGINT at:TIMESTAMP",
        *([n, f"2026-11-21T10:{59 - n:02}:00"] for n in range(3)),
    )
    drawn = draw_answer(table)
    assert drawn.choice is not None
    assert (drawn.choice.x, drawn.choice.y) == (1, 0)
    assert drawn.chart is not None
    assert not drawn.chart.bars
    assert [row[0] for row in drawn.chart.rows] == ["10:57:00", "10:58:00", "10:59:00"]


def test_categories_are_bars_and_columns_can_be_chosen() -> None:
    table = _table("status:VARCHAR n:BIGINT share:DOUBLE", ["parked", 3, 0.25], ["running", 9, 1])
    first, second = draw_answer(table), draw_answer(table, "status", "share")
    assert first.chart is not None
    assert len(first.chart.bars) == 2
    assert first.chart.title == "n by status"
    assert second.chart is not None
    assert second.chart.title == "share by status"
    assert draw_answer(table, "gone", "status") == first


def test_a_chart_that_can_not_be_says_so() -> None:
    assert "column of numbers" in draw_answer(_table("a:VARCHAR", ["x"])).words
    assert "column of numbers" in draw_answer(_table("n:BIGINT")).words
    assert "below" in draw_answer(_table("a:VARCHAR n:BIGINT", ["x", -1])).words
    odd = draw_answer(_table("at:TIMESTAMP n:BIGINT", ["infinity", 1]))
    assert odd.chart is not None
