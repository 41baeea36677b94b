"""Delays as people write them: seconds, a timedelta, a datetime, or text such as "30s", "5m", "2h",
"1d".
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from sagas.errors import BadDelay

DELAY_S_MAX = 10 * 365 * 86400.0

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def seconds(delay: float | str | timedelta) -> float:
    """A delay in seconds, 0 to ten years; raises BadDelay.

    >>> seconds("1h30m")
    5400.0
    """
    if isinstance(delay, bool):
        raise BadDelay(
            "a delay can't be true or false; give seconds, a timedelta or text such as '5m'"
        )
    if isinstance(delay, timedelta):
        value = delay.total_seconds()
    elif isinstance(delay, str):
        value = _parse(delay)
    else:
        value = float(delay)
    if not 0 <= value <= DELAY_S_MAX:
        raise BadDelay(f"a delay of {value:g} s is outside 0 s to ten years; give a smaller one")
    return value


def moment(delay: float | str | timedelta | datetime, now: datetime) -> datetime:
    """The time a delay from ``now`` ends at, UTC; a datetime must have a time zone.

    Raises BadDelay.
    """
    if isinstance(delay, datetime):
        if delay.tzinfo is None:
            raise BadDelay(
                f"the time {delay.isoformat()} has no time zone; add one, e.g. tzinfo=UTC"
            )
        return delay.astimezone(UTC)
    return now + timedelta(seconds=seconds(delay))


def when(text: str) -> float | datetime:
    """When something shall happen: seconds from now ("2h"), or a time of ISO 8601 in UTC.

    A time that names no zone is taken as UTC. Raises BadDelay.
    """
    try:
        return seconds(text)
    except BadDelay:
        if not text.lstrip()[:4].isdecimal():
            raise
    try:
        time = datetime.fromisoformat(text.strip())
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadDelay(
            f"can't read the time {text[:60]!r}; write it like 2026-01-31T08:00:00Z, or how long"
            " from now: 30s, 5m, 2h, 1d"
        ) from None


def _parse(text: str) -> float:
    parts = _PART.findall(text.replace(" ", ""))
    if not parts or "".join(number + unit for number, unit in parts) != text.replace(" ", ""):
        raise BadDelay(f"can't read the delay {text!r}; write it like 30s, 5m, 2h, 1d or 1h30m")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
