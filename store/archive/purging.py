"""Letting the log go of what a set holds: said in the log first, then subject by subject.

Safe to repeat after whatever end: nothing is removed that the set does not prove to hold, by the
hash of the last message under each subject. Of an instance the last version stays, so its key still
answers as ended, whatever comes for it later; where that version does not know all ids of messages
that changed the instance, a record beside it does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
from msgspec import Struct

from sagas.errors import IllegalTransition
from sagas.instance import decode, document_hash
from store.archive.catalog import ArchivedSet, ArchiveError
from store.archive.port import ArchivedSubject
from store.archive.reading import Archive
from store.archive.records import HandledIds, record_of
from store.port import Backend, Committed, Outgoing, Unreachable
from store.subjects import Names

AT_ONCE = 16


Tell = Callable[[str, int, int], None]  # what is at work, how much is done, of how much


class Purge:
    """Purges one set after the other from the log of ``backend``."""

    def __init__(self, backend: Backend, names: Names, archive: Archive, tell: Tell) -> None:
        self._backend = backend
        self._log = backend.log
        self._names = names
        self._archive = archive
        self._tell = tell
        self._done = 0

    async def run(self, one: ArchivedSet) -> int:
        """Purge what a set holds; how many messages went. Raises ArchiveError, Unreachable."""
        await self._record(one)
        self._done = 0
        removed = 0
        total = one.messages
        async for subjects in self._archive.subjects(one):
            for begin in range(0, len(subjects), AT_ONCE):
                part = subjects[begin : begin + AT_ONCE]
                removed += sum(await asyncio.gather(*(self._subject(one) for one in part)))
                self._done += sum(subject.messages for subject in part)
                self._tell("log", min(self._done, total), total)
        self._archive.catalog.mark_purged(one)
        return removed

    async def _record(self, one: ArchivedSet) -> None:
        subject = self._names.archived_set(one.id)
        if await self._log.read(subject) is not None:
            return
        await self._write(subject, record_of(one))

    async def _subject(self, subject: ArchivedSubject) -> int:
        last = await self._log.at("log", subject.last)
        if last is None and await self._is_gone(subject):
            return 0
        if (
            last is None
            or last.subject != subject.subject
            or document_hash(last.data) != subject.hash
        ):
            raise ArchiveError(
                f"{self._archive.catalog.folder} is not of this log: it has another message "
                f"{subject.last}; nothing was removed for it. Name the right folder with --archive"
            )
        if subject.kind == "commands":
            return await self._log.purge(subject.subject, subject.last + 1)
        if subject.ids:
            await self._keep_ids(subject)
        return await self._log.purge(subject.subject, subject.last)

    async def _is_gone(self, subject: ArchivedSubject) -> bool:
        """Whether a run before has removed it: of an instance a version remains."""
        now = await self._log.read(subject.subject)
        return subject.kind == "commands" or (now is not None and now.seq > subject.last)

    async def _keep_ids(self, subject: ArchivedSubject) -> None:
        ids: dict[str, None] = {}
        for stored in await self._archive.history(subject.subject):
            try:
                ids.update(dict.fromkeys(decode(stored.data).seen))
            except (msgspec.MsgspecError, IllegalTransition) as error:
                raise ArchiveError(f"{subject.subject} can't be read: {error}") from error
        record = HandledIds(version=subject.version, ids=tuple(ids))
        await self._write(self._names.handled_ids(subject.saga, subject.key), record)

    async def _write(self, subject: str, record: Struct) -> None:
        """Store a record; raises Unreachable, ArchiveError."""
        message = Outgoing(subject, msgspec.json.encode(record))
        outcome = await self._log.commit([message])
        if not isinstance(outcome, Committed):
            raise Unreachable(f"{subject} can't be written ({outcome.reason}); say the same again")
