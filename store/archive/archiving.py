"""Moving history of ended instances out of the log, set by set.

The order makes it safe to be cut off anywhere: files are written, synced and given their names,
read back and compared; the manifest makes them a set; only then the log lets go. A run first ends
what an earlier one has begun.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from store.archive.catalog import ArchivedSet, ArchiveError, check_names
from store.archive.choosing import Chooser, Rule
from store.archive.port import ArchivedSubject, SetFiles, SetWriter
from store.archive.purging import Purge, Tell
from store.archive.reading import Archive, in_thread
from store.archive.survey import Candidate, Survey
from store.backup.reading import Reading
from store.backup.saving import Places
from store.backup.segments import Digest
from store.port import Backend, Stored
from store.subjects import Names

LOAD_AT_ONCE = 1_000


class Source(Struct, frozen=True, kw_only=True):
    """Whose log it is; ``now_ns`` is the time, nanoseconds since 1970, UTC."""

    backend: Backend
    names: Names
    places: Places
    program: str
    now_ns: Callable[[], int] = time.time_ns


class Archived(Struct, frozen=True, kw_only=True):
    """What a run did, or what it would do.

    ``left`` counts the instances that are old enough and stay, by why; ``by_saga`` those that go.
    ``bytes`` are those of payloads, ``stored`` those of the files.
    """

    sets: tuple[str, ...]
    resumed: int
    instances: int
    messages: int
    removed: int
    bytes: int
    stored: int
    by_saga: Mapping[str, int]
    left: Mapping[str, int]


class Archiving:
    """One run by a rule."""

    def __init__(
        self, source: Source, archive: Archive, files: SetFiles, rule: Rule, tell: Tell
    ) -> None:
        self._source = source
        self._archive = archive
        self._catalog = archive.catalog
        self._files = files
        self._rule = rule
        self._tell = tell
        self._by_saga: Counter[str] = Counter()
        self._left: Counter[str] = Counter()
        self._made: list[ArchivedSet] = []
        self._messages = self._bytes = self._removed = 0

    async def preview(self) -> Archived:
        """What ``run`` would do; writes nothing. Raises ArchiveError, Unreachable."""
        async for survey in self._surveys():
            self._count(survey.subjects(), survey)
        return self._archived(0)

    async def run(self) -> Archived:
        """Archive; raises ArchiveError, Unreachable, OSError. The same again goes on."""
        await asyncio.to_thread(self._catalog.sweep)
        begun = [one for one in self._catalog.sets() if not self._catalog.is_purged(one)]
        purge = Purge(self._source.backend, self._source.names, self._archive, self._tell)
        for one in begun:
            check_names(one, self._source.names, self._catalog.folder)
            for damage in await asyncio.to_thread(list, self._catalog.damages(one)):
                raise ArchiveError(f"{damage}; nothing was removed for it. Take it from a backup")
            self._removed += await purge.run(one)
        async for survey in self._surveys():
            subjects = survey.subjects()
            if subjects:
                one = await self._write(survey, subjects)
                self._count(subjects, survey)
                self._made.append(one)
                self._removed += await purge.run(one)
            else:
                self._count(subjects, survey)
        return self._archived(len(begun))

    # --- who goes

    async def _surveys(self) -> AsyncGenerator[Survey]:
        """A settled survey for each round of candidates."""
        log, names = self._source.backend.log, self._source.names
        for one in self._catalog.sets():
            check_names(one, names, self._catalog.folder)
        chooser = Chooser(log, names, self._rule, self._source.now_ns())
        floors = await self._floors()
        end = (await log.extent("log")).last
        async for candidates in chooser.rounds():
            fresh = await self._without_archived(candidates)
            if not fresh:
                continue
            survey = Survey(names, fresh, floors)
            async for messages in self._read(survey, end, "looking at"):
                for stored in messages:
                    survey.take(stored)
            before = await self._archive.find(survey.continued())
            survey.settle(before, await self._gone(survey.strangers()))
            yield survey
        self._left.update(chooser.left)

    async def _without_archived(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Without those that are archived as they are now."""
        known = await self._archive.find([one.subject for one in candidates])
        return [
            one
            for one in candidates
            if one.subject not in known or known[one.subject].last != one.last
        ]

    async def _gone(self, subjects: set[str]) -> set[str]:
        """Which of these instances are in the archive as they are now."""
        known = await self._archive.find(sorted(subjects))
        gone: set[str] = set()
        wanted = sorted(known)
        for begin in range(0, len(wanted), LOAD_AT_ONCE):
            now = await self._source.backend.log.load(wanted[begin : begin + LOAD_AT_ONCE])
            gone.update(name for name, stored in now.items() if stored.seq == known[name].last)
        return gone

    async def _floors(self) -> dict[str, int]:
        """Up to where every consumer of a target has acknowledged, by target."""
        commands = f"{self._source.names.namespace}.commands."
        floors: dict[str, int] = {}
        for place in await self._source.places.places():
            filters = place.config.get("filter_subjects") or [place.config.get("filter_subject")]
            for one in filters:
                if one and one.startswith(commands):
                    target = one[len(commands) :].partition(".")[0]
                    floors[target] = min(floors.get(target, place.stream), place.stream)
        return floors

    # --- writing a set

    async def _write(self, survey: Survey, subjects: Sequence[ArchivedSubject]) -> ArchivedSet:
        """Write, compare, and make it a set."""
        id = self._catalog.next_id(secrets.token_hex(4))
        lasts = {one.subject: one.last for one in subjects}
        wanted = sum(one.messages for one in subjects)
        folder = self._catalog.folder
        writer = await asyncio.to_thread(self._files.begin, folder, id)
        try:
            copied = await self._copy(writer, survey, lasts)
            if copied.messages != wanted:
                raise ArchiveError(
                    f"the log had {wanted} messages to archive and then {copied.messages}; "
                    "somebody removes messages from it: see `snorri verify`"
                )
            messages_file, subjects_file = await asyncio.to_thread(writer.close, subjects)
        except BaseException:
            await asyncio.to_thread(writer.drop)
            raise
        one = ArchivedSet(
            id=id,
            made=datetime.now(UTC),
            program=self._source.program,
            namespace=self._source.names.namespace,
            bucket=self._source.names.bucket,
            first=copied.first,
            last=copied.last,
            instances=sum(1 for subject in subjects if subject.kind == "instance"),
            messages=copied.messages,
            payload=copied.payload,
            digest=copied.digest.hex(),
            messages_file=messages_file,
            subjects_file=subjects_file,
        )
        await self._compare(one)
        await asyncio.to_thread(self._catalog.add, one)
        return one

    async def _copy(self, writer: SetWriter, survey: Survey, lasts: Mapping[str, int]) -> _Copied:
        copied = _Copied()
        async for messages in self._read(survey, max(lasts.values()), "copying"):
            going = [one for one in messages if one.seq <= lasts.get(one.subject, 0)]
            if going:
                copied.note(going)
                await asyncio.to_thread(writer.add, going)
        return copied

    async def _compare(self, one: ArchivedSet) -> None:
        """Read back what was written; raises ArchiveError when it is something else."""
        digest, count = Digest(), 0
        async for messages in in_thread(self._archive.messages(one)):
            for stored in messages:
                digest.add(stored)
            count += len(messages)
            self._tell("comparing", count, one.messages)
        if digest.hex() != one.digest:
            raise ArchiveError(
                f"{one.messages_file.file} is not what was written; nothing was removed. Look at "
                f"the disk of {self._catalog.folder}"
            )

    async def _read(self, survey: Survey, end: int, verb: str) -> AsyncGenerator[list[Stored]]:
        feeds = self._source.backend.feeds
        reading = Reading(feeds, "log", 0, end, survey.filters)
        try:
            while not reading.done:
                yield await reading.take()
                self._tell(verb, reading.last, end)
        finally:
            await reading.close()

    # --- what it came to

    def _count(self, subjects: Sequence[ArchivedSubject], survey: Survey) -> None:
        self._left.update(survey.left())
        self._by_saga.update(one.saga for one in subjects if one.kind == "instance")
        self._messages += sum(one.messages for one in subjects)
        going = {one.subject for one in subjects}
        parts = (*survey.candidates.values(), *survey.shared.values())
        self._bytes += sum(one.payload for one in parts if one.subject in going)

    def _archived(self, resumed: int) -> Archived:
        files = [file for one in self._made for file in (one.messages_file, one.subjects_file)]
        return Archived(
            sets=tuple(one.id for one in self._made),
            resumed=resumed,
            instances=self._by_saga.total(),
            messages=self._messages,
            removed=self._removed,
            bytes=self._bytes,
            stored=sum(file.bytes for file in files),
            by_saga=dict(sorted(self._by_saga.items())),
            left=dict(self._left),
        )


class _Copied:
    """What was copied so far."""

    def __init__(self) -> None:
        self.digest = Digest()
        self.first = self.last = self.messages = self.payload = 0

    def note(self, messages: Sequence[Stored]) -> None:
        """The next messages."""
        self.first = self.first or messages[0].seq
        self.last = messages[-1].seq
        self.messages += len(messages)
        for stored in messages:
            self.digest.add(stored)
            self.payload += len(stored.data)
