"""How long things took before: percentiles of the same saga's and the same job's own history.

Named queries over the newest part of a history, remembered for half a minute, so that a page of
instances costs at most one of each. Without projections, or while they can't answer, nothing is
known and nobody is called late.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from msgspec import Struct

from store.diagnosis_facts import Pace
from store.projection.port import ReadError, ReadModel

log = logging.getLogger("snorri.store")

KEEP_S = 30.0
FOLLOWERS_MAX = 5

Edge = tuple[str, str]  # the type of the message before, and the status it left

NEWEST = 100_000  # transitions of a saga, or answered commands, that count
# Paused and parked instances wait for a person, which says nothing about the saga's own pace.
EDGES = """
WITH newest AS (
    SELECT key, version, cause_type, status_before, since_previous_ms
    FROM transitions WHERE saga = $saga ORDER BY seq DESC LIMIT $newest
), steps AS (
    SELECT lag(cause_type) OVER (PARTITION BY key ORDER BY version) AS after, status_before,
        cause_type, since_previous_ms / 1000 AS took_s
    FROM newest
)
SELECT after, status_before AS status, cause_type AS follower, count(*) AS "count",
    grouping(cause_type) AS is_total, quantile_cont(took_s, 0.5) AS p50_s,
    quantile_cont(took_s, 0.95) AS p95_s, quantile_cont(took_s, 0.99) AS p99_s
FROM steps WHERE after IS NOT NULL AND status_before IN ('running', 'compensating')
GROUP BY GROUPING SETS ((after, status_before), (after, status_before, cause_type))
ORDER BY is_total DESC, "count" DESC, follower
"""

JOBS = """
WITH newest AS (
    SELECT target, total_ms / 1000 AS took_s FROM commands
    WHERE status = 'completed' ORDER BY answered_at DESC LIMIT $newest
)
SELECT target, count(*) AS "count", quantile_cont(took_s, 0.5) AS p50_s,
    quantile_cont(took_s, 0.95) AS p95_s, quantile_cont(took_s, 0.99) AS p99_s
FROM newest GROUP BY target
"""


class _Edge(Struct, frozen=True):
    after: str
    status: str
    follower: str | None
    count: int
    is_total: int
    p50_s: float
    p95_s: float
    p99_s: float


class _Job(Struct, frozen=True):
    target: str
    count: int
    p50_s: float
    p95_s: float
    p99_s: float


class Paces:
    """Remembers what the queries found; one for a process."""

    def __init__(self, read: ReadModel, clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._kept: dict[str, tuple[float, asyncio.Task[Mapping[Edge, Pace]]]] = {}

    async def of_saga(self, saga: str) -> Mapping[Edge, Pace]:
        """How long instances of a saga stood, by the message before and their status."""
        return await self._once(f"saga {saga}", lambda: self._edges(saga))

    async def of_jobs(self) -> Mapping[str, Pace]:
        """How long commands took from sending to their answer, by target."""
        found = await self._once("jobs", self._jobs)
        return {target: pace for (target, _), pace in found.items()}

    async def _once(
        self, name: str, ask: Callable[[], Awaitable[Mapping[Edge, Pace]]]
    ) -> Mapping[Edge, Pace]:
        now_s = self._clock()
        for old, (until_s, task) in tuple(self._kept.items()):
            if until_s <= now_s and task.done():
                del self._kept[old]
        if name not in self._kept:
            task = asyncio.create_task(_or_nothing(ask()), name=f"pace of {name}")
            self._kept[name] = (now_s + KEEP_S, task)
        # Whoever asked first may go away; the others still want the answer.
        return await asyncio.shield(self._kept[name][1])

    async def _edges(self, saga: str) -> Mapping[Edge, Pace]:
        rows = await self._read.fetch(EDGES, {"saga": saga, "newest": NEWEST}, _Edge)
        followers: dict[Edge, list[str]] = {}
        for row in rows:
            if not row.is_total and row.follower:
                followers.setdefault((row.after, row.status), []).append(row.follower)
        return {
            (row.after, row.status): Pace(
                sample=row.count,
                p50_s=row.p50_s,
                p95_s=row.p95_s,
                p99_s=row.p99_s,
                followers=tuple(followers.get((row.after, row.status), ())[:FOLLOWERS_MAX]),
            )
            for row in rows
            if row.is_total
        }

    async def _jobs(self) -> Mapping[Edge, Pace]:
        rows = await self._read.fetch(JOBS, {"newest": NEWEST}, _Job)
        return {
            (row.target, ""): Pace(
                sample=row.count, p50_s=row.p50_s, p95_s=row.p95_s, p99_s=row.p99_s
            )
            for row in rows
        }


async def _or_nothing(answer: Awaitable[Mapping[Edge, Pace]]) -> Mapping[Edge, Pace]:
    try:
        return await answer
    except ReadError as error:
        log.info("no pace is known now: %s", error)
        return {}
