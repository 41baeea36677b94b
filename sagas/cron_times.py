"""When a cron schedule fires next, in the broker's own reading of its fields. Pure.

The broker fires; this only tells people what it will do. Fields are those of ``sagas.cron``. A day
matches when day of month and weekday both do, or either of them where both are restricted, as in
every cron. A wall clock time that does not exist (the clock goes forward) is left out, one that
exists twice counts once.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from sagas.cron import check_cron

DAYS_MAX = 366 * 9  # a 29 February comes after eight years at the latest
_WORDS = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
_RANGES = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NAMES = {
    **{name: number for number, name in enumerate(_MONTHS, 1)},
    **{name: number for number, name in enumerate(_WEEKDAYS)},
}


def next_runs(expression: str, time_zone: str, after: datetime, count: int) -> list[datetime]:
    """The next ``count`` times (UTC) behind ``after``; fewer when the schedule has no more of them
    within nine years.

    ``@every …`` counts from when the broker took the schedule, which nobody else knows: it gives
    none. Raises DefinitionError for what is no schedule, and what ZoneInfo raises for a time zone.
    """
    text = check_cron(expression)
    if text.startswith("@every "):
        return []
    return list(islice(_runs(_WORDS.get(text, text), ZoneInfo(time_zone or "UTC"), after), count))


def _runs(text: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    fields = text.split()
    seconds, minutes, hours, days, months, weekdays = (
        _values(field, *bounds) for field, bounds in zip(fields, _RANGES, strict=True)
    )
    either = fields[3][0] not in "*?" and fields[5][0] not in "*?"
    clock = [time(h, m, s) for h in sorted(hours) for m in sorted(minutes) for s in sorted(seconds)]
    first = after.astimezone(zone).date()
    for offset in range(DAYS_MAX):
        day = first + timedelta(days=offset)
        if day.month in months and _is_day(day, days, weekdays, either):
            moments = (datetime.combine(day, at, zone) for at in clock)
            yield from sorted(at.astimezone(UTC) for at in moments if _exists(at) and at > after)


def _is_day(day: date, days: set[int], weekdays: set[int], either: bool) -> bool:
    in_month, in_week = day.day in days, day.isoweekday() % 7 in weekdays
    return (in_month or in_week) if either else (in_month and in_week)


def _exists(at: datetime) -> bool:
    return at.astimezone(UTC).astimezone(at.tzinfo).time() == at.time()


def _values(field: str, low: int, high: int) -> set[int]:
    """The numbers a field means; Sunday may be written 0 or 7."""
    found: set[int] = set()
    for part in field.lower().split(","):
        span, _, step = part.partition("/")
        start, _, stop = span.partition("-")
        if start in ("*", "?"):
            first, last = low, high
        else:
            first = _number(start)
            last = _number(stop) if stop else (high if step else first)
        found.update(range(first, last + 1, int(step or 1)))
    return {0 if number == 7 and high == 7 else number for number in found}


def _number(text: str) -> int:
    return _NAMES[text] if text in _NAMES else int(text)
