"""Making a backup while everything runs: a cut, both streams up to it, then the manifest.

Segments are whole files the moment they have their name, and ``unfinished.json`` lists them; so a
run that was cut off is gone on with by the next one, up to a cut of that moment. The same is how a
backup ``since`` another one begins: behind what the other one has.

Positions and schedules are left out of the segments. They vanish from the log while it is read, so
what is read of them belongs to no one moment; the cut has the positions, and the timers that are
set stand in the documents of their instances.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from msgspec import Raw, Struct, structs

from store.archive.catalog import ArchivedSet, Catalog, check_names
from store.archive.reading import Archive
from store.backup.cut import find_cut
from store.backup.manifest import (
    ARCHIVE,
    MANIFEST,
    UNFINISHED,
    BackupError,
    ConsumerPlace,
    Cut,
    Manifest,
    Since,
    Unfinished,
    read_manifest,
    read_unfinished,
)
from store.backup.reading import Reading, is_fleeting
from store.backup.segments import SegmentWriter, damages
from store.durable import write_json
from store.port import Backend, StreamName
from store.projection.checkpoint import Mark, advance, mismatch
from store.subjects import Names

CARDS = ("saga.", "job.")
STREAMS: tuple[StreamName, StreamName] = ("log", "events")

Tell = Callable[[str, int, int], None]  # which part, up to where, of how many


class Places(Protocol):
    """Tells the durable consumers of the log; ``store.jetstream`` has it."""

    async def places(self) -> tuple[ConsumerPlace, ...]:
        """All of them, each with what it has acknowledged; raises Unreachable."""
        ...


class Source(Struct, frozen=True, kw_only=True):
    """What is backed up, and who says so; ``archive`` has what the log has let go of."""

    backend: Backend
    archive: Archive
    names: Names
    places: Places
    program: str
    server: str


class Saving:
    """One run into ``folder``; ``since`` is the folder of the backup to go on from, if any."""

    def __init__(self, source: Source, folder: Path, since: Path | None, tell: Tell) -> None:
        self._source = source
        self._folder = folder
        self._since = since
        self._tell = tell
        self._numbers: dict[StreamName, int] = dict.fromkeys(STREAMS, 0)
        self.resumed = False

    async def run(self) -> Manifest:
        """Make the backup; raises BackupError, Unreachable, OSError."""
        state = await self._begin()
        consumers = await self._source.places.places()  # before the cut: see store.backup.cut
        cut = await find_cut(self._source.backend, self._source.names)
        for stream in STREAMS:
            state = await self._copy(state, stream, cut)
        for damage in damages(self._folder, state.segments):
            raise BackupError(f"what was just written can't be read back: {damage}")
        archive = await self._copy_archive()
        manifest = self._manifest(state, cut, consumers, await self._cards(), archive)
        write_json(self._folder / MANIFEST, manifest)
        (self._folder / UNFINISHED).unlink(missing_ok=True)
        return manifest

    # --- where to begin

    async def _begin(self) -> Unfinished:
        """What there is already: of a run that was cut off, or nothing; checked against the
        streams.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        if (self._folder / MANIFEST).exists():
            raise BackupError(
                f"{self._folder} holds a whole backup already; name a new folder, and "
                f"--since {self._folder} to copy only what came after it"
            )
        state = await self._fresh()
        left = read_unfinished(self._folder)
        if left is not None:
            if left.since != state.since:
                raise BackupError(
                    f"{self._folder} has the beginning of another backup (--since differs); go on "
                    "with that one's options, or name another folder"
                )
            for damage in damages(self._folder, left.segments):
                raise BackupError(f"{damage}; remove {self._folder} and begin again")
            self.resumed = bool(left.segments)
            state = left
        elif any(self._folder.iterdir()):
            raise BackupError(f"{self._folder} is not empty; name a new folder for the backup")
        await self._check_streams(state)
        for segment in state.segments:
            number = int(segment.file.rpartition("-")[2].partition(".")[0])
            self._numbers[segment.stream] = max(self._numbers[segment.stream], number)
        write_json(self._folder / UNFINISHED, state)
        return state

    async def _fresh(self) -> Unfinished:
        log = self._source.backend.log
        if self._since is None:
            return Unfinished(
                id=secrets.token_hex(8),
                events=Mark(created=(await log.extent("events")).created),
                log=Mark(created=(await log.extent("log")).created),
                segments=(),
            )
        before = read_manifest(self._since)
        names = self._source.names
        if (before.namespace, before.bucket) != (names.namespace, names.bucket):
            raise BackupError(
                f"{self._since} is of the bucket {before.bucket} ({before.namespace}), not of "
                f"{names.bucket} ({names.namespace}); name a backup of this one"
            )
        folder = _path_from(self._folder, self._since)
        return Unfinished(
            id=secrets.token_hex(8),
            events=before.events,
            log=before.log,
            segments=(),
            since=Since(id=before.id, folder=folder),
        )

    async def _check_streams(self, state: Unfinished) -> None:
        """The streams must be the ones that the beginning is of."""
        log = self._source.backend.log
        for stream in STREAMS:
            mark = _mark(state, stream)
            extent = await log.extent(stream)
            anchor = await log.at(stream, mark.anchor)
            if anchor is None and stream == "log":
                anchor = await self._source.archive.at(mark.anchor)
            why = mismatch(mark, extent, anchor)
            if why:
                raise BackupError(
                    f"the {stream} can't be gone on from the earlier backup: {why}. Make a whole "
                    "one (another folder, without --since)"
                )

    # --- copying

    async def _copy(self, state: Unfinished, stream: StreamName, cut: Cut) -> Unfinished:
        """Copy a stream up to its end, segment by segment."""
        goal = cut.log if stream == "log" else cut.events
        begun = _mark(state, stream).applied
        reading = Reading(self._source.backend.feeds, stream, begun, goal)
        try:
            while not reading.done:
                state = await self._segment(state, reading, begun, goal)
        finally:
            await reading.close()
        if stream == "events" and _mark(state, stream).applied < goal:
            raise BackupError(
                f"the events end at {_mark(state, stream).applied} although there were {goal}; "
                "something was removed from that stream: see `snorri verify`"
            )
        return _with_mark(state, stream, applied=max(goal, begun))

    async def _segment(
        self, state: Unfinished, reading: Reading, begun: int, goal: int
    ) -> Unfinished:
        stream, names = reading.stream, self._source.names
        writer: SegmentWriter | None = None
        mark = _mark(state, stream)
        try:
            while not reading.done and (writer is None or not writer.full):
                messages = await reading.take()
                lasting = [stored for stored in messages if not is_fleeting(names, stored)]
                if lasting and writer is None:
                    self._numbers[stream] += 1
                    writer = SegmentWriter(self._folder, stream, self._numbers[stream])
                for stored in lasting:
                    assert writer is not None
                    writer.add(stored)
                mark = advance(mark, names, messages)
                self._tell(stream, reading.last - begun, goal - begun)
            if writer is None:
                return _with_mark(state, stream, applied=mark.applied)
            segment = writer.close()
        except BaseException:
            if writer is not None:
                writer.drop()
            raise
        segments = (*state.segments, segment)
        state = structs.replace(_with(state, stream, mark), segments=segments)
        write_json(self._folder / UNFINISHED, state)
        return state

    async def _copy_archive(self) -> tuple[ArchivedSet, ...]:
        """Copy the sets that no backup before this one has; all that there are."""
        catalog = self._source.archive.catalog
        known = () if self._since is None else read_manifest(self._since).archive
        sets = catalog.sets()
        for number, one in enumerate(sets, 1):
            check_names(one, self._source.names, catalog.folder)
            if one not in known:
                target = self._folder / ARCHIVE
                await asyncio.to_thread(catalog.copy, one, target)
                for damage in await asyncio.to_thread(list, Catalog(target).damages(one)):
                    raise BackupError(f"{damage}; see `snorri verify`, it has the archive, too")
            self._tell("archive", number, len(sets))
        return sets

    async def _cards(self) -> dict[str, Raw]:
        """Who is registered: an engine would do that again, a view of the backup has none."""
        meta = self._source.backend.meta
        found = [entry for prefix in CARDS for entry in await meta.entries(prefix)]
        return {entry.key: Raw(entry.data) for entry in found if entry.data is not None}

    def _manifest(
        self,
        state: Unfinished,
        cut: Cut,
        consumers: Sequence[ConsumerPlace],
        cards: dict[str, Raw],
        archive: tuple[ArchivedSet, ...],
    ) -> Manifest:
        names = self._source.names
        return Manifest(
            id=state.id,
            made=datetime.now(UTC),
            program=self._source.program,
            server=self._source.server,
            namespace=names.namespace,
            bucket=names.bucket,
            partitions=self._source.backend.partitions,
            cut=cut,
            events=state.events,
            log=state.log,
            consumers=tuple(consumers),
            segments=state.segments,
            since=state.since,
            cards=cards,
            archive=archive,
        )


def _path_from(folder: Path, other: Path) -> str:
    return os.path.relpath(other.resolve(), folder.resolve())


def _mark(state: Unfinished, stream: StreamName) -> Mark:
    return state.log if stream == "log" else state.events


def _with(state: Unfinished, stream: StreamName, mark: Mark) -> Unfinished:
    if stream == "log":
        return structs.replace(state, log=mark)
    return structs.replace(state, events=mark)


def _with_mark(state: Unfinished, stream: StreamName, *, applied: int) -> Unfinished:
    return _with(state, stream, structs.replace(_mark(state, stream), applied=applied))
