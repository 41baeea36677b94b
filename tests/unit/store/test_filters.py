"""Filters of instance lists: what texts mean, what is refused, and that no value becomes SQL.

Goal: every way to write a filter is understood or refused with the next step. Method: texts in,
Structs out; the SQL is only looked at for where values stand, databases are tried elsewhere.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.projection.filters import (
    FilterError,
    StateTest,
    condition,
    make_filter,
    parse_test,
)
from store.projection.times import BadTime, parse_time

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "path", "operator", "value"),
    [
        ("state.total>=1000", ("total",), ">=", 1000),
        ("state.total<=-1.5e3", ("total",), "<=", -1500.0),
        ("state.customer.id=c-7", ("customer", "id"), "=", "c-7"),
        ("state.customer.id!=c-7", ("customer", "id"), "!=", "c-7"),
        ("state.name~Müller & Co", ("name",), "~", "Müller & Co"),
        ("state.items.0.sku=A", ("items", "0", "sku"), "=", "A"),
        ("state.paid=true", ("paid",), "=", True),
        ("state.gone=null", ("gone",), "=", None),
        ('state.code="007"', ("code",), "=", "007"),
        ('state."odd.name \\" x".y=1', ('odd.name " x', "y"), "=", 1),
        ("state.empty=", ("empty",), "=", ""),
        ("state.a = b", ("a",), "=", "b"),
        ("state.equation~a=b>c", ("equation",), "~", "a=b>c"),
        ("state.id=12345678901234567890", ("id",), "=", 12345678901234567890.0),
        ("state.ünï.数=1", ("ünï", "数"), "=", 1),
    ],
)
def test_comparisons(text: str, path: tuple[str, ...], operator: Any, value: Any) -> None:
    """What each text means, with its value's type."""
    found = parse_test(text)

    assert found == StateTest(path, operator, value)
    assert type(found.value) is type(value)


@pytest.mark.parametrize(
    ("text", "tells"),
    [
        ("total>=1000", "begin with state."),
        ("state>=1000", "no comparison"),
        ("state.total", "no comparison"),
        ("state.=5", "no comparison"),
        ("state..a=5", "no comparison"),
        ("state.a b=5", "no comparison"),
        ("state.a>null", "= and != only"),
        ("state.a<true", "can't be ordered"),
        ("state.a=" + "x" * 501, "at most 500"),
        ("state" + ".a" * 17 + "=1", "at most 16"),
        ("state.a=\0", "NUL"),
        ("state." + "a" * 1100, "longer than"),
    ],
)
def test_refused_comparisons(text: str, tells: str) -> None:
    """What can't be meant is refused with words."""
    with pytest.raises(FilterError, match=tells):
        parse_test(text)


@pytest.mark.parametrize(
    ("given_", "tells"),
    [
        ({"statuses": ["runing"]}, "there is no status 'runing'; use running"),
        ({"q": "a b c d e f g h i j k"}, "10 words"),
        ({"q": "x" * 501}, "500 characters"),
        ({"where": ["state.a=1"] * 11}, "at most 10"),
        ({"sagas": ["S"] * 101}, "at most 100"),
        ({"since": "yesterday"}, "since: 'yesterday' is no time"),
        ({"until": "2026-13-01"}, "until: "),
        ({"key": "a\0"}, "NUL"),
    ],
)
def test_refused_filters(given_: dict[str, Any], tells: str) -> None:
    """Too much or misspelt is refused with words."""
    with pytest.raises(FilterError, match=tells):
        make_filter(**given_, now=NOW)


def test_a_filter_from_texts() -> None:
    """All parts together: names sorted, words in lower case and once, times in UTC."""
    filter = make_filter(
        sagas=["B", "A", "A"],
        statuses=["parked", "running"],
        key="o-10*",
        q="  Anna anna  MÜLLER ",
        since="2h",
        until="2026-05-01T13:00:00+02:00",
        where=["state.total>5"],
        now=NOW,
    )

    assert filter.sagas == ("A", "B")
    assert filter.statuses == ("running", "parked")
    assert filter.words == ("anna", "müller")
    assert filter.since == NOW - timedelta(hours=2)
    assert filter.until == datetime(2026, 5, 1, 11, tzinfo=UTC)
    assert filter.reads_state


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("15m", NOW - timedelta(minutes=15)),
        ("1d12h", NOW - timedelta(hours=36)),
        ("0s", NOW),
        ("2026-05-01", datetime(2026, 5, 1, tzinfo=UTC)),
        ("2026-05-01T10:00:00", datetime(2026, 5, 1, 10, tzinfo=UTC)),
        ("2026-05-01T10:00:00.250Z", datetime(2026, 5, 1, 10, 0, 0, 250_000, tzinfo=UTC)),
        ("2026-05-01T10:00:00 02:00", datetime(2026, 5, 1, 8, tzinfo=UTC)),  # a + in a query
    ],
)
def test_times(text: str, moment: datetime) -> None:
    """Durations before now and ISO 8601."""
    assert parse_time(text, NOW) == moment


@pytest.mark.parametrize(
    "text", ["", "x", "-5m", "99999w", "2026-02-30", "1969-12-31", "T", "0001-01-01T00:00+23:59"]
)
def test_no_times(text: str) -> None:
    """Everything else is refused, and nothing else is raised."""
    with pytest.raises(BadTime):
        parse_time(text, NOW)


@given(st.text(max_size=60))
def test_any_text_is_a_comparison_or_refused(text: str) -> None:
    """No text makes the parser raise anything but a FilterError."""
    for candidate in (text, f"state.{text}", f"state.a{text}", f"state.a={text}"):
        try:
            parse_test(candidate)
        except FilterError:
            pass


@given(st.text(min_size=1, max_size=40).filter(lambda t: "\0" not in t))
def test_values_are_never_sql(value: str) -> None:
    """Whatever stands in a filter, the SQL is made of our words and names of parameters."""
    filter = make_filter(sagas=[value], key=value, q=value[:40], now=NOW)
    where = condition(filter)

    plain = where.sql
    for name in sorted(where.parameters, key=len, reverse=True):
        plain = plain.replace(f"${name}", "")
    allowed = set("list_contains(, saga) AND key = starts_with(key, ) (contains(lower(key), ) OR "
                  "regexp_matches(state, ))")  # fmt: skip
    assert set(plain) <= allowed
