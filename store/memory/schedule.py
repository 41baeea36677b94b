"""The schedule headers of a stored message (ADR-51) as data: when it fires first, and when again.

Knows the three forms the server takes (``@at`` with an RFC 3339 time, ``@every`` with a duration of
at least a second, cron with six fields) and refuses what the server refuses. It stores and fires
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import TypeAlias, assert_never
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

from sagas.cron_times import Fields
from store.memory.clock import NS
from store.memory.cron import BadCron, parse_cron

SCHEDULE = "Nats-Schedule"
TARGET = "Nats-Schedule-Target"
TTL = "Nats-Schedule-TTL"
TIME_ZONE = "Nats-Schedule-Time-Zone"
SCHEDULER = "Nats-Scheduler"
NEXT = "Nats-Schedule-Next"
PURGE = "purge"

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|ns)", re.ASCII)
_UNITS_NS = {"h": 3600 * NS, "m": 60 * NS, "s": NS, "ms": 1_000_000, "us": 1_000, "ns": 1}


class BadSchedule(ValueError):
    """A schedule whose pattern the server would refuse with 10189."""


class BadZone(ValueError):
    """A time zone that the server would refuse with 10223."""


class At(Struct, frozen=True):
    """Fires once; at once when the moment is past."""

    due_ns: int


class Every(Struct, frozen=True):
    """Fires each ``period_ns`` nanoseconds, first after one period."""

    period_ns: int


class Calendar(Struct, frozen=True):
    """Fires at each time that a cron pattern names."""

    cron: Fields
    zone: tzinfo


When: TypeAlias = At | Every | Calendar


class Schedule(Struct, frozen=True):
    """A schedule with where it fires to and how long (``ttl``, the header's text) what it fired is
    kept.
    """

    when: When
    target: str
    ttl: str

    @property
    def once(self) -> bool:
        """Whether it is gone after it fired."""
        return isinstance(self.when, At)

    def next_ns(self, after_ns: int) -> int:
        """When it fires, seen from ``after_ns``: its storing or its last firing."""
        match self.when:
            case At(due_ns):
                return due_ns
            case Every(period_ns):
                return after_ns + period_ns
            case Calendar(cron, zone):
                found = cron.after(datetime.fromtimestamp(after_ns // NS, UTC), zone)
                assert found is not None, "a pattern that has no date was refused"
                return int(found.timestamp()) * NS
            case _:
                assert_never(self.when)


def parse_schedule(headers: Mapping[str, str]) -> Schedule | None:
    """The schedule that these headers ask for, None without one; raises BadSchedule, BadZone."""
    pattern = headers.get(SCHEDULE)
    if not pattern:
        return None
    return Schedule(
        when=_when(pattern, headers.get(TIME_ZONE, "")),
        target=headers.get(TARGET, ""),
        ttl=headers.get(TTL, ""),
    )


def _when(pattern: str, zone: str) -> When:
    kind, _, rest = pattern.partition(" ")
    if zone and kind in ("@at", "@every"):
        raise BadSchedule("a time zone goes with cron only")
    if kind == "@at":
        return At(_time_ns(rest))
    if kind == "@every":
        period_ns = duration_ns(rest)
        if period_ns is None or period_ns < NS:
            raise BadSchedule(f"{rest!r} is no duration of a second or more")
        return Every(period_ns)
    try:
        return Calendar(parse_cron(pattern), ZoneInfo(zone) if zone else UTC)
    except BadCron as error:
        raise BadSchedule(str(error)) from None
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise BadZone(str(error)) from None


def _time_ns(text: str) -> int:
    found = _TIME.fullmatch(text)
    if found is None:
        raise BadSchedule(f"{text!r} is no RFC 3339 time")
    seconds, fraction, offset = found.groups()
    try:
        moment = datetime.fromisoformat(seconds + offset)
    except ValueError as error:
        raise BadSchedule(str(error)) from None
    return int(moment.timestamp()) * NS + int((fraction or "0").ljust(9, "0"))


def duration_ns(text: str) -> int | None:
    """A Go duration such as ``1h30m`` in nanoseconds; None when ``text`` is none."""
    total, end = 0, 0
    for part in _DURATION.finditer(text):
        if part.start() != end:
            return None
        number, unit = part.groups()
        total += round(float(number) * _UNITS_NS[unit])
        end = part.end()
    return total if text and end == len(text) else None


def ttl_ns(text: str) -> int | None:
    """A ``Nats-TTL`` (whole seconds, a duration, or ``never``) in nanoseconds, 0 for ever; None
    when invalid.
    """
    if text == "never":
        return 0
    if text.isascii() and text.isdigit():
        return int(text) * NS or None
    parsed = duration_ns(text)
    return parsed if parsed is not None and parsed >= NS else None


def rfc3339(at_ns: int) -> str:
    """A moment as the server writes it in ``Nats-Schedule-Next``, whole seconds."""
    return datetime.fromtimestamp(at_ns // NS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
