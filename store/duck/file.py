"""One DuckDB file with the tables of the projections: opened, written batch by batch, read.

All methods block; ``projection`` calls them from threads of its own. One connection writes, each
read has a cursor of its own, so that it can be interrupted alone.

There is no write-ahead log: what is committed is in memory until ``flush`` brings all of it into
the file in one step. After a crash the file is as it was at the last flush, rows and checkpoint,
and the streams are read again from there. That saves the disk the same rows twice.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import duckdb
import msgspec
from msgspec import Struct

from store import fingerprints
from store.duck import (
    arrow,
    merge_commands,
    merge_events,
    merge_executions,
    merge_failures,
    merge_instances,
)
from store.duck.arrow import Shown, Staged, to_arrow
from store.duck.step import Need
from store.duck.tables import ddl
from store.port import Stored
from store.projection import checkpoint, rows_events, rows_log, schema, staged
from store.projection.checkpoint import Checkpoint, Mark, Streams, advance
from store.projection.rows_events import EventRows
from store.projection.rows_log import LogRows, Masking
from store.projection.staged import Rows
from store.subjects import Names

logger = logging.getLogger("snorri.projection")

MEMORY = "650MB"
MEMORY_FILLING = "550MB"  # while larger batches wait beside it and nobody reads
NAME = "projections"  # of the attached file
ROOM_BYTES = 8 * 1024 * 1024  # that a flush may need, beside so much for what it writes:
ROOM_FACTOR = 2
STEPS = (
    *(*merge_instances.STEPS, *merge_executions.STEPS, *merge_commands.STEPS),
    *(*merge_executions.AFTER_COMMANDS, *merge_failures.STEPS, *merge_events.STEPS),
)
UNREADABLE: frozenset[Need] = frozenset(
    {staged.UNREADABLE, merge_instances.ILLEGIBLE, merge_executions.NO_RECORD}
)
# Errors that speak of what is written, not of the disk or of the database itself.
BLAMELESS = (
    *(duckdb.DataError, duckdb.InvalidInputException, duckdb.ConversionException),
    *(OverflowError, TypeError, ValueError, UnicodeError),
)
MADE_OF = (
    *(arrow, fingerprints, merge_commands, merge_events, merge_executions, merge_failures),
    *(merge_instances, checkpoint, rows_events, rows_log, schema, staged),
)


@cache
def code_hash() -> str:
    """The hash of all that makes rows of messages, DuckDB's version included."""
    digest = hashlib.sha256(duckdb.__version__.encode())
    for module in MADE_OF:
        digest.update(Path(str(module.__file__)).read_bytes())
    digest.update(ddl().encode())
    return digest.hexdigest()


class Batch(Struct, frozen=True):
    """Messages of both streams with the rows they make, ready for the database."""

    events: Sequence[Stored]
    log: Sequence[Stored]
    rows: Rows
    shown: Sequence[Shown]  # in the order of ``staged.TABLES``


