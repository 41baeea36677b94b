"""Named reads of the quick search: what a few characters may mean, found among rows by parts.

Each answers with a handful of rows, the likeliest first. Ids and traces are only looked for by
texts that are long enough to mean one.
"""

from __future__ import annotations

import re

from msgspec import Struct

from store.projection.port import ReadModel

ID_CHARS_MIN = 4
TRACE = re.compile(r"[0-9a-f-]{8,}")


class Hit(Struct, frozen=True):
    """An instance that was found."""

    saga: str
    key: str
    status: str


class EventHit(Struct, frozen=True):
    """An event that was found by its id."""

    seq: int
    type: str
    id: str


async def by_key(read: ReadModel, text: str, limit: int) -> list[Hit]:
    """Instances whose key has ``text`` in it, in any case: first those that begin with it, then
    those that changed last; raises ReadError.
    """
    return await read.fetch(_KEYS, {"text": text, "limit": limit}, Hit)


async def by_trace(read: ReadModel, text: str, limit: int) -> list[Hit]:
    """Instances of a trace, by eight or more characters of its id; raises ReadError."""
    if not TRACE.fullmatch(text.lower()):
        return []
    return await read.fetch(_TRACES, {"text": text.lower(), "limit": limit}, Hit)


async def by_command(read: ReadModel, text: str, limit: int) -> list[Hit]:
    """Instances that sent a command whose id begins so; raises ReadError."""
    if len(text) < ID_CHARS_MIN:
        return []
    return await read.fetch(_COMMANDS, {"text": text, "limit": limit}, Hit)


async def by_event_id(read: ReadModel, text: str, limit: int) -> list[EventHit]:
    """Events whose id begins so, the newest first; raises ReadError."""
    if len(text) < ID_CHARS_MIN:
        return []
    return await read.fetch(_EVENTS, {"text": text, "limit": limit}, EventHit)


_KEYS = """
SELECT saga, key, status FROM instances WHERE contains(lower(key), lower($text))
ORDER BY starts_with(lower(key), lower($text)) DESC, seq DESC LIMIT $limit
"""
_TRACES = """
SELECT saga, key, status FROM instances WHERE contains(trace, $text) ORDER BY seq DESC LIMIT $limit
"""
_COMMANDS = """
SELECT DISTINCT i.saga, i.key, i.status FROM commands c JOIN instances i USING (saga, key)
WHERE starts_with(c.id, $text) ORDER BY i.saga, i.key LIMIT $limit
"""
_EVENTS = """
SELECT seq, type, id FROM events WHERE starts_with(id, $text) ORDER BY seq DESC LIMIT $limit
"""
