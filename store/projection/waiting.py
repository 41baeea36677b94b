"""What the projections know of instances that wait: named queries for one and for a page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from store.projection.port import ReadModel

Address = tuple[str, str]  # saga and key


class Stop(Struct, frozen=True):
    """Since when an instance has its status, and who paused it last."""

    status: str
    status_since: datetime
    by: str | None
    reason: str | None


class OpenRow(Struct, frozen=True):
    """An open command of an instance as its workers left it."""

    saga: str
    key: str
    id: str
    target: str
    sent_at: datetime
    attempts: int
    error: str | None


class TimerRow(Struct, frozen=True):
    """The next timer of an instance."""

    saga: str
    key: str
    id: str
    type: str
    due_at: datetime


class LetterRow(Struct, frozen=True):
    """An open dead letter for an instance."""

    id: str
    type: str
    saga: str
    key: str
    reason: str
    created_at: datetime


_STOP = """
SELECT i.status, i.status_since, a."by", a.reason
FROM instances AS i LEFT JOIN (
    SELECT "by", reason FROM operator_actions
    WHERE saga = $saga AND key = $key AND action = 'pause' AND outcome = 'done'
    ORDER BY requested_at DESC LIMIT 1
) AS a ON true
WHERE i.saga = $saga AND i.key = $key
"""

_OPEN = """
SELECT saga, key, id, target, sent_at, attempts, error FROM commands
WHERE status = 'open' AND (saga, key) IN (SELECT unnest($sagas), unnest($keys))
ORDER BY sent_at
"""

_TIMERS = """
SELECT saga, key, arg_min(id, due_at) AS id, arg_min("type", due_at) AS "type",
    min(due_at) AS due_at
FROM timers
WHERE status = 'pending' AND (saga, key) IN (SELECT unnest($sagas), unnest($keys))
GROUP BY saga, key
"""

_LETTERS = """
SELECT id, "type", saga, key, reason, created_at FROM dead_letters
WHERE status = 'open' AND (saga, key) IN (SELECT unnest($sagas), unnest($keys))
ORDER BY created_at DESC LIMIT $limit
"""

LETTERS_MAX = 20


def _pairs(addresses: Sequence[Address]) -> dict[str, object]:
    return {"sagas": [saga for saga, _ in addresses], "keys": [key for _, key in addresses]}


async def stop_of(read: ReadModel, address: Address) -> Stop | None:
    """When and by whom an instance was stopped; None when it is not known yet."""
    rows = await read.fetch(_STOP, {"saga": address[0], "key": address[1]}, Stop)
    return rows[0] if rows else None


async def open_commands(read: ReadModel, addresses: Sequence[Address]) -> list[OpenRow]:
    """The open commands of instances, oldest first."""
    return await read.fetch(_OPEN, _pairs(addresses), OpenRow)


async def next_timers(read: ReadModel, addresses: Sequence[Address]) -> list[TimerRow]:
    """The next timer of each instance that has one."""
    return await read.fetch(_TIMERS, _pairs(addresses), TimerRow)


async def open_letters(read: ReadModel, addresses: Sequence[Address]) -> list[LetterRow]:
    """Open dead letters for instances, the newest 20."""
    return await read.fetch(_LETTERS, {**_pairs(addresses), "limit": LETTERS_MAX}, LetterRow)
