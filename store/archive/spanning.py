"""A log with its archive, as one: what was moved to files is still found by sequence, in histories
and in the reading of everything, in the order it was stored.

For whoever reads histories and makes projections; engines and workers need none of it. What the log
still has comes from there. Writing goes to the log as ever.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

import msgspec
from msgspec import Struct

from store.archive.merging import MergedFeed
from store.archive.reading import Archive
from store.closing import closing
from store.port import (
    Backend,
    CommitOutcome,
    Door,
    Extent,
    Feed,
    Feeds,
    Log,
    Meta,
    Outgoing,
    Stored,
    StreamName,
    WorkQueues,
)
from store.subjects import BadName, Names


class SpanningLog:
    """``store.port.Log`` over a log and its archive."""

    def __init__(self, log: Log, archive: Archive, names: Names) -> None:
        self._log = log
        self._archive = archive
        self._names = names

    async def commit(self, batch: Sequence[Outgoing]) -> CommitOutcome:
        """See Log."""
        return await self._log.commit(batch)

    async def load(self, subjects: Sequence[str], upto: int | None = None) -> dict[str, Stored]:
        """See Log; with ``upto`` also what was archived since."""
        found = await self._log.load(subjects, upto)
        if upto is not None:
            for subject in subjects:
                if subject not in found:
                    past = [one for one in await self._archive.history(subject) if one.seq <= upto]
                    found |= {subject: past[-1]} if past else {}
        return found

    async def read(self, subject: str) -> Stored | None:
        """See Log."""
        return await self._log.read(subject)

    async def at(self, stream: StreamName, seq: int) -> Stored | None:
        """See Log."""
        stored = await self._log.at(stream, seq)
        if stored is None and stream == "log":
            stored = await self._archive.at(seq)
        return stored

    async def extent(self, stream: StreamName) -> Extent:
        """See Log; what is archived lies before it."""
        return await self._log.extent(stream)

    def latest(self, subject: str) -> AsyncIterator[Stored]:
        """See Log."""
        return self._log.latest(subject)

    async def history(self, subject: str, after: int = 0) -> AsyncIterator[Stored]:
        """See Log; versions of an instance that the log lacks come from the archive."""
        plain = not self._is_instance(subject)
        last, version = after, 0
        async with closing(self._log.history(subject, after)) as messages:
            async for stored in messages:
                # The log was read first: what it lets go meanwhile is archived by then.
                before, version = version, 0 if plain else _version_of(stored)
                if version > before + 1:
                    for past in await self._archive.history(subject):
                        if last < past.seq < stored.seq:
                            yield past
                yield stored
                last = stored.seq

    async def archived(self, subject: str) -> int:
        """The last version of an instance that is in the archive, 0 when none is."""
        return await self._archive.version(subject)

    def watch(self, subject: str, after: int | None = None) -> AsyncIterator[Stored]:
        """See Log."""
        return self._log.watch(subject, after)

    async def purge(self, subject: str, before: int) -> int:
        """See Log."""
        return await self._log.purge(subject, before)

    def _is_instance(self, subject: str) -> bool:
        try:
            saga, key = self._names.parse_instance(subject)
        except BadName:
            return False
        return self._names.instance(saga, key) == subject  # no wildcard is


class _Version(Struct):
    version: int


_version = msgspec.json.Decoder(_Version)


def _version_of(stored: Stored) -> int:
    """The version of a revision; 0 when it is none that can be read."""
    try:
        return _version.decode(stored.data).version
    except (msgspec.MsgspecError, UnicodeError):
        return 0


class SpanningFeeds:
    """``store.port.Feeds`` that read all of the log with what is archived of it."""

    def __init__(self, feeds: Feeds, archive: Archive) -> None:
        self._feeds = feeds
        self._archive = archive

    async def open(
        self, stream: StreamName, filters: Sequence[str], after: int, wake: Callable[[], None]
    ) -> Feed:
        """See Feeds; only who reads everything gets what is archived, too."""
        feed = await self._feeds.open(stream, filters, after, wake)
        if stream != "log" or list(filters) != [">"]:
            return feed
        return MergedFeed(feed, self._archive, after, wake)


class Spanning:
    """``store.port.Backend`` with its archive; closing it is left to whoever opened the backend."""

    def __init__(self, backend: Backend, archive: Archive, names: Names) -> None:
        self._backend = backend
        self.archive = archive
        self.log: Log = SpanningLog(backend.log, archive, names)
        self.feeds: Feeds = SpanningFeeds(backend.feeds, archive)

    @property
    def door(self) -> Door:
        return self._backend.door

    @property
    def meta(self) -> Meta:
        return self._backend.meta

    @property
    def queues(self) -> WorkQueues:
        return self._backend.queues

    @property
    def payload_max(self) -> int:
        """See Backend."""
        return self._backend.payload_max

    @property
    def partitions(self) -> int:
        return self._backend.partitions

    @property
    def connected(self) -> bool:
        """See Backend."""
        return self._backend.connected

    @property
    def replicas(self) -> int:
        """See Backend."""
        return self._backend.replicas

    async def close(self) -> None:
        await self._backend.close()
