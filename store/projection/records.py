"""Lists of what was recorded: dead letters, attempts of jobs, timers, operator actions.

Each is a keyset page: rows after a place, in an order that is the same at every call, so a page
stays right while rows arrive. The row Structs are what the API sends.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Generic, TypeVar

import msgspec
from msgspec import Raw, Struct

from store.projection.port import ReadModel
from store.projection.where import Direction, Where

R = TypeVar("R", bound=Struct)


class DeadLetterRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """A message that could make no progress; ``saga``, ``key`` and ``command`` may be empty."""

    id: str
    status: str
    type: str
    saga: str
    key: str
    command: str
    reason: str
    stream: str
    seq: int
    created_at: datetime
    changed_at: datetime
    by: str
    note: str


class ExecutionRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """One attempt of a job at a command; durations are milliseconds."""

    stream: str
    seq: int
    command: str
    target: str
    saga: str | None
    key: str | None
    worker: str
    attempt: int
    queued_at: datetime
    started_at: datetime
    ended_at: datetime
    queued_ms: float
    duration_ms: float
    outcome: str
    error: str


class TimerRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """A timer that was set once; ``version`` is that of the transition which set it."""

    saga: str
    key: str
    id: str
    version: int
    type: str
    payload: Raw | None
    set_at: datetime
    due_at: datetime
    status: str
    ended_at: datetime | None


class ActionRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a person or program did to an instance, or was refused."""

    id: str
    action: str
    saga: str
    key: str
    by: str
    origin: str
    reason: str
    requested_at: datetime
    request: Raw | None
    outcome: str
    version: int | None
    refusal: str | None
    decided_at: datetime | None


class Listing(Struct, Generic[R], frozen=True):
    """How a relation is listed: its rows, and the columns that order them and tell them apart;
    ``place_type`` is the tuple of their types.
    """

    relation: str
    row: type[R]
    order: tuple[str, ...]
    direction: Direction
    place_type: type[tuple[object, ...]]

    def place(self, row: R) -> list[object]:
        """Where a row stands; what comes after it is the next page."""
        return [getattr(row, column) for column in self.order]

    async def page(
        self, read: ReadModel, where: Where, place: Sequence[object] | None, limit: int
    ) -> tuple[list[R], list[object] | None]:
        """The rows after ``place`` that the conditions let through, and the place to go on from,
        None at the end; raises ReadError.
        """
        where.behind(self.order, place, self.direction)
        columns = ", ".join(f'"{field.name}"' for field in msgspec.structs.fields(self.row))
        order = ", ".join(f"{column} {self.direction}" for column in self.order)
        first, end = self.order[0], "max" if self.direction == "ASC" else "min"
        beyond = "<=" if self.direction == "ASC" else ">="
        found, rows_max = f"FROM {self.relation} WHERE {where.sql}", where.bind(limit + 1)
        # First where the page ends, from a narrow column: rows behind are not read in all theirs.
        bound = f"SELECT {first} {found} ORDER BY {first} {self.direction} LIMIT {rows_max}"
        sql = (
            f"SELECT {columns} {found} AND {first} {beyond} (SELECT {end}({first}) FROM ({bound}))"  # noqa: S608
            f" ORDER BY {order} LIMIT {rows_max}"
        )
        rows = await read.fetch(sql, where.parameters, self.row)
        if len(rows) <= limit:
            return rows, None
        return rows[:limit], self.place(rows[limit - 1])


DEAD_LETTERS = Listing(
    "dead_letters", DeadLetterRow, ("changed_at", "id"), "DESC", tuple[datetime, str]
)
EXECUTIONS = Listing(
    "executions",
    ExecutionRow,
    ("ended_at", "command", "attempt"),
    "DESC",
    tuple[datetime, str, int],
)
TIMERS = Listing(
    "timers",
    TimerRow,
    ("due_at", "saga", "key", "id", "version"),
    "ASC",
    tuple[datetime, str, str, str, int],
)
OPERATOR_ACTIONS = Listing(
    "operator_actions", ActionRow, ("requested_at", "id"), "DESC", tuple[datetime, str]
)


class JobStats(Struct, frozen=True, kw_only=True, rename="camel"):
    """How a job's attempts went within a span of time; durations are milliseconds."""

    target: str
    attempts: int
    completed: int
    failed: int
    retried: int
    timed_out: int
    duration_p50_ms: float | None
    duration_p95_ms: float | None
    duration_p99_ms: float | None
    queued_p50_ms: float | None
    queued_p95_ms: float | None
    last_ended_at: datetime | None
    last_error: str | None
    last_error_at: datetime | None


async def job_stats(read: ReadModel, since: datetime) -> dict[str, JobStats]:
    """Attempts of each job that ended since a moment, by target; raises ReadError."""
    rows = await read.fetch(_JOB_STATS, {"since": since}, JobStats)
    return {row.target: row for row in rows}


# One list of percentiles takes a third of the time of as many single ones, FLOAT two thirds of
# DOUBLE.
_JOB_STATS = """
SELECT * EXCLUDE (ran, queued), ran[1] AS duration_p50_ms, ran[2] AS duration_p95_ms,
    ran[3] AS duration_p99_ms, queued[1] AS queued_p50_ms, queued[2] AS queued_p95_ms
FROM (
    SELECT target, count(*) AS attempts,
        count(*) FILTER (outcome = 'completed') AS completed,
        count(*) FILTER (outcome = 'failed') AS failed,
        count(*) FILTER (outcome = 'retried') AS retried,
        count(*) FILTER (outcome = 'timed_out') AS timed_out,
        quantile_cont(duration_ms::FLOAT, [0.5, 0.95, 0.99]) AS ran,
        quantile_cont(queued_ms::FLOAT, [0.5, 0.95]) AS queued,
        max(ended_at) AS last_ended_at,
        arg_max(error, ended_at) FILTER (error <> '') AS last_error,
        max(ended_at) FILTER (error <> '') AS last_error_at
    FROM executions WHERE ended_at >= $since GROUP BY target
)
"""
