"""Goal: people are told the times at which the broker will fire.

Method: known expressions beside times worked out by hand, clock changes in Berlin included; and any
expression beside a walk through every second, minute or hour that a reader of the fields would do.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagas.cron_times import next_runs, run_before
from sagas.errors import DefinitionError

NOW = datetime(2026, 3, 27, 12, 0, tzinfo=UTC)  # a Friday


def _texts(expression: str, zone: str = "", after: datetime = NOW, count: int = 3) -> list[str]:
    return [f"{at:%m-%d %H:%M:%S}" for at in next_runs(expression, zone, after, count)]


def test_known_schedules_fire_when_their_fields_say() -> None:
    assert _texts("0 0 3 * * *") == ["03-28 03:00:00", "03-29 03:00:00", "03-30 03:00:00"]
    assert _texts("*/30 5 12 * * *", count=2) == ["03-27 12:05:00", "03-27 12:05:30"]
    assert _texts("0 9 * * mon-fri") == ["03-30 09:00:00", "03-31 09:00:00", "04-01 09:00:00"]
    assert _texts("@monthly", count=2) == ["04-01 00:00:00", "05-01 00:00:00"]
    assert _texts("0 0 0 1,15 * 7", count=3) == [
        "03-29 00:00:00",  # a Sunday: either day is enough where both are restricted
        "04-01 00:00:00",
        "04-05 00:00:00",
    ]
    assert [at.year for at in next_runs("0 0 0 29 feb ?", "", NOW, 2)] == [2028, 2032]


def test_the_time_zone_is_that_of_the_wall_clock() -> None:
    runs = _texts("0 30 2 * * *", "Europe/Berlin", count=3)
    # There is no 02:30 on the 29th, when the clock goes forward.
    assert runs == ["03-28 01:30:00", "03-30 00:30:00", "03-31 00:30:00"]
    autumn = datetime(2026, 10, 24, 12, tzinfo=UTC)
    assert _texts("0 30 2 * * *", "Europe/Berlin", autumn, 2) == [
        "10-25 00:30:00",  # there are two
        "10-25 01:30:00",
    ]


@pytest.mark.parametrize("zone", ["", "Europe/Berlin", "Australia/Lord_Howe", "America/Havana"])
@pytest.mark.parametrize(
    "expression", ["*/20 * * * * *", "0 */10 * * * *", "0 30 2 * * *", "0 45 0,1 * 4,10,11 *"]
)
def test_the_run_before_another_is_found_back(expression: str, zone: str) -> None:
    """Over each change of the clock, some of which are of half an hour or at midnight."""
    for month in (3, 4, 10, 11):
        first = datetime(2026, month, 1, tzinfo=UTC)
        for day in range(31):
            runs = next_runs(expression, zone, first + timedelta(days=day, hours=22), 4)
            for one, following in pairwise(runs):
                assert run_before(expression, zone, following) == one


def test_what_is_no_run_has_none_before_it() -> None:
    assert run_before("0 0 3 * * *", "", NOW) is None
    assert run_before("0 0 12 * * *", "", NOW) == NOW - timedelta(days=1)
    assert run_before("@daily", "", NOW) is None
    assert run_before("@every 90s", "", NOW) == NOW - timedelta(seconds=90)


def test_what_only_the_broker_knows_and_what_never_comes_is_not_told() -> None:
    assert next_runs("@every 5m", "", NOW, 3) == []
    assert next_runs("0 0 0 31 2 *", "", NOW, 1) == []
    with pytest.raises(DefinitionError, match="minute"):
        next_runs("0 61 * * * *", "", NOW, 1)


_HOURS = st.sampled_from(["*", "*/6", "3", "1-5", "0,12,23", "20-23/2", "5/7"])
_DAYS = st.sampled_from(["*", "1", "28-31", "*/10"])
_WEEKDAYS = st.sampled_from(["*", "0", "1-5", "6,7", "sun"])


@given(hours=_HOURS, days=_DAYS, weekdays=_WEEKDAYS, start=st.integers(0, 5000))
def test_it_finds_what_a_walk_through_all_hours_finds(
    hours: str, days: str, weekdays: str, start: int
) -> None:
    after = NOW + timedelta(hours=start)
    found = next_runs(f"0 0 {hours} {days} * {weekdays}", "", after, 5)
    walk = (after + timedelta(hours=i) for i in range(1, 24 * 400))
    expected = [at for at in walk if _fits(at, hours, days, weekdays)][:5]
    assert found == expected


def _fits(at: datetime, hours: str, days: str, weekdays: str) -> bool:
    """The fields read one number at a time, by another way than the code under test."""
    in_month = _has(days, at.day, 1, 31)
    weekday = (at.weekday() + 1) % 7
    text = weekdays.replace("sun", "0")
    in_week = _has(text, weekday, 0, 7) or (weekday == 0 and _has(text, 7, 0, 7))
    free = days.startswith("*") or weekdays.startswith("*")
    right_day = (in_month and in_week) if free else (in_month or in_week)
    return right_day and _has(hours, at.hour, 0, 23)


def _has(field: str, number: int, low: int, high: int) -> bool:
    for part in field.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        bottom = low if span == "*" else int(first)
        top = high if span == "*" or (slash and not dash) else int(last or first)
        if bottom <= number <= top and (number - bottom) % int(step or 1) == 0:
            return True
    return False
