"""The state of an installation at a glance: named queries behind the first page of the dashboard.

What stands still for a person, and where jobs can't keep up.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from msgspec import Struct

from store.projection.figures import OPEN_LETTERS, Count
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


class _Standing(Struct, frozen=True):
    saga: str
    status: str
    count: int
    ended_since: int
    started_since: int


_STANDING = """
SELECT saga, status, count(*) AS "count", count(*) FILTER (ended_at >= $since) AS ended_since,
    count(*) FILTER (started_at >= $since) AS started_since
FROM instances GROUP BY saga, status
"""

_QUEUES = """
SELECT target, count(*) FILTER (status = 'open' AND seq IS NOT NULL) AS "open",
    min(sent_at) FILTER (status = 'open' AND seq IS NOT NULL) AS oldest_at,
    count(*) FILTER (status = 'open' AND attempts > 0) AS tried,
    count(*) FILTER (sent_at >= $since) AS sent,
    count(*) FILTER (answered_at >= $since) AS answered
FROM commands
WHERE (status = 'open' OR sent_at >= $since OR answered_at >= $since)
    AND ($target = '' OR target = $target)
GROUP BY target ORDER BY oldest_at NULLS LAST, target
"""


async def standing(read: ReadModel, since: datetime) -> tuple[Totals, dict[str, dict[str, int]]]:
    """Counts over all instances, and those of each saga by their status; raises ReadError."""
    rows = await read.fetch(_STANDING, {"since": since}, _Standing)
    [letters] = await read.fetch(OPEN_LETTERS, {}, Count)
    by_saga: dict[str, dict[str, int]] = {}
    now: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    for row in rows:
        by_saga.setdefault(row.saga, {})[row.status] = row.count
        now[row.status] += row.count
        ended[row.status] += row.ended_since
    totals = Totals(
        running=now["running"],
        parked=now["parked"],
        paused=now["paused"],
        compensating=now["compensating"],
        open_dead_letters=letters.count,
        failed_since=ended["failed"],
        cancelled_since=ended["cancelled"],
        completed_since=ended["completed"],
        started_since=sum(row.started_since for row in rows),
    )
    return totals, by_saga


async def queues(read: ReadModel, since: datetime, target: str = "") -> list[Queue]:
    """Targets, or the one, with open or recent commands, the one that waits longest first; raises
    ReadError.
    """
    return await read.fetch(_QUEUES, {"since": since, "target": target}, Queue)
