"""Feeds on JetStream: one ordered reading for each, on whichever of the two streams.

A thin face of ``reader``, which does the work and keeps the promises of ``store.port.Feed``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from store.jetstream.link import Link
from store.jetstream.reader import Reader
from store.port import Stored, StreamName
from store.subjects import Names


class JetStreamFeed:
    """``store.port.Feed`` over one reader."""

    def __init__(self, reader: Reader, readers: set[Reader]) -> None:
        self._reader = reader
        self._readers = readers

    def take(self, limit: int) -> list[Stored]:
        """Up to ``limit`` messages that have arrived; an empty list when there are none."""
        return self._reader.take(limit)

    @property
    def waiting(self) -> int:
        """Messages here and, by the last one's word, at the server."""
        return self._reader.held + self._reader.pending

    async def close(self) -> None:
        """Stop reading and give the consumer back; idempotent."""
        self._readers.discard(self._reader)
        await self._reader.close()


class JetStreamFeeds:
    """``store.port.Feeds``; ``close`` ends all that are still open."""

    def __init__(self, link: Link, names: Names) -> None:
        self._link = link
        self._names = names
        self._readers: set[Reader] = set()

    async def open(
        self, stream: StreamName, filters: Sequence[str], after: int, wake: Callable[[], None]
    ) -> JetStreamFeed:
        """Read ``stream`` after a sequence; raises Unreachable when it can't be read at all now."""
        match stream:
            case "events":
                name = self._names.events_stream
            case "log":
                name = self._names.log_stream
        reader = Reader(self._link, name, filters, after, wake)
        await reader.open()
        self._readers.add(reader)
        return JetStreamFeed(reader, self._readers)

    async def close(self) -> None:
        """Close all feeds; part of closing the backend."""
        for reader in list(self._readers):
            await reader.close()
        self._readers.clear()
