"""How much goes through and how fast, in spans of time; what is over is counted once.

Spans stand on a fixed grid (whole multiples of their width since 1970), so that two looks at the
same window speak of the same spans. What is older than a minute does not change any more: it is
remembered as counts, and a look counts only what is newer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from msgspec import Struct, field, structs

from store.projection.histogram import bucket_sql, percentiles
from store.projection.port import ReadModel

EPOCH = datetime.fromtimestamp(0, UTC)
# A transition may be told a little later than one after it: brokers of a cluster have clocks apart.
SETTLED = timedelta(minutes=1)
WIDTHS_MAX = 32


class Minute(Struct, frozen=True, kw_only=True, rename="camel"):
    """What went through in one span of time that begins at ``from_at``; times in milliseconds.

    ``waited`` is from the storing of a message to the storing of what it caused, within 2 %.
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


class _Row(Struct, frozen=True):
    """Transitions of one span that waited about as long."""

    from_at: datetime
    settled: bool
    bucket: int
    transitions: int
    started: int
    ended: int
    failed: int


class _Tally(Struct):
    """What was counted of one span."""

    transitions: int = 0
    started: int = 0
    ended: int = 0
    failed: int = 0
    waited: Counter[int] = field(default_factory=Counter[int])

    def add(self, row: _Row) -> None:
        """Count these transitions, too."""
        self.transitions += row.transitions
        self.started += row.started
        self.ended += row.ended
        self.failed += row.failed
        self.waited[row.bucket] += row.transitions

    def told(self, from_at: datetime) -> Minute:
        """The same of the span that begins then."""
        p50_ms, p95_ms = percentiles(self.waited, (0.5, 0.95))
        return Minute(
            from_at=from_at,
            transitions=self.transitions,
            started=self.started,
            ended=self.ended,
            failed=self.failed,
            waited_p50_ms=p50_ms,
            waited_p95_ms=p95_ms,
        )


_Tallies = Mapping[datetime, _Tally]  # by where their spans begin


class _Kept(Struct, frozen=True):
    """All between two moments: the spans that were over then, and what there is of the next."""

    since: datetime
    until: datetime
    over: tuple[Minute, ...] = ()
    begun: _Tallies = {}


# Times as whole numbers: the same with intervals takes three times as long. ``turn`` is of the
# table beneath.
_COUNTED = f"""
SELECT $since + to_microseconds(span * $width_us) AS from_at, * EXCLUDE span
FROM (
    SELECT (epoch_us(committed_at) - epoch_us($since)) // $width_us AS span,
        committed_at < $settled AS settled, {bucket_sql("waited_ms")} AS bucket,
        count(*) AS transitions, count(*) FILTER (version = 1) AS started,
        count(*) FILTER (turn IN (2, 3)) AS ended, count(*) FILTER (turn IN (1, 3)) AS failed
    FROM base.transitions WHERE committed_at >= $counted GROUP BY ALL
)
"""  # noqa: S608 - made of constants
_NEWEST = "SELECT max(committed_at) AS at FROM base.transitions WHERE committed_at >= $counted"


def grid(now: datetime, width: timedelta, spans: int) -> datetime:
    """Where the first of so many spans begins, the last of which holds ``now``."""
    return now - (now - EPOCH) % width - width * (spans - 1)


class Throughput:
    """Remembers what is over; one for a process, asked within its event loop."""

    def __init__(self, read: ReadModel) -> None:
        self._read = read
        self._kept: dict[timedelta, _Kept] = {}
        self._applied = 0

    async def spans(self, since: datetime, width: timedelta) -> list[Minute]:
        """What went through since then in spans of ``width``; empty spans are left out.

        ``since`` is on the grid. Raises ReadError.
        """
        self._doubt()
        memory = self._kept  # what is doubted meanwhile is not written into what follows it
        kept = memory.get(width)
        if kept is None or not kept.since <= since <= kept.until:
            kept = _Kept(since, since)
        # What is newest is asked first: all up to there is then in what is counted.
        [newest] = await self._read.fetch(_NEWEST, {"counted": kept.until}, _Newest)
        until = max(kept.until, newest.at - SETTLED) if newest.at else kept.until
        width_us = width // timedelta(microseconds=1)
        about = {"since": since, "width_us": width_us, "counted": kept.until, "settled": until}
        rows = await self._read.fetch(_COUNTED, about, _Row)
        settled = _added(kept.begun, (row for row in rows if row.settled))
        open_at = grid(until, width, 1)
        kept = _Kept(
            since,
            until,
            over=(
                *(one for one in kept.over if one.from_at >= since),
                *(tally.told(at) for at, tally in sorted(settled.items()) if at < open_at),
            ),
            begun={at: tally for at, tally in settled.items() if at == open_at},
        )
        if len(memory) >= WIDTHS_MAX:
            memory.clear()
        memory[width] = kept
        newer = _added(kept.begun, (row for row in rows if not row.settled))
        return [*kept.over, *(tally.told(at) for at, tally in sorted(newer.items()))]

    def _doubt(self) -> None:
        """Forget everything when the tables may be others than before."""
        progress = self._read.progress
        if progress.log_seq < self._applied or progress.rebuilding is not None:
            self._kept = {}
        self._applied = progress.log_seq


def _added(tallies: _Tallies, rows: Iterable[_Row]) -> _Tallies:
    """These and what the rows say, as new ones: another look may be at work with the old ones."""
    found = {
        at: structs.replace(tally, waited=tally.waited.copy()) for at, tally in tallies.items()
    }
    for row in rows:
        if row.from_at not in found:
            found[row.from_at] = _Tally()
        found[row.from_at].add(row)
    return found
