"""Reading an archive: histories, single messages, whole sets. Never writes.

Files are read in threads. What was read of an instance is kept for a while, since a page asks for
its versions one by one.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import TypeVar

from store.archive.catalog import ArchivedSet, Catalog
from store.archive.port import ArchivedSubject, SetFiles
from store.port import Stored

T = TypeVar("T")

KEPT_INSTANCES = 16
KEPT_VERSIONS = 10_000
KEPT_BYTES = 8 * 1024 * 1024  # of one instance; larger ones are read anew


class Archive:
    """One folder of sets; all raise ArchiveError when it can't be read.

    ``files`` gives what reads them; it is called when there is a set to read.
    """

    def __init__(self, catalog: Catalog, files: Callable[[], SetFiles]) -> None:
        self.catalog = catalog
        self._make_files = files
        self._kept: OrderedDict[str, tuple[Stored, ...]] = OrderedDict()
        self._versions: OrderedDict[str, int] = OrderedDict()
        self._kept_of: tuple[str, ...] = ()

    async def history(self, subject: str) -> tuple[Stored, ...]:
        """All that is archived of a subject, in the order of the log."""
        sets = self._sets()
        if not sets:
            return ()
        kept = self._kept.get(subject)
        if kept is None:
            kept = await asyncio.to_thread(self._read, sets, subject)
            if sum(len(stored.data) for stored in kept) <= KEPT_BYTES:
                self._kept[subject] = kept
                while len(self._kept) > KEPT_INSTANCES:
                    self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(subject)
        return kept

    async def at(self, seq: int) -> Stored | None:
        """The message of a sequence, None when it is not archived."""
        sets = [one for one in self._sets() if one.first <= seq <= one.last]
        if not sets:
            return None
        for messages in self._kept.values():
            for stored in messages:
                if stored.seq == seq:
                    return stored
        found = await asyncio.to_thread(self._at, sets, seq)
        if found is not None:
            await self.history(found.subject)  # its neighbours are asked for next
        return found

    async def version(self, subject: str) -> int:
        """The last version of an instance that is archived, as those before it are; 0: none is."""
        sets = self._sets()
        if not sets:
            return 0
        known = self._versions.get(subject)
        if known is None:
            found = await self.find([subject])
            known = self._versions[subject] = found[subject].version if found else 0
            while len(self._versions) > KEPT_VERSIONS:
                self._versions.popitem(last=False)
        return known

    async def find(self, subjects: Sequence[str]) -> dict[str, ArchivedSubject]:
        """What was archived last of each subject."""
        sets = self._sets()
        if not sets:
            return {}
        found = await asyncio.to_thread(self._files.find, self.catalog.folder, sets, subjects)
        return {one.subject: one for _, one in found}

    async def subjects(self, one: ArchivedSet) -> AsyncGenerator[Sequence[ArchivedSubject]]:
        """The subjects of a set, some at a time."""
        async for part in in_thread(self._files.subjects(self.catalog.folder, one)):
            yield part

    def messages(self, one: ArchivedSet, after: int = 0) -> Iterator[Sequence[Stored]]:
        """The messages of a set behind a sequence; blocks."""
        return self._files.messages(self.catalog.folder, one, after)

    @cached_property
    def _files(self) -> SetFiles:
        return self._make_files()

    def _sets(self) -> tuple[ArchivedSet, ...]:
        sets = self.catalog.sets()
        names = tuple(one.id for one in sets)
        if names != self._kept_of:
            self._kept.clear()
            self._versions.clear()
            self._kept_of = names
        return sets

    def _read(self, sets: Sequence[ArchivedSet], subject: str) -> tuple[Stored, ...]:
        folder = self.catalog.folder
        by_id = {one.id: one for one in sets}
        found: dict[int, Stored] = {}
        for id, part in self._files.find(folder, sets, [subject]):
            for stored in self._files.history(folder, by_id[id], part):
                found[stored.seq] = stored
        return tuple(found[seq] for seq in sorted(found))

    def _at(self, sets: Iterable[ArchivedSet], seq: int) -> Stored | None:
        for one in sets:
            stored = self._files.at(self.catalog.folder, one, seq)
            if stored is not None:
                return stored
        return None


async def in_thread(parts: Iterator[T]) -> AsyncGenerator[T]:
    """What a blocking iterator has, read in threads."""
    while True:
        part = await asyncio.to_thread(next, parts, None)
        if part is None:
            return
        yield part
