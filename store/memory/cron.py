"""Cron of nats-server: six fields (second minute hour day-of-month month day-of-week), lists,
ranges, steps, names.

As with the server, a day matches when both day fields do, or either of them where both are
restricted. A local time that a change of clocks leaves out is passed over; of one that comes twice
the first counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import product

from msgspec import Struct

DAYS_AHEAD_MAX = 5 * 366  # a pattern without a date in five years has none (February 30)

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


class Cron(Struct, frozen=True):
    """The allowed values of each field; a day of the week counts from 0 for Sunday."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    def next(self, after: datetime, zone: tzinfo) -> datetime:
        """The first moment over ``after`` (an aware time) that matches in ``zone``; raises BadCron
        without one.
        """
        local = after.astimezone(zone)
        day, floor = local.date(), (local.hour, local.minute)
        for _ in range(DAYS_AHEAD_MAX):
            if self._on(day):
                for found in self._times(day, floor, zone):
                    if found > after:
                        return found
            day, floor = day + timedelta(days=1), (0, 0)
        raise BadCron("no date in the next five years matches; correct the day or the month")

    def _on(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        in_month = day.day in self.days
        in_week = day.isoweekday() % 7 in self.weekdays
        return in_month or in_week if self.either_day else in_month and in_week

    def _times(self, day: date, floor: tuple[int, int], zone: tzinfo) -> Iterator[datetime]:
        for hour, minute, second in product(self.hours, self.minutes, self.seconds):
            if (hour, minute) < floor:
                continue
            local = datetime.combine(day, time(hour, minute, second), zone)
            moment = local.astimezone(UTC)
            if moment.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None):
                yield moment


def parse_cron(pattern: str) -> Cron:
    """Read six fields or a name such as ``@daily``; raises BadCron."""
    fields = PREDEFINED.get(pattern, pattern).split()
    if len(fields) != 6:
        raise BadCron(f"{pattern!r} has {len(fields)} fields; write six, seconds first")
    second, minute, hour, day, month, weekday = fields
    cron = Cron(
        seconds=tuple(sorted(_field(second, 0, 59))),
        minutes=tuple(sorted(_field(minute, 0, 59))),
        hours=tuple(sorted(_field(hour, 0, 23))),
        days=frozenset(_field(day, 1, 31)),
        months=frozenset(_field(month, 1, 12, _MONTHS)),
        weekdays=frozenset(_field(weekday, 0, 6, _DAYS)),
        either_day=day[0] not in "*?" and weekday[0] not in "*?",
    )
    cron.next(_SOME_TIME, UTC)  # a pattern that no date matches is refused, as by the server
    return cron


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
