"""What the projections tell of commands that wait and were answered: named queries."""

from __future__ import annotations

from datetime import datetime

from msgspec import Raw, Struct

from store.codec import ATTEMPTED
from store.projection.port import ReadModel

WAITING_MAX = 20


class WaitingCommand(Struct, frozen=True, kw_only=True):
    """A command of an instance without an answer; ``version`` is the one that sent it."""

    id: str
    saga: str
    key: str
    version: int
    sent_at: datetime
    attempts: int
    error: str | None


async def waiting_commands(read: ReadModel, target: str) -> list[WaitingCommand]:
    """The commands of a job that wait longest for their answer; raises ReadError."""
    return await read.fetch(_WAITING, {"target": target, "rows": WAITING_MAX}, WaitingCommand)


async def last_payload(read: ReadModel, target: str) -> Raw | None:
    """What the job was sent last, masked; None when that is not known. Raises ReadError."""
    rows = await read.fetch(_LAST, {"target": target}, _Sent)
    return rows[0].payload if rows else None


async def answer_to(read: ReadModel, command: str) -> int:
    """The sequence of the event that answers a command, 0 while there is none; raises ReadError."""
    rows = await read.fetch(_ANSWER, {"command": command, "record": ATTEMPTED}, _Answer)
    return rows[0].seq if rows else 0


class AtStep(Struct, frozen=True):
    """How many instances of a saga wait for a job target, and how many it has parked."""

    target: str
    waiting: int
    parked: int


async def at_steps(read: ReadModel, saga: str) -> list[AtStep]:
    """Where the open instances of a saga stand, by job target; raises ReadError."""
    return await read.fetch(_AT_STEPS, {"saga": saga}, AtStep)


class _Answer(Struct, frozen=True):
    seq: int


class _Sent(Struct, frozen=True):
    payload: Raw | None


_WAITING = """
SELECT id, saga, key, version, sent_at, attempts, error FROM commands
WHERE target = $target AND status = 'open' AND seq IS NOT NULL ORDER BY sent_at LIMIT $rows
"""

_LAST = "SELECT payload FROM commands WHERE target = $target ORDER BY seq DESC NULLS LAST LIMIT 1"

# A parked instance stands at the last command of its that failed.
_AT_STEPS = """
WITH stopped AS (
    SELECT arg_max(c.target, c.answered_at) AS target
    FROM commands AS c JOIN instances AS i ON i.saga = c.saga AND i.key = c.key
    WHERE c.saga = $saga AND i.status = 'parked' AND c.status IN ('failed', 'dead_letter')
    GROUP BY c.key
)
SELECT target, count(*) FILTER (how = 'waiting')::BIGINT AS waiting,
    count(*) FILTER (how = 'parked')::BIGINT AS parked
FROM (
    SELECT target, 'waiting' AS how FROM commands WHERE saga = $saga AND status = 'open'
    UNION ALL SELECT target, 'parked' FROM stopped
) GROUP BY target
"""

# Records of attempts name the command too; the answer is what is not one of them.
_ANSWER = """
SELECT seq FROM events
WHERE answers = $command AND type <> $record ORDER BY seq DESC LIMIT 1
"""
