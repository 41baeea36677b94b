"""Cron of nats-server: six fields (second minute hour day-of-month month day-of-week), lists,
ranges, steps, names.

It takes and refuses what the server does; ``sagas.cron_times`` knows when the fields match.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sagas.cron_times import Fields

PREDEFINED = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}

_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
_SOME_TIME = datetime(2000, 1, 1, tzinfo=UTC)


class BadCron(ValueError):
    """A pattern that is no cron pattern of six fields."""


def parse_cron(pattern: str) -> Fields:
    """Read six fields or a name such as ``@daily``; raises BadCron."""
    words = PREDEFINED.get(pattern, pattern).split()
    if len(words) != 6:
        raise BadCron(f"{pattern!r} has {len(words)} fields; write six, seconds first")
    second, minute, hour, day, month, weekday = words
    fields = Fields(
        seconds=frozenset(_field(second, 0, 59)),
        minutes=frozenset(_field(minute, 0, 59)),
        hours=frozenset(_field(hour, 0, 23)),
        days=frozenset(_field(day, 1, 31)),
        months=frozenset(_field(month, 1, 12, _MONTHS)),
        weekdays=frozenset(_field(weekday, 0, 6, _DAYS)),
        either_day=day[0] not in "*?" and weekday[0] not in "*?",
    )
    if fields.after(_SOME_TIME, UTC) is None:  # February 30
        raise BadCron("no date matches; correct the day or the month")
    return fields


def _field(text: str, low: int, high: int, names: list[str] | None = None) -> set[int]:
    values: set[int] = set()
    for part in filter(None, text.split(",")):
        span, _, step = part.partition("/")
        if span in ("*", "?"):
            first, last = low, high
        else:
            start, dash, end = span.partition("-")
            first = _value(start, low, names)
            last = _value(end, low, names) if dash else (high if step else first)
        stride = _value(step, 1, None) if step else 1
        if not (low <= first <= last <= high) or stride < 1:
            raise BadCron(f"{part!r} is not between {low} and {high}; correct that field")
        values.update(range(first, last + 1, stride))
    return values


def _value(text: str, low: int, names: list[str] | None) -> int:
    if names is not None and text.upper() in names:
        return names.index(text.upper()) + (1 if low == 1 else 0)
    if not text.isascii() or not text.isdigit():
        raise BadCron(f"{text!r} is no number; correct that field")
    return int(text)
