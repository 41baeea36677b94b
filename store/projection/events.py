"""Events and what became of them: named queries behind the answer to "what happened to event X?".

An event reaches instances; what it changed there has effects; effects are commands with attempts,
and answers and emitted events, which reach instances again. Each query takes one such step for
many rows at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec
from msgspec import Raw, Struct

from store.codec import ATTEMPTED
from store.fingerprints import normalise_sql
from store.projection.port import ReadModel
from store.projection.records import Listing

EventOutcome: TypeAlias = Literal[
    "applied", "ignored", "refused", "no_saga", "dead_letter", "waiting"
]

UNMATCHED_MAX = 200
AGAIN_MAX = 20


class EventRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """An event of the stream and what became of it; ``instances`` is how many it changed."""

    seq: int
    type: str
    key: str | None
    id: str
    stored_at: datetime
    payload: Raw | None
    answers: str
    failed: bool
    bytes: int
    outcome: str
    reason: str | None
    instances: int


EVENTS = Listing("events", EventRow, ("seq",), "DESC", tuple[int])


class OutcomeRow(Struct, frozen=True, kw_only=True):
    """What became of an event at one instance, or at none; times are UTC."""

    seq: int
    saga: str
    key: str
    outcome: str
    version: int | None
    code: str
    reason: str
    by: str
    recorded_at: datetime


class EffectRow(Struct, frozen=True, kw_only=True):
    """An effect of a transition, with its command or timer as that stands now."""

    saga: str
    key: str
    version: int
    kind: str
    name: str
    id: str
    payload: Raw | None
    status: str | None
    attempts: int | None
    error: str | None


class AttemptRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """An attempt at a command."""

    command: str
    attempt: int
    worker: str
    started_at: datetime
    duration_ms: float
    outcome: str
    error: str


class NextRow(Struct, frozen=True, kw_only=True):
    """An event that an effect led to: the answer to a command, or one that was emitted."""

    seq: int
    type: str
    key: str | None
    id: str
    answers: str
    failed: bool
    stored_at: datetime
    outcome: str
    reason: str | None


class LetterRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """A dead letter of an event."""

    id: str
    status: str
    saga: str
    key: str
    reason: str
    by: str


class AgainRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """An event that repeats another one."""

    seq: int
    type: str
    key: str | None
    stored_at: datetime
    outcome: str


class UnmatchedRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """Events that changed nothing, of one type and for one reason."""

    type: str
    saga: str
    outcome: str
    code: str
    reason: str
    count: int
    first_at: datetime
    last_at: datetime
    seqs: list[int]


_HEADERS = "SELECT seq, headers FROM events WHERE seq IN (SELECT unnest($seqs))"

_OUTCOMES = """
SELECT seq, saga, key, outcome, version, code, reason, "by", recorded_at FROM outcomes
WHERE stream = 'events' AND seq IN (SELECT unnest($seqs))
ORDER BY seq, recorded_at, version LIMIT $limit
"""

_EFFECTS = """
SELECT e.saga, e.key, e.version, e.kind, e.name, e.id, e.payload, c.status, c.attempts,
    nullif(c.error, '') AS error
FROM effects AS e LEFT JOIN commands AS c ON e.kind = 'send' AND c.id = e.id
WHERE (e.saga, e.key, e.version) IN (SELECT unnest($sagas), unnest($keys), unnest($versions))
ORDER BY e.seq, e.ordinal LIMIT $limit
"""

_ATTEMPTS = """
SELECT command, attempt, worker, started_at, duration_ms, outcome, error FROM executions
WHERE command IN (SELECT unnest($ids)) ORDER BY command, seq LIMIT $limit
"""

_NEXT = """
SELECT seq, "type", key, id, answers, failed, stored_at, outcome, reason FROM events
WHERE seq > $after AND (answers IN (SELECT unnest($ids)) OR id IN (SELECT unnest($ids)))
ORDER BY seq LIMIT $limit
"""

_LETTERS = """
SELECT id, status, saga, key, reason, "by" FROM dead_letters
WHERE stream = 'events' AND seq = $seq ORDER BY id LIMIT $limit
"""

# The header names the event; a dead letter's id goes on with its saga, so it is cut there.
_AGAIN = """
SELECT seq, "type", key, stored_at, outcome FROM events
WHERE seq > $seq AND contains(headers::VARCHAR, '"Snorri-Redriven"')
    AND regexp_extract(headers->>'Snorri-Redriven', '^events-([0-9]+)', 1) = $seq::VARCHAR
