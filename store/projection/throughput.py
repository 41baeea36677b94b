"""How much goes through and how fast, in spans of time; spans that are over are counted once.

Spans stand on a fixed grid (whole multiples of their width since 1970), so that two looks at the
same window speak of the same spans, and only the last of them still change.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec import Struct

from store.projection.port import ReadModel

EPOCH = datetime.fromtimestamp(0, UTC)
# A transition may be told a little later than one after it: brokers of a cluster have clocks apart.
SETTLED = timedelta(minutes=1)
KEPT_MAX = 2_000


class Minute(Struct, frozen=True, kw_only=True, rename="camel"):
    """What went through in one span of time that begins at ``from_at``; times in milliseconds.

    ``waited`` is from the storing of a message to the storing of what it caused.
    """

    from_at: datetime
    transitions: int
    started: int
    ended: int
    failed: int
    waited_p50_ms: float
    waited_p95_ms: float


class _Newest(Struct, frozen=True):
    at: datetime | None


# Times as whole numbers: the same with intervals takes three times as long; percentiles of FLOAT
# take two thirds of those of DOUBLE. ``turn`` is of the table beneath.
_MINUTES = """
SELECT $since + to_microseconds(span * $width_us) AS from_at, transitions, started, ended, failed,
    waited[1] AS waited_p50_ms, waited[2] AS waited_p95_ms
FROM (
    SELECT (epoch_us(committed_at) - epoch_us($since)) // $width_us AS span,
        count(*) AS transitions, count(*) FILTER (version = 1) AS started,
        count(*) FILTER (turn IN (2, 3)) AS ended, count(*) FILTER (turn IN (1, 3)) AS failed,
        quantile_cont(waited_ms::FLOAT, [0.5, 0.95]) AS waited
    FROM base.transitions WHERE committed_at >= $since GROUP BY span
) ORDER BY from_at
"""
_NEWEST = "SELECT max(committed_at) AS at FROM base.transitions"


def grid(now: datetime, width: timedelta, spans: int) -> datetime:
    """Where the first of so many spans begins, the last of which holds ``now``."""
    return now - (now - EPOCH) % width - width * (spans - 1)


class Throughput:
    """Remembers the spans that are over; one for a process, asked within its event loop."""

    def __init__(self, read: ReadModel) -> None:
        self._read = read
        self._kept: dict[tuple[timedelta, datetime], Minute | None] = {}
        self._applied = 0

    async def spans(self, since: datetime, width: timedelta) -> list[Minute]:
        """What went through since then in spans of ``width``; empty spans are left out.

        ``since`` is on the grid. Raises ReadError.
        """
        self._doubt()
        known: list[Minute] = []
        from_at = since
        while (width, from_at) in self._kept:
            if (one := self._kept[width, from_at]) is not None:
                known.append(one)
            from_at += width
        # What is newest is asked first: all up to there is then in what is counted.
        [newest] = await self._read.fetch(_NEWEST, {}, _Newest)
        width_us = width // timedelta(microseconds=1)
        about = {"since": from_at, "width_us": width_us}
        found = await self._read.fetch(_MINUTES, about, Minute)
        if newest.at is not None:
            self._keep(found, from_at, width, newest.at - SETTLED)
        return known + found

    def _doubt(self) -> None:
        """Forget everything when the tables may be others than before."""
        progress = self._read.progress
        if progress.log_seq < self._applied or progress.rebuilding is not None:
            self._kept.clear()
        self._applied = progress.log_seq

    def _keep(
        self, found: list[Minute], from_at: datetime, width: timedelta, until: datetime
    ) -> None:
        """Remember the spans that end before ``until``, the empty ones, too."""
        if len(self._kept) > KEPT_MAX:
            self._kept.clear()
        by_start = {one.from_at: one for one in found}
        while from_at + width <= until:
            self._kept[width, from_at] = by_start.get(from_at)
            from_at += width
