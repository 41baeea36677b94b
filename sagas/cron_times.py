"""When a cron schedule fires, in the broker's own reading of its fields. Pure.

The broker fires; this tells people what it will do, and which tick one was. Fields are those of
``sagas.cron``. A day matches when day of month and weekday both do, or either of them where both
are restricted, as in every cron. A second matches when the clock on the wall shows it: one that
does not exist (the clock goes forward) is left out, one that exists twice counts twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import islice
from zoneinfo import ZoneInfo

from msgspec import Struct

from sagas.cron import check_cron
from sagas.durations import seconds

LEAPS_MAX = 366 * 9  # days, nearly all of them; a 29 February comes after eight years at the latest
EVERY = "@every "
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


class Fields(Struct, frozen=True, kw_only=True):
    """The values that the six fields of an expression allow; the week begins with Sunday, 0."""

    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    def after(self, moment: datetime, zone: tzinfo) -> datetime | None:
        """The first second behind ``moment`` that matches (UTC); None without one in nine years."""
        at = moment.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
        for _ in range(LEAPS_MAX):
            span = self._idle(at, zone)
            if span is None:
                return at
            _, at = span
        return None

    def before(self, moment: datetime, zone: tzinfo) -> datetime | None:
        """The last second before ``moment`` that matches (UTC); None without one in nine years."""
        at = (moment.astimezone(UTC) - timedelta(microseconds=1)).replace(microsecond=0)
        for _ in range(LEAPS_MAX):
            span = self._idle(at, zone)
            if span is None:
                return at
            at = span[0] - timedelta(seconds=1)
        return None

    def _idle(self, at: datetime, zone: tzinfo) -> tuple[datetime, datetime] | None:
        """The day, half hour, minute or second around ``at`` in which nothing matches, from its
        beginning to its end; None when ``at`` does.
        """
        local = at.astimezone(zone)
        if not self._is_day(local.date()):
            days = (local.date(), local.date() + timedelta(days=1))
            start, end = (datetime.combine(day, time(), zone).astimezone(UTC) for day in days)
            return start, end
        minute = at - timedelta(seconds=local.second)
        if local.hour not in self.hours:
            half = minute - timedelta(minutes=local.minute % 30)  # as far as clocks are moved
            return half, half + timedelta(minutes=30)
        if local.minute not in self.minutes:
            return minute, minute + timedelta(minutes=1)
        if local.second not in self.seconds:
            return at, at + timedelta(seconds=1)
        return None

    def _is_day(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        in_month, in_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (in_month or in_week) if self.either_day else (in_month and in_week)


def next_runs(expression: str, time_zone: str, after: datetime, count: int) -> list[datetime]:
    """The next ``count`` times (UTC) behind ``after``; fewer when the schedule has no more of them
    within nine years.

    ``@every …`` counts from when the broker took the schedule, which nobody else knows: it gives
    none. Raises DefinitionError for what is no schedule, and what ZoneInfo raises for a time zone.
    """
    text = check_cron(expression)
    if text.startswith(EVERY):
        return []
    return list(islice(_runs(_fields(text), ZoneInfo(time_zone or "UTC"), after), count))


def run_before(expression: str, time_zone: str, following: datetime) -> datetime | None:
    """The run (UTC) right before the run ``following``; None when that is no run of the schedule.

    Of ``@every …`` it is a whole second, also where the broker fired between two. Raises as
    ``next_runs``.
    """
    text = check_cron(expression)
    if text.startswith(EVERY):
        period = timedelta(seconds=seconds(text.removeprefix(EVERY).strip()))
        return (following - period).astimezone(UTC)
    fields, zone = _fields(text), ZoneInfo(time_zone or "UTC")
    if fields.before(following + timedelta(seconds=1), zone) != following:
        return None
    return fields.before(following, zone)


def _runs(fields: Fields, zone: tzinfo, after: datetime) -> Iterator[datetime]:
    at = fields.after(after, zone)
    while at is not None:
        yield at
        at = fields.after(at, zone)


def _fields(text: str) -> Fields:
    words = _WORDS.get(text, text).split()
    seconds, minutes, hours, days, months, weekdays = (
        frozenset(_values(word, *bounds)) for word, bounds in zip(words, _RANGES, strict=True)
    )
    return Fields(
        seconds=seconds,
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        weekdays=weekdays,
        either_day=words[3][0] not in "*?" and words[5][0] not in "*?",
    )


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
