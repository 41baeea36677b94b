"""Charts: everything inside the picture, the axis round, the table complete."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ui.chart import HEIGHT, LABELS_MAX, WIDTH, Series, chart, round_up

values = st.lists(st.one_of(st.none(), st.floats(0, 1e9)), min_size=1, max_size=80)


@given(values, st.sampled_from(["bars", "line"]))
def test_everything_stays_inside(given_values: list[float | None], kind: str) -> None:
    names = [str(i) for i in range(len(given_values))]
    series = [Series("a", tuple(given_values), kind=kind)]  # type: ignore[arg-type]
    drawn = chart("t", names, series, lambda v: f"{v:g}")
    for bar in drawn.bars:
        assert 0 <= bar.x <= bar.x + bar.width <= WIDTH
        assert 0 <= bar.y <= bar.y + bar.height <= HEIGHT
    for line in drawn.lines:
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y, _ in line.points)
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
    assert failed.y + failed.height == pytest.approx(done.y)
    assert failed.title == "10:00: 1 failed"
    assert drawn.rows == (("10:00", "3", "1"),)
