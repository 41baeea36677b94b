"""Moments as people write them in a query: ISO 8601, or how long ago. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sagas.durations import seconds
from sagas.errors import BadDelay

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9999, 1, 1, tzinfo=UTC)


class BadTime(ValueError):
    """A text that is no moment; the message says what to write."""


def parse_time(text: str, now: datetime) -> datetime:
    """A moment in UTC: ISO 8601 (UTC when it names no zone), or a duration before ``now`` such as
    ``15m`` or ``2d``. Raises BadTime.
    """
    try:
        return now - timedelta(seconds=seconds(text))
    except BadDelay:
        pass
    try:
        # A plus that nobody escaped arrives as a space.
        moment = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadTime(
            f"{text[:60]!r} is no time; write it like 2026-01-31T08:00:00Z, 2026-01-31, or how"
            " long ago: 15m, 2h, 7d"
        ) from None
    if not _EARLIEST <= moment <= _LATEST:
        raise BadTime(f"{text[:60]!r} is outside the years 1970 to 9998; correct the year")
    return moment
