"""What the projections tell of whole sagas and of message types: named queries, typed rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Raw, Struct

from store.projection.port import ReadModel


class SagaFigures(Struct, frozen=True, kw_only=True):
    """How the instances of a saga that ended since a moment went; times in seconds from the first
    version to the last.
    """

    saga: str
    ended: int
    completed: int
    p50_s: float
    p95_s: float
    p99_s: float

    @property
    def success(self) -> float:
        """The part that was completed, 0 to 1."""
        return self.completed / self.ended


class CodeInUse(Struct, frozen=True, kw_only=True):
    """A definition by its hash: the instances it decided last, and how many of them are open."""

    definition: str
    instances: int
    open: int
    newest_at: datetime


class LastEvent(Struct, frozen=True, kw_only=True):
    """The newest event of a type; ``payload`` is masked, null when it is no JSON."""

    type: str
    seq: int
    key: str | None
    stored_at: datetime
    payload: Raw | None


async def saga_figures(read: ReadModel, since: datetime) -> dict[str, SagaFigures]:
    """Figures of every saga with an instance that ended since then, by id; raises ReadError."""
    rows = await read.fetch(_FIGURES, {"since": since}, SagaFigures)
    return {row.saga: row for row in rows}


async def code_in_use(read: ReadModel, saga: str) -> list[CodeInUse]:
    """The definitions that decided the last version of some instance, newest first."""
    return await read.fetch(_CODE, {"saga": saga}, CodeInUse)


async def last_events(read: ReadModel, types: Sequence[str]) -> dict[str, LastEvent]:
    """The newest event of each of these types, by type; raises ReadError."""
    if not types:
        return {}
    rows = await read.fetch(_LAST, {"types": list(types)}, LastEvent)
    return {row.type: row for row in rows}


_FIGURES = """
SELECT saga, ended, completed, took_s[1] AS p50_s, took_s[2] AS p95_s, took_s[3] AS p99_s FROM (
    SELECT saga, count(*) AS ended, count(*) FILTER (status = 'completed') AS completed,
        quantile_cont((epoch_us(ended_at) - epoch_us(started_at)) / 1e6, [0.5, 0.95, 0.99])
            AS took_s
    FROM instances WHERE ended_at >= $since GROUP BY saga
)
"""

_CODE = """
SELECT definition, count(*) AS instances, count(*) FILTER (ended_at IS NULL) AS "open",
    max(changed_at) AS newest_at
FROM instances WHERE saga = $saga GROUP BY definition ORDER BY newest_at DESC LIMIT 50
"""

# First the sequences, so that the payloads of a few rows are read and not those of all.
_LAST = """
WITH newest AS (
    SELECT type, max(seq) AS seq FROM events WHERE type IN (SELECT unnest($types)) GROUP BY type
)
SELECT type, seq, key, stored_at, payload FROM events
WHERE seq IN (SELECT seq FROM newest)
"""
