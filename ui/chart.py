"""Charts as positions in pixels: bars and lines over equal spans or categories. Pure.

Values are on hover and in a table beside the picture, so nothing depends on seeing it. An axis ends
at a round number; its labels are written by the caller's formatter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, floor, log10
from typing import Literal

from msgspec import Struct

WIDTH, HEIGHT = 640, 150
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 10, 22
LABELS_MAX = 6


class Series(Struct, frozen=True):
    """One row of values, None where there is none; ``tone`` is its look (accent, red, …)."""

    name: str
    values: tuple[float | None, ...]
    tone: str = "accent"
    kind: Literal["bars", "line"] = "bars"


class Block(Struct, frozen=True):
    """A bar as an SVG path, with what hovering tells."""

    path: str
    tone: str
    title: str


class Line(Struct, frozen=True):
    """A line as an SVG path, and its points (x, y, what hovering tells)."""

    path: str
    tone: str
    points: tuple[tuple[str, str, str], ...]


class Label(Struct, frozen=True):
    """A text at an axis."""

    at: float
    text: str


class Chart(Struct, frozen=True):
    """The whole picture, and the same as a table."""

    title: str
    bars: tuple[Block, ...]
    lines: tuple[Line, ...]
    ticks: tuple[Label, ...]
    labels: tuple[Label, ...]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    width: int = WIDTH
    height: int = HEIGHT


def chart(
    title: str,
    names: Sequence[str],
    series: Sequence[Series],
    write: Callable[[float], str],
) -> Chart:
    """Draw ``series`` over ``names`` (one for each place); bars of several series are stacked."""
    stacked = [sum(s.values[i] or 0 for s in series if s.kind == "bars") for i in range(len(names))]
    lines = [v for s in series if s.kind == "line" for v in s.values if v is not None]
    top = round_up(max([*stacked, *lines], default=0))
    step = (WIDTH - LEFT - RIGHT) / max(1, len(names))
    every = max(1, ceil(len(names) / LABELS_MAX))
    return Chart(
        title=title,
        bars=_bars(names, series, top, step, write),
        lines=tuple(_line(s, names, top, step, write) for s in series if s.kind == "line"),
        ticks=tuple(Label(_y(top * part, top), write(top * part)) for part in (0, 0.5, 1)),
        labels=tuple(
            Label(LEFT + (i + 0.5) * step, name) for i, name in enumerate(names) if i % every == 0
        ),
        header=("", *(s.name for s in series)),
        rows=tuple(
            (name, *("" if (v := s.values[i]) is None else write(v) for s in series))
            for i, name in enumerate(names)
        ),
    )


def round_up(value: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten; 1 for (next to) nothing."""
    if value <= 1e-9:
        return 1.0
    power = 10.0 ** floor(log10(value))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= value * 0.999999)


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)


def _bars(
    names: Sequence[str],
    series: Sequence[Series],
    top: float,
    step: float,
    write: Callable[[float], str],
) -> tuple[Block, ...]:
    found: list[Block] = []
    for place, name in enumerate(names):
        base = 0.0
        for one in series:
            value = one.values[place] or 0
            if one.kind != "bars" or not value:
                continue
            y = _y(base + value, top)
            title = f"{name}: {write(value)} {one.name}"
            height = max(_y(base, top) - y, 1.0)
            x = LEFT + place * step + step * 0.1
            width = max(step * 0.8, 1.0)
            path = f"M{x:.1f} {y:.1f}h{width:.1f}v{height:.1f}h{-width:.1f}z"
            found.append(Block(path, one.tone, title))
            base += value
    return tuple(found)


def _line(
    one: Series, names: Sequence[str], top: float, step: float, write: Callable[[float], str]
) -> Line:
    points = tuple(
        (
            f"{LEFT + (i + 0.5) * step:.1f}",
            f"{_y(value, top):.1f}",
            f"{names[i]}: {one.name} {write(value)}",
        )
        for i, value in enumerate(one.values)
        if value is not None
    )
    # No line over a place without a value: nobody knows how it went there.
    joined = [
        i > 0 and one.values[i - 1] is not None for i, v in enumerate(one.values) if v is not None
    ]
    path = "".join(
        f"{'L' if on else 'M'}{x} {y}" for on, (x, y, _) in zip(joined, points, strict=True)
    )
    return Line(path, one.tone, points)
