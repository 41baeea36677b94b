"""Goal: whoever typed wrong JSON is told the place; whatever can be sent is taken as it is."""

from __future__ import annotations

import pytest
from msgspec import Raw

from store.masking import MASKED
from ui.json_place import Place, json_of


@pytest.mark.parametrize(
    ("text", "line", "column", "behind"),
    [
        ('{\n  "a": 1,\n  "b": }', 3, 8, "}"),
        ('{"a": 1', 1, 8, ""),
        ('{"a": 1} x', 1, 10, "x"),
        ("{'a': 1}", 1, 2, "'a': 1}"),
        (f'{{"card": "{MASKED}"}}', 1, 11, f'{MASKED}"}}'),
    ],
)
def test_the_place_is_where_it_goes_wrong(text: str, line: int, column: int, behind: str) -> None:
    place = json_of(text)
    assert isinstance(place, Place)
    assert (place.line, place.column, place.behind) == (line, column, behind)
    assert text.splitlines()[line - 1][column - 1 :].startswith(behind)
    assert text[place.at :].startswith(behind)


def test_the_cursor_goes_where_a_browser_counts() -> None:
    place = json_of('{\r\n"\N{PARROT}": }')
    assert isinstance(place, Place)
    assert (place.line, place.column, place.at) == (2, 6, 8)


@pytest.mark.parametrize("text", ["NaN", '{"a": Infinity}', "[" * 100_000, '"\\ud800"'])
def test_what_python_would_take_and_the_log_would_not_is_refused(text: str) -> None:
    assert isinstance(json_of(text), Place)


def test_json_is_taken_as_it_was_typed() -> None:
    assert json_of(' {"ä": 1.0}\r\n') == Raw('{"ä": 1.0}'.encode())
    assert json_of("  ") == Raw(b"null")
