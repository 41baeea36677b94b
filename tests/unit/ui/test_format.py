"""How values are written for people. Each function is pure, so tables of examples say it all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ui.format import ago, exact, machine, number, one_line, pretty, size, span

NOW = datetime(2026, 11, 21, 9, 13, 7, 120_000, UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.0042, "4.2 ms"),
        (0.34, "340 ms"),
        (0.9996, "1000 ms"),
        (1, "1 s"),
        (4.26, "4.3 s"),
        (41.4, "41 s"),
        (59.6, "1 min"),
        (303, "5 min 3 s"),
        (7200, "2 h"),
        (7260, "2 h 1 min"),
        (3 * 86400 + 4 * 3600, "3 d 4 h"),
    ],
)
def test_spans(seconds: float, words: str) -> None:
    assert span(seconds) == words
    assert span(timedelta(seconds=seconds)) == words


@pytest.mark.parametrize(
    ("at", "words"),
    [
        (NOW, "just now"),
        (NOW - timedelta(seconds=5.8), "5 s ago"),
        (NOW - timedelta(seconds=12), "12 s ago"),
        (NOW - timedelta(minutes=9, seconds=5), "9 min 5 s ago"),
        (NOW - timedelta(minutes=20, seconds=34), "20 min ago"),
        (NOW - timedelta(hours=3, minutes=4), "3 h 4 min ago"),
        (NOW - timedelta(days=12, hours=7), "12 d ago"),
        (NOW + timedelta(hours=11, minutes=58), "in 11 h 58 min"),
        (NOW + timedelta(minutes=5), "in 5 min"),
    ],
)
def test_relative_times(at: datetime, words: str) -> None:
    assert ago(at, NOW) == words


def test_exact_times_name_their_zone() -> None:
    assert exact(NOW) == "2026-11-21 09:13:07.120 UTC"
    assert machine(NOW) == "2026-11-21T09:13:07.120Z"


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (812, "812 B"), (4100, "4.1 kB"), (1_200_000, "1.2 MB")]
)
def test_sizes(count: int, words: str) -> None:
    assert size(count) == words


def test_numbers_are_grouped() -> None:
    assert number(12345) == "12\N{NARROW NO-BREAK SPACE}345"


def test_json_is_indented_other_text_left_and_long_text_cut() -> None:
    assert pretty(b'{"a":[1]}') == '{\n  "a": [\n    1\n  ]\n}'
    assert pretty(b"no json \xff") == "no json \ufffd"
    cut = pretty(b'"' + b"x" * 100 + b'"', limit=10)
    assert cut.startswith('"xxxxxxxxx\n… 92 more characters')


def test_one_line_keeps_the_first_and_shortens() -> None:
    assert one_line("ValueError: no\nTraceback …") == "ValueError: no"
    assert one_line("x" * 200, 5) == "xxxx…"
