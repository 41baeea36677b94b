"""Charts: everything inside the picture, the axis round, the table complete."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ui.chart import HEIGHT, LABELS_MAX, WIDTH, Block, Series, chart, round_up

PATH = r"M([-\d.]+) ([-\d.]+)h([-\d.]+)v([-\d.]+)h-\3z"
values = st.lists(st.one_of(st.none(), st.floats(0, 1e9)), min_size=1, max_size=80)


@given(values, st.sampled_from(["bars", "line"]))
def test_everything_stays_inside(given_values: list[float | None], kind: str) -> None:
    names = [str(i) for i in range(len(given_values))]
    series = [Series("a", tuple(given_values), kind=kind)]  # type: ignore[arg-type]
    drawn = chart("t", names, series, lambda v: f"{v:g}")
    for bar in drawn.bars:
        x, y, width, height = _box(bar)
        assert 0 <= x <= x + width <= WIDTH
        assert 0 <= y <= y + height <= HEIGHT
    for line in drawn.lines:
        assert all(0 <= float(x) <= WIDTH and 0 <= float(y) <= HEIGHT for x, y, _ in line.points)
    assert len(drawn.labels) <= LABELS_MAX
    assert len(drawn.rows) == len(names)


@pytest.mark.parametrize(
    ("value", "top"), [(0, 1), (1, 1), (1.1, 2), (2.3, 2.5), (26, 50), (99, 100), (0.03, 0.05)]
)
def test_the_axis_ends_at_a_round_number(value: float, top: float) -> None:
    assert round_up(value) == pytest.approx(top)


def test_bars_are_stacked_and_say_what_they_are() -> None:
    drawn = chart(
        "per minute",
        ["10:00"],
        [Series("done", (3,)), Series("failed", (1,), tone="red")],
        lambda v: f"{v:g}",
    )
    done, failed = drawn.bars
    (_, y, _, height), (_, below, _, _) = _box(failed), _box(done)
    assert y + height == pytest.approx(below, abs=0.1)
    assert failed.title == "10:00: 1 failed"
    assert drawn.rows == (("10:00", "3", "1"),)


def test_a_line_has_gaps_where_there_is_no_value() -> None:
    values = Series("p50", (1, 2, None, None, 3, 4), kind="line")
    [line] = chart("t", list("abcdef"), [values], lambda v: f"{v:g}").lines
    assert re.sub("[^ML]", "", line.path) == "MLML"
    assert len(line.points) == 4


def _box(bar: Block) -> tuple[float, ...]:
    """A bar's left, top, width and height."""
    found = re.fullmatch(PATH, bar.path)
    assert found, bar.path
    return tuple(float(one) for one in found.groups())
