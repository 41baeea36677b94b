"""How long things took before: percentiles of the same saga's and the same job's own history.

Named queries over the newest part of a history, remembered for half a minute and then renewed
behind the back of whoever asks, since they take a while over a long history. Until an answer is
there, and where the projections can't give one, nothing is known and nobody is called late.
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
PATIENCE_S = 0.05  # with a first answer; nobody waits longer to be told what is late
FOLLOWERS_MAX = 5

Edge = tuple[str, str]  # the type of the message before, and the status it left

NEWEST = 20_000  # transitions of a saga, or answered commands, that count
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

    def __init__(
        self,
        read: ReadModel,
        clock: Callable[[], float] = time.monotonic,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._read = read
        self._clock = clock
        self._patience_s = patience_s
        self._known: dict[str, tuple[float, Mapping[Edge, Pace]]] = {}
        self._asked: dict[str, asyncio.Task[None]] = {}

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
        """What is known: the last answer, renewed behind it when it is old, or at the beginning
        what comes within the patience.
        """
        now_s = self._clock()
        known = self._known.get(name)
        running = self._asked.get(name)
        if running is None and (known is None or known[0] <= now_s):
            running = asyncio.create_task(self._ask(name, ask()), name=f"pace of {name}")
            self._asked[name] = running
        if known is None and running is not None:
            # Whoever asked first may go away; the others still want the answer.
            await asyncio.wait({running}, timeout=self._patience_s)
            known = self._known.get(name)
        return known[1] if known is not None else {}

    async def _ask(self, name: str, answer: Awaitable[Mapping[Edge, Pace]]) -> None:
        try:
            self._known[name] = (self._clock() + KEEP_S, await answer)
        except ReadError as error:
            log.info("no pace is known now: %s", error)
        finally:
            del self._asked[name]

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