class DuckFile:
    """An open file; ``path`` is made when it does not exist. Raises duckdb.Error."""

    def __init__(self, path: Path, names: Names, mask: Masking) -> None:
        self.path = path
        self._names = names
        self._events = EventRows(names, mask)
        self._log = LogRows(names, mask)
        self._writer = duckdb.connect(
            config={
                "memory_limit": MEMORY,
                "temp_directory": str(path.with_suffix(".spill")),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "checkpoint_threshold": "1TB",  # flush says when
                "auto_checkpoint_skip_wal_threshold": 2**40,
            }
        )
        quoted = str(path).replace("'", "''")
        try:
            self._writer.execute("SET GLOBAL TimeZone = 'UTC'")
            self._writer.execute(f"ATTACH '{quoted}' AS {NAME} (RECOVERY_MODE no_wal_writes)")
            self._writer.execute(f"USE {NAME}")
            self.checkpoint: Checkpoint | None = self._read_checkpoint()
            self.unreadable = self._count_unreadable()
        except BaseException:
            self._writer.close()
            raise
        self._flushed: Checkpoint | None = self.checkpoint
        self.unflushed_bytes = 0  # of messages that were applied since the last flush
        self._resting = threading.Lock()
        self._staged = [Staged(table) for table in staged.TABLES]
        for table, rows in zip(staged.TABLES, self._staged, strict=True):
            self._writer.register(table.name, rows)
        self._steps = [(step, self._parsed(step.sql)) for step in STEPS]
        self.is_closed = False

    def begin(self, streams: Streams, mask: str) -> None:
        """Make the tables of an empty file; ``mask`` is the fingerprint of the mask."""
        self._writer.execute(f"BEGIN; {ddl()}")
        events, log = Mark(created=streams.events), Mark(created=streams.log)
        made = Checkpoint(
            schema=schema.VERSION, code=code_hash(), mask=mask, events=events, log=log
        )
        self._writer.execute("INSERT INTO base.checkpoint VALUES ($1)", [_text(made)])
        self._writer.execute("COMMIT")
        # Nobody reads while they are filled, and a second thread costs such batches more than it
        # gives.
        self._writer.execute("SET GLOBAL threads = 1")
        self._writer.execute(f"SET GLOBAL memory_limit = '{MEMORY_FILLING}'")
        self.checkpoint = made

    def apply(self, events: Sequence[Stored], log: Sequence[Stored]) -> None:
        """Add the rows of these messages and move the checkpoint, in one transaction."""
        self.write(self.prepare(events, log))

    def prepare(self, events: Sequence[Stored], log: Sequence[Stored]) -> Batch:
        """The rows of these messages; in any thread, while another batch is written."""
        rows = Rows()
        self._log.read(log, rows)
        self._events.read(events, rows)
        return _batch(events, log, rows)

    def write(self, batch: Batch) -> None:
        """Add these rows and move the checkpoint, in one transaction.

        Messages that the database can't take are found, one by one, and named as unreadable.
        """
        events, log = batch.events, batch.log
        try:
            self._commit(batch)
        except duckdb.OutOfMemoryException:
            if len(events) + len(log) == 1:
                raise
            self.flush()  # makes room; what is left is taken in smaller parts
            for part in _halves(events, log):
                self.apply(*part)
        except BLAMELESS as error:
            if len(events) + len(log) > 1:
                for part in _halves(events, log):
                    self.apply(*part)
                return
            logger.exception("a message can't be projected and is left out")
            self._commit(_batch(events, log, _unreadable(events, log, error)))

    def _commit(self, batch: Batch) -> None:
        rows, events, log = batch.rows, batch.events, batch.log
        if self.checkpoint is None:
            raise RuntimeError("the tables were never begun")
        moved = msgspec.structs.replace(
            self.checkpoint,
            events=advance(self.checkpoint.events, self._names, events),
            log=advance(self.checkpoint.log, self._names, log),
        )
        has: set[Need] = {*(table for table in staged.TABLES if rows.of(table)), *rows.traits}
        for table, shown in zip(self._staged, batch.shown, strict=True):
            table.show(shown)
        self._writer.execute(f"SET VARIABLE tick = {moved.tick}")
        self._writer.execute("BEGIN")
        try:
            for step, statement in self._steps:
                if step.needs and has.isdisjoint(step.needs):
                    continue
                made = self._writer.execute(statement)
                if step.tells:
                    told = zip(step.tells, made.fetchall()[0], strict=True)
                    has.update(trait for trait, is_so in told if is_so)
            self._writer.execute("UPDATE base.checkpoint SET record = $1", [_text(moved)])
            self._writer.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        self.checkpoint = moved
        self.unflushed_bytes += sum(len(one.data) for part in (events, log) for one in part)
        if not has.isdisjoint(UNREADABLE):
            self.unreadable = self._count_unreadable()

    def _parsed(self, sql: str) -> duckdb.Statement:
        """A statement that is parsed once: that takes longer than running it on a few rows."""
        (statement,) = self._writer.extract_statements(sql)
        return statement

    def finish(self) -> None:
        """Note that the tables have caught up with their streams."""
        if self.checkpoint is not None and not self.checkpoint.complete:
            done = msgspec.structs.replace(self.checkpoint, complete=True)
            self._writer.execute("UPDATE base.checkpoint SET record = $1", [_text(done)])
            self._writer.execute("RESET GLOBAL threads")
            self._writer.execute(f"SET GLOBAL memory_limit = '{MEMORY}'")
            self.checkpoint = done

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection for one reader."""
        cursor = self._writer.cursor()
        cursor.execute(f"USE {NAME}")
        return cursor

    def flush(self) -> None:
        """Bring what was committed since the last time into the file; later when it is read.

        Raises duckdb.Error, and OSError when there is no room for it.
        """
        if self._resting.acquire(blocking=False):
            try:
                self._flush()
            finally:
                self._resting.release()

    def rest(self) -> None:
        """Flush, and leave the file on the disk as it is until ``rested``."""
        self._resting.acquire()  # another reader's rest ends with its reading
        try:
            self._flush()
        except BaseException:
            self._resting.release()
            raise

    def rested(self) -> None:
        """Whoever called ``rest`` has read the file."""
        self._resting.release()

    def _flush(self) -> None:
        if self.checkpoint is not self._flushed:
            self._check_room()
            self._writer.execute(f"CHECKPOINT {NAME}")
            self._flushed = self.checkpoint
            self.unflushed_bytes = 0

    def _check_room(self) -> None:
        """Raise OSError when the disk is nearly full: after a flush that failed for that, DuckDB
        lets nobody read either.
        """
        needed = ROOM_BYTES + ROOM_FACTOR * self.unflushed_bytes
        free = shutil.disk_usage(self.path.parent).free
        if free < needed:
            raise OSError(
                f"No space left on device: {free / 1e6:.0f} MB are free,"
                f" {needed / 1e6:.0f} MB may be needed"
            )

    @property
    def unflushed(self) -> int:
        """Messages that were applied since the last flush."""
        then = self._flushed.tick if self._flushed is not None else 0
        return self.checkpoint.tick - then if self.checkpoint is not None else 0

    def close(self) -> None:
        """Flush if that is possible, and close; queries that run are cut off."""
        try:
            self.flush()
        except (duckdb.Error, OSError) as error:
            logger.warning(
                "the last of the projections is not kept and will be read again: %s", error
            )
        self.is_closed = True
        self._writer.close()

    def _roll_back(self) -> None:
        try:
            self._writer.execute("ROLLBACK")
        except duckdb.Error:
            pass  # the failure that led here has ended the transaction, or the whole database

    def _read_checkpoint(self) -> Checkpoint | None:
        made = self._writer.execute(
            "SELECT 1 FROM duckdb_tables() WHERE database_name = 'projections'"
            " AND schema_name = 'base' AND table_name = 'checkpoint'"
        ).fetchall()
        if not made:
            return None
        found = self._writer.execute("SELECT record FROM base.checkpoint").fetchall()
        return msgspec.json.decode(found[0][0], type=Checkpoint)

    def _count_unreadable(self) -> int:
        if self.checkpoint is None:
            return 0
        return int(self._writer.execute("SELECT count(*) FROM base.unreadable").fetchall()[0][0])


def _batch(events: Sequence[Stored], log: Sequence[Stored], rows: Rows) -> Batch:
    shown = [to_arrow(table, rows.of(table)) for table in staged.TABLES]
    return Batch(events, log, rows, shown)


def _halves(
    events: Sequence[Stored], log: Sequence[Stored]
) -> Sequence[tuple[Sequence[Stored], Sequence[Stored]]]:
    """A batch in two parts, each stream in its order."""
    event, message = (len(events) + 1) // 2, (len(log) + 1) // 2
    if len(events) + len(log) == 2 and events and log:
        return (events, ()), ((), log)
    return (events[:event], log[:message]), (events[event:], log[message:])


def _unreadable(events: Sequence[Stored], log: Sequence[Stored], error: Exception) -> Rows:
    rows = Rows()
    for stream, messages in (("events", events), ("log", log)):
        for stored in messages:
            reason = f"the database can't take it: {str(error).splitlines()[0]}"
            rows.unreadable.append((stream, stored.seq, stored.subject, stored.at_ns, reason))
    return rows


def _text(record: Checkpoint) -> str:
    return msgspec.json.encode(record).decode()