ORDER BY seq LIMIT $limit
"""

_UNMATCHED = f"""
WITH told AS (
    SELECT seq, "type", saga, outcome, code, reason, recorded_at,
        {normalise_sql("''", "reason")} AS cause
    FROM outcomes
    WHERE stream = 'events' AND outcome IN ('no_saga', 'ignored') AND recorded_at >= $since
        AND "type" <> $record
)
SELECT "type", saga, outcome, code, arg_max(reason, seq) AS reason, count(*) AS "count",
    min(recorded_at) AS first_at, max(recorded_at) AS last_at, max(seq, 5) AS seqs
FROM told GROUP BY "type", saga, outcome, code, cause
ORDER BY last_at DESC LIMIT $limit
"""  # noqa: S608 - the expression is made of constants


class _HeadersRow(Struct, frozen=True, kw_only=True):
    seq: int
    headers: Raw


async def headers_of(read: ReadModel, seqs: Sequence[int]) -> dict[int, dict[str, str]]:
    """The headers of events, secrets masked, by their sequence; raises ReadError."""
    rows = await read.fetch(_HEADERS, {"seqs": list(seqs)}, _HeadersRow)
    return {row.seq: msgspec.json.decode(row.headers, type=dict[str, str]) for row in rows}


async def outcomes_of(read: ReadModel, seqs: Sequence[int], limit: int) -> list[OutcomeRow]:
    """What became of events, in their order; raises ReadError."""
    return await read.fetch(_OUTCOMES, {"seqs": list(seqs), "limit": limit}, OutcomeRow)


async def effects_of(
    read: ReadModel, versions: Sequence[tuple[str, str, int]], limit: int
) -> list[EffectRow]:
    """The effects of transitions, given by saga, key and version; raises ReadError."""
    values = {
        "sagas": [saga for saga, _, _ in versions],
        "keys": [key for _, key, _ in versions],
        "versions": [version for _, _, version in versions],
        "limit": limit,
    }
    return await read.fetch(_EFFECTS, values, EffectRow)


async def attempts_at(read: ReadModel, commands: Sequence[str], limit: int) -> list[AttemptRow]:
    """The attempts at commands; raises ReadError."""
    return await read.fetch(_ATTEMPTS, {"ids": list(commands), "limit": limit}, AttemptRow)


async def led_to(read: ReadModel, effects: Sequence[str], after: int, limit: int) -> list[NextRow]:
    """The events that effects led to, given by their ids, after a sequence; raises ReadError."""
    return await read.fetch(_NEXT, {"ids": list(effects), "after": after, "limit": limit}, NextRow)


async def letters_of(read: ReadModel, seq: int, limit: int) -> list[LetterRow]:
    """The dead letters of an event; raises ReadError."""
    return await read.fetch(_LETTERS, {"seq": seq, "limit": limit}, LetterRow)


async def sent_again(read: ReadModel, seq: int) -> list[AgainRow]:
    """The events by which an event was sent again; raises ReadError."""
    return await read.fetch(_AGAIN, {"seq": seq, "limit": AGAIN_MAX}, AgainRow)


async def unmatched(read: ReadModel, since: datetime) -> list[UnmatchedRow]:
    """Events that changed nothing since then, by type and reason; raises ReadError.

    Our own records of attempts are none of them.
    """
    about = {"since": since, "limit": UNMATCHED_MAX, "record": ATTEMPTED}
    return await read.fetch(_UNMATCHED, about, UnmatchedRow)
