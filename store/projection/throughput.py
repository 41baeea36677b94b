"""How much goes through and how fast, in spans of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from store.projection.histogram import Counts, bucket_sql, percentiles
from store.projection.port import ReadModel
from store.projection.spans import Counted, Row, Spans


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


class _Row(Row, frozen=True, kw_only=True):
    """Transitions that waited about as long."""

    bucket: int
    transitions: int
    started: int
    ended: int
    failed: int


class _Tally(Struct, frozen=True):
    transitions: int
    started: int
    ended: int
    failed: int
    waited: Counts


def _plus(tally: _Tally | None, rows: Sequence[_Row]) -> _Tally:
    before = tally or _Tally(0, 0, 0, 0, {})
    waited = Counter(before.waited)
    for row in rows:
        waited[row.bucket] += row.transitions
    return _Tally(
        before.transitions + sum(row.transitions for row in rows),
        before.started + sum(row.started for row in rows),
        before.ended + sum(row.ended for row in rows),
        before.failed + sum(row.failed for row in rows),
        waited,
    )


_COUNTED = Counted(
    table="base.transitions",
    at="committed_at",
    by={"bucket": bucket_sql("waited_ms")},
    figures={
        "transitions": "count(*)",
        "started": "count(*) FILTER (version = 1)",
        "ended": "count(*) FILTER (turn IN (2, 3))",
        "failed": "count(*) FILTER (turn IN (1, 3))",
    },
    row=_Row,
    plus=_plus,
)


class Throughput:
    """Remembers what it counted; one for a process, asked within its event loop."""

    def __init__(self, read: ReadModel) -> None:
        self._spans = Spans(read, _COUNTED)

    async def spans(self, since: datetime, width: timedelta) -> list[Minute]:
        """What went through since then in spans of ``width``; empty spans are left out.

        ``since`` is on the grid of such spans (``store.projection.spans``). Raises ReadError.
        """
        return [_told(at, tally) for at, tally in await self._spans.since(since, width)]


def _told(from_at: datetime, tally: _Tally) -> Minute:
    p50_ms, p95_ms = percentiles(tally.waited, (0.5, 0.95))
    return Minute(
        from_at=from_at,
        transitions=tally.transitions,
        started=tally.started,
        ended=tally.ended,
        failed=tally.failed,
        waited_p50_ms=p50_ms,
        waited_p95_ms=p95_ms,
    )
