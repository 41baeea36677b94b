"""The projections in DuckDB: which file is read, which is written, how one replaces another.

A folder holds numbered files; the file ``current`` names the one that counts and is replaced in one
step, so a crash at any moment leaves either the old or the new one in place. DuckDB ties the name
of its write-ahead log to the name a file was opened under, therefore files are never renamed.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import duckdb

from store.duck.file import Batch, DuckFile, code_hash
from store.duck.holding import Holding
from store.duck.reading import Readers
from store.port import Stored
from store.projection import schema
from store.projection.checkpoint import Checkpoint, Streams
from store.projection.port import Progress, ReadError, Tables, WriteError
from store.projection.rows_log import Masking
from store.projection.schema import RELATIONS
from store.subjects import Names

log = logging.getLogger("snorri.projection")

R = TypeVar("R")
T = TypeVar("T")

# Applied in memory at most; a crash loses them and they are read again.
FLUSH_MESSAGES = 200_000
FLUSH_BYTES = 128 * 1024 * 1024
FLUSH_S = 15.0

NAME = re.compile(r"[0-9]{6,}\.duckdb")
DAMAGE = re.compile(r"corrupt|checksum|not a valid DuckDB|read enough bytes|version number", re.I)
CURRENT = "current"
BROKEN = "broken"


class NamedMask(Masking, Protocol):
    """A mask that tells by which names it masks; ``store.live_mask`` has one."""

    @property
    def fingerprint(self) -> str:
        """Changes with the names."""
        ...


class DuckTables:
    """``store.projection.port.Tables`` on one file; ``writer`` is the one thread that writes,
    ``preparer`` the one in which the rows of the next batch are made meanwhile.
    """

    def __init__(
        self, file: DuckFile, writer: ThreadPoolExecutor, preparer: ThreadPoolExecutor
    ) -> None:
        self.file = file
        self._writer = writer
        self._preparer = preparer
        self._failed = ""  # why the last write is the last
        self._flushed_s = time.monotonic()

    @property
    def checkpoint(self) -> Checkpoint | None:
        """What is in the tables; None when they were never begun."""
        return self.file.checkpoint

    @property
    def unreadable(self) -> int:
        """Messages that could not be read."""
        return self.file.unreadable

    async def apply(self, events: Sequence[Stored], log: Sequence[Stored]) -> None:
        """See Tables."""
        batch = await _run(self._preparer, lambda: self.file.prepare(events, log))
        await _run(self._writer, lambda: self._apply(batch))

    async def rest(self) -> None:
        """See Tables."""
        if self.file.unflushed and time.monotonic() - self._flushed_s > FLUSH_S:
            await _run(self._writer, self._flush)

    async def finish(self) -> None:
        """See Tables."""
        await _run(self._writer, self.file.finish)

    async def counts(self) -> dict[str, int]:
        """See Tables."""
        return await _run(self._writer, self._count)

    def _apply(self, batch: Batch) -> None:
        if self._failed:  # its rows follow those of a batch that is not in
            raise OSError(self._failed)
        try:
            self.file.write(batch)
        except Exception as error:
            self._failed = _first_line(error)
            raise
        if self.file.unflushed > FLUSH_MESSAGES or self.file.unflushed_bytes > FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        self.file.flush()
        self._flushed_s = time.monotonic()

    def _count(self) -> dict[str, int]:
        with self.file.cursor() as cursor:
            return {
                relation.name: _number(cursor, f"SELECT count(*) FROM {relation.name}")  # noqa: S608
                for relation in RELATIONS
            }


class DuckProjections:
    """``store.projection.port.Projections`` in a folder."""

    def __init__(self, folder: Path, names: Names, mask: NamedMask) -> None:
        self._folder = folder
        self._names = names
        self._mask = mask
        self._holding: Holding | None = None
        self._tables: DuckTables | None = None
        self._fresh: DuckTables | None = None
        self._progress = Progress()
        self._damage = ""  # what a read has met in the file
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._readers = Readers()
        self._writer = ThreadPoolExecutor(1, "projection-write")
        self._preparer = ThreadPoolExecutor(1, "projection-rows")

    # --- reading

    @property
    def progress(self) -> Progress:
        """How far the tables follow."""
        return self._progress

    async def fetch(self, sql: str, parameters: Mapping[str, object], row: type[R]) -> list[R]:
        """See ReadModel."""
        while True:
            live = self.live()
            try:
                return await self._readers.fetch(live.cursor, sql, parameters, row)
            except duckdb.Error as error:
                if live.is_closed and live is not self.live():
                    continue  # it was replaced just now
                if is_damage(error):
                    self._damage = _first_line(error)
                raise ReadError(
                    f"the projections could not be read: {_first_line(error)}; try again, and run "
                    "`snorri rebuild` when it stays so"
                ) from error

    def live(self) -> DuckFile:
        """The file that is read now; raises ReadError."""
        tables = self._tables
        if tables is None or tables.checkpoint is None:
            raise ReadError("the projections are not open; wait until the service is ready")
        if self._progress.partial:
            done = self._progress.rebuilding or 0.0
            raise ReadError(
                f"the projections are being rebuilt, {done:.0%} are done; try again soon"
            )
        return tables.file

    @asynccontextmanager
    async def at_rest(self) -> AsyncGenerator[DuckFile]:
        """The same with all it holds in the file itself, which stays as it is on the disk while
        this lasts; raises ReadError.
        """
        live = self.live()
        try:
            await self._write(live.rest)
        except WriteError as error:
            raise ReadError(str(error)) from error
        try:
            yield live
        finally:
            live.rested()

    async def wait_for(self, log_seq: int, timeout_s: float) -> bool:
        """See ReadModel."""
        if self._progress.log_seq >= log_seq:
            return True
        done = asyncio.get_running_loop().create_future()
        waiter = (log_seq, done)
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await done
        except TimeoutError:
            return False
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
        return True

    @property
    def outdated(self) -> str:
        """See Projections."""
        if self._damage:
            return f"their file is damaged: {self._damage}"
        return self._outdated(self._tables.checkpoint) if self._tables is not None else ""

    def report(self, progress: Progress) -> None:
        """See Projections."""
        self._progress = progress
        reached = [waiter for waiter in self._waiting if waiter[0] <= progress.log_seq]
        for waiter in reached:
            self._waiting.remove(waiter)
            if not waiter[1].done():
                waiter[1].set_result(None)

    # --- writing

    async def open(self) -> DuckTables:
        """See Projections."""
        return await self._write(self._open)

    async def fresh(self, streams: Streams) -> DuckTables:
        """See Projections."""
        return await self._write(lambda: self._make_fresh(streams))

    async def adopt(self, tables: Tables) -> None:
        """See Projections."""
        await self._write(lambda: self._adopt(tables))

    async def reset(self, streams: Streams) -> DuckTables:
        """See Projections."""
        tables = await self.fresh(streams)
        await self.adopt(tables)
        return tables

    async def close(self) -> None:
        """Close the files; idempotent."""
        await self._write(self._close)
        self._readers.close()
        self._writer.shutdown()
        self._preparer.shutdown()

    async def _write(self, work: Callable[[], T]) -> T:
        return await _run(self._writer, work)

    def _open(self) -> DuckTables:
        if self._holding is None:
            self._holding = Holding(self._folder)
        if self._tables is not None:
            self._tables.file.close()
        path = self._current()
        self._sweep(path)
        file = self._put_aside(path, self._damage) if self._damage else self._opened(path)
        if found := self._outdated(file.checkpoint):
            log.warning("the projections are built anew: %s", found)
            file.close()
            file = self._new_file()
        self._tables = DuckTables(file, self._writer, self._preparer)
        return self._tables

    def _opened(self, path: Path) -> DuckFile:
        """The file as it is, or an empty one in place of a damaged one."""
        try:
            return DuckFile(path, self._names, self._mask)
        except (duckdb.Error, ValueError) as error:
            if not is_damage(error):
                raise
            return self._put_aside(path, _first_line(error))

    def _outdated(self, made: Checkpoint | None) -> str:
        if made is None or (made.schema, made.code, made.mask) == self._version():
            return ""
        if (made.schema, made.code) == self._version()[:2]:
            return "other fields are secret than when they were made"
        return "they were made by another version of the program"

    def _version(self) -> tuple[int, str, str]:
        return schema.VERSION, code_hash(), self._mask.fingerprint

    def _current(self) -> Path:
        pointer = self._folder / CURRENT
        try:
            name = pointer.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            name = ""
        return self._folder / name if NAME.fullmatch(name) else self._next_path()

    def _next_path(self) -> Path:
        numbers = [
            int(digits)
            for path in self._folder.glob("*.duckdb*")
            if (digits := path.name.partition(".")[0]).isdecimal()
        ]
        return self._folder / f"{max(numbers, default=0) + 1:06}.duckdb"

    def _new_file(self) -> DuckFile:
        return DuckFile(self._next_path(), self._names, self._mask)

    def _put_aside(self, path: Path, why: str) -> DuckFile:
        self._damage = ""
        aside = self._folder / BROKEN
        log.error(
            "the projections can't be opened (%s); the file is kept as %s, rebuilding them",
            *(why, aside.name),
        )
        path.replace(aside)
        _wal(path).unlink(missing_ok=True)
        return self._new_file()

    def _make_fresh(self, streams: Streams) -> DuckTables:
        if self._fresh is not None:
            self._fresh.file.close()
            _remove(self._fresh.file.path)
        file = self._new_file()
        file.begin(streams, self._mask.fingerprint)
        self._fresh = DuckTables(file, self._writer, self._preparer)
        return self._fresh

    def _adopt(self, tables: Tables) -> None:
        if self._fresh is None or tables is not self._fresh:
            raise RuntimeError("only tables made by fresh() can be adopted")
        old, self._tables, self._fresh = self._tables, self._fresh, None
        self._damage = ""
        self._point_to(self._tables.file.path)
        if old is not None:
            old.file.close()
            _remove(old.file.path)

    def _point_to(self, path: Path) -> None:
        written = self._folder / f"{CURRENT}.new"
        written.write_text(f"{path.name}\n", encoding="utf-8")
        written.replace(self._folder / CURRENT)

    def _sweep(self, keep: Path) -> None:
        """Remove what a rebuild that was cut off has left."""
        for path in self._folder.glob("[0-9]*.duckdb"):
            if path != keep:
                _remove(path)

    def _close(self) -> None:
        for tables in (self._tables, self._fresh):
            if tables is not None:
                tables.file.close()
        self._tables = self._fresh = None
        if self._holding is not None:
            self._holding.release()
            self._holding = None


async def _run(pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    """Run in the writer's thread; raises WriteError for what the database or the disk refuses."""
    try:
        return await asyncio.get_running_loop().run_in_executor(pool, work)
    except (duckdb.Error, OSError) as error:
        raise WriteError(
            f"the projections can't be written: {_first_line(error)}; "
            "check the disk of the data directory"
        ) from error


def _number(cursor: duckdb.DuckDBPyConnection, sql: str) -> int:
    found = cursor.execute(sql).fetchone()
    return int(found[0]) if found else 0


def is_damage(error: Exception) -> bool:
    """Whether the file itself is at fault, not the disk, the memory or another process."""
    if isinstance(error, duckdb.SerializationException | duckdb.FatalException | ValueError):
        return True
    return DAMAGE.search(str(error)) is not None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _wal(path: Path) -> Path:
    return path.with_name(f"{path.name}.wal")


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    _wal(path).unlink(missing_ok=True)
