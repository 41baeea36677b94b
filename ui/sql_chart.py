"""A chart of a query's answer: one column along, one of numbers up. Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from ui.chart import Chart, Series, chart
from ui.sql_table import Table

POINTS_MAX = 200
NAME_LENGTH = 16
TIMES = ("TIMESTAMP", "DATE")


class Choice(Struct, frozen=True):
    """The columns of a chart, by place."""

    x: int
    y: int


class Drawn(Struct, frozen=True):
    """A chart with what it is made of, or in ``words`` why there is none."""

    choice: Choice | None
    chart: Chart | None
    words: str = ""


def draw_answer(table: Table, x: str = "", y: str = "") -> Drawn:
    """The chart of column ``y`` over column ``x``; names that fit no column are chosen anew.

    Over a time it is a line in the order of time, else there is a bar for each row.
    """
    choice = _choose(table, x, y)
    if choice is None:
        return Drawn(None, None, "A chart needs a row at least, and a column of numbers.")
    rows = [row for row in table.rows if not row[choice.x].null]
    timed = table.columns[choice.x].type.startswith(TIMES)
    if timed:
        rows.sort(key=lambda row: row[choice.x].text)
    values = tuple(row[choice.y].number for row in rows[:POINTS_MAX])
    if any(value is not None and value < 0 for value in values):
        name = table.columns[choice.y].name
        return Drawn(choice, None, f"Charts begin at zero, and {name} has values below it.")
    texts = [row[choice.x].text for row in rows[:POINTS_MAX]]
    along, up = table.columns[choice.x].name, table.columns[choice.y].name
    more = f", the first {POINTS_MAX} of {len(rows)}" if len(rows) > POINTS_MAX else ""
    series = Series(up, values, kind="line" if timed else "bars")
    names = _times(texts) if timed else [_short(text) for text in texts]
    return Drawn(choice, chart(f"{up} by {along}{more}", names, [series], _write))


def _choose(table: Table, x: str, y: str) -> Choice | None:
    names = [column.name for column in table.columns]
    numeric = sorted(table.numeric)
    if not table.rows or not numeric:
        return None
    along = names.index(x) if x in names else _best_along(table)
    others = [place for place in numeric if place != along] or numeric
    up = names.index(y) if y in names and names.index(y) in table.numeric else others[0]
    return Choice(along, up)


def _best_along(table: Table) -> int:
    """A time, else a text, else the first column."""
    places = range(len(table.columns))
    timed = (p for p in places if table.columns[p].type.startswith(TIMES))
    texts = (p for p in places if p not in table.numeric)
    return next(timed, next(texts, 0))


def _times(texts: list[str]) -> list[str]:
    """Times as short as they can be: with the day only if there are several."""
    try:
        times = [datetime.fromisoformat(text) for text in texts]
    except ValueError:  # infinity, or a year beyond Python's
        return [_short(text) for text in texts]
    one_day = len({time.date() for time in times}) == 1
    form = "%H:%M:%S" if one_day else "%m-%d %H:%M"
    return [f"{time:{form}}" for time in times]


def _short(text: str) -> str:
    return text if len(text) <= NAME_LENGTH else f"{text[: NAME_LENGTH - 1]}…"


def _write(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:,.3g}"
