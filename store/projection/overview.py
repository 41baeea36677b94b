"""The state of an installation at a glance: named queries behind the first page of the dashboard.

What stands still for a person, what fails in a new way, how much goes through and how fast, and
where jobs can't keep up.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

from store.projection.port import ReadModel

BACKLOG_MIN = 10  # open commands below which no job is called behind
BEHIND_FACTOR = 1.1  # more commands sent than answered, by this factor


class Totals(Struct, frozen=True, kw_only=True, rename="camel"):
    """Instances and messages that are not all right, now and since a moment."""

    running: int
    parked: int
    paused: int
    compensating: int
    open_dead_letters: int
    failed_since: int
    cancelled_since: int
    completed_since: int
    started_since: int


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


class Queue(Struct, frozen=True, kw_only=True, rename="camel"):
    """The open commands of a target and how they move: sent and answered since a moment."""

    target: str
    open: int
    oldest_at: datetime | None
    tried: int
    sent: int
    answered: int

    @property
    def falls_behind(self) -> bool:
        """Whether more is sent than answered while a backlog stands."""
        return self.open >= BACKLOG_MIN and self.sent > self.answered * BEHIND_FACTOR


_TOTALS = """
SELECT count(*) FILTER (status = 'running') AS running,
    count(*) FILTER (status = 'parked') AS parked,
    count(*) FILTER (status = 'paused') AS paused,
    count(*) FILTER (status = 'compensating') AS compensating,
    (SELECT count(*) FROM dead_letters WHERE status = 'open') AS open_dead_letters,
    count(*) FILTER (status = 'failed' AND ended_at >= $since) AS failed_since,
    count(*) FILTER (status = 'cancelled' AND ended_at >= $since) AS cancelled_since,
    count(*) FILTER (status = 'completed' AND ended_at >= $since) AS completed_since,
    count(*) FILTER (started_at >= $since) AS started_since
FROM instances
"""

_MINUTES = """
SELECT time_bucket($width, committed_at, $since) AS from_at, count(*) AS transitions,
    count(*) FILTER (version = 1) AS started,
    count(*) FILTER (status IN ('completed', 'failed', 'compensated', 'cancelled')
        AND status_before IS DISTINCT FROM status) AS ended,
    count(*) FILTER (status IN ('parked', 'failed')
        AND status_before IS DISTINCT FROM status) AS failed,
    quantile_cont(waited_ms, 0.5) AS waited_p50_ms,
    quantile_cont(waited_ms, 0.95) AS waited_p95_ms
FROM transitions WHERE committed_at >= $since
GROUP BY from_at ORDER BY from_at
"""

_QUEUES = """
SELECT target, count(*) FILTER (status = 'open' AND seq IS NOT NULL) AS "open",
    min(sent_at) FILTER (status = 'open' AND seq IS NOT NULL) AS oldest_at,
    count(*) FILTER (status = 'open' AND attempts > 0) AS tried,
    count(*) FILTER (sent_at >= $since) AS sent,
    count(*) FILTER (answered_at >= $since) AS answered
FROM commands WHERE status = 'open' OR sent_at >= $since OR answered_at >= $since
GROUP BY target ORDER BY oldest_at NULLS LAST, target
"""


async def totals(read: ReadModel, since: datetime) -> Totals:
    """Counts over all instances; raises ReadError."""
    return (await read.fetch(_TOTALS, {"since": since}, Totals))[0]


async def minutes(read: ReadModel, since: datetime, width: timedelta) -> list[Minute]:
    """Throughput and latency in spans of ``width``; empty spans are left out. Raises ReadError."""
    return await read.fetch(_MINUTES, {"since": since, "width": width}, Minute)


async def queues(read: ReadModel, since: datetime) -> list[Queue]:
    """Targets with open or recent commands, the one that waits longest first; raises ReadError."""
    return await read.fetch(_QUEUES, {"since": since}, Queue)
