"""How the attempts of one job go, in spans of time and all together."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from store.projection.histogram import Counts, bucket_sql, percentiles
from store.projection.port import ReadModel
from store.projection.records import JobStats
from store.projection.spans import Counted, Row, Spans


class JobSpan(Struct, frozen=True, kw_only=True):
    """The attempts that ended within a span of time; durations are milliseconds, within 2 %."""

    from_at: datetime
    completed: int
    failed: int
    p50_ms: float
    p95_ms: float


class _Error(Struct, frozen=True):
    error: str
    ended_at: datetime


class _Row(Row, frozen=True, kw_only=True):
    """Attempts that have one thing in common, the one of the three which is there."""

    outcome: str | None
    ran: int | None
    queued: int | None
    attempts: int
    last_at: datetime


class _Tally(Struct, frozen=True):
    outcomes: Mapping[str, int]
    ran: Counts
    queued: Counts
    last_at: datetime


_LAST_ERROR = """
SELECT error, ended_at FROM executions
WHERE target = $target AND ended_at >= $since AND error <> '' ORDER BY ended_at DESC LIMIT 1
"""


def _plus(tally: _Tally | None, rows: Sequence[_Row]) -> _Tally:
    before = tally or _Tally({}, {}, {}, rows[0].last_at)
    outcomes = Counter(before.outcomes)
    ran, queued = Counter(before.ran), Counter(before.queued)
    for row in rows:
        if row.outcome is not None:
            outcomes[row.outcome] += row.attempts
        if row.ran is not None:
            ran[row.ran] += row.attempts
        if row.queued is not None:
            queued[row.queued] += row.attempts
    return _Tally(outcomes, ran, queued, max(before.last_at, *(row.last_at for row in rows)))


_COUNTED = Counted(
    table="base.executions",
    at="ended_at",
    by={
        "outcome": "outcome",
        "ran": bucket_sql("duration_ms"),
        "queued": bucket_sql("queued_ms"),
    },
    figures={"attempts": "count(*)", "last_at": "max(ended_at)"},
    row=_Row,
    plus=_plus,
    where="target = $target",
)


class Attempts:
    """Remembers what it counted; one for a process, asked within its event loop."""

    def __init__(self, read: ReadModel) -> None:
        self._read = read
        self._spans = Spans(read, _COUNTED)

    async def of(
        self, target: str, since: datetime, width: timedelta
    ) -> tuple[list[JobSpan], JobStats | None]:
        """A job's attempts since then in spans of ``width``, empty ones left out, and all of them
        together, None when there are none; percentiles are within 2 %.

        ``since`` is on the grid of such spans (``store.projection.spans``). Raises ReadError.
        """
        about = {"target": target, "since": since}
        found, errors = await asyncio.gather(
            self._spans.since(since, width, {"target": target}),
            self._read.fetch(_LAST_ERROR, about, _Error),
        )
        spans = [_told(at, tally) for at, tally in found]
        tallies = [tally for _, tally in found]
        return spans, _stats(target, tallies, errors[0] if errors else None) if found else None


def _told(from_at: datetime, tally: _Tally) -> JobSpan:
    p50_ms, p95_ms = percentiles(tally.ran, (0.5, 0.95))
    well, back = (tally.outcomes.get(word, 0) for word in ("completed", "returned"))
    return JobSpan(
        from_at=from_at,
        completed=well,
        failed=sum(tally.outcomes.values()) - well - back,
        p50_ms=p50_ms,
        p95_ms=p95_ms,
    )


def _stats(target: str, tallies: Sequence[_Tally], last: _Error | None) -> JobStats:
    outcomes: Counter[str] = Counter()
    ran: Counter[int] = Counter()
    queued: Counter[int] = Counter()
    for tally in tallies:
        outcomes.update(tally.outcomes)
        ran.update(tally.ran)
        queued.update(tally.queued)
    ran_p50_ms, ran_p95_ms, ran_p99_ms = percentiles(ran, (0.5, 0.95, 0.99))
    queued_p50_ms, queued_p95_ms = percentiles(queued, (0.5, 0.95))
    return JobStats(
        target=target,
        attempts=outcomes.total(),
        completed=outcomes["completed"],
        failed=outcomes["failed"],
        retried=outcomes["retried"],
        timed_out=outcomes["timed_out"],
        duration_p50_ms=ran_p50_ms,
        duration_p95_ms=ran_p95_ms,
        duration_p99_ms=ran_p99_ms,
        queued_p50_ms=queued_p50_ms,
        queued_p95_ms=queued_p95_ms,
        last_ended_at=max(tally.last_at for tally in tallies),
        last_error=last.error if last else None,
        last_error_at=last.ended_at if last else None,
    )
