"""One DuckDB file with the tables of the projections: opened, written batch by batch, read.

All methods block; ``projection`` calls them from threads of its own. One connection writes, each
read has a cursor of its own, so that it can be interrupted alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from store.duck import arrow, merge_commands, merge_events, merge_instances
from store.duck.tables import ddl
from store.port import Stored
from store.projection import checkpoint, rows_events, rows_log, schema, staged
from store.projection.checkpoint import Checkpoint, Mark, Streams, advance
from store.projection.rows_events import EventRows
from store.projection.rows_log import LogRows, Masking
from store.projection.staged import Rows
from store.subjects import Names

MEMORY = "400MB"
STEPS = (*merge_instances.STEPS, *merge_commands.STEPS, *merge_events.STEPS)
MADE_OF = (
    *(arrow, merge_commands, merge_events, merge_instances),
    *(checkpoint, rows_events, rows_log, schema, staged),
)


@cache
def code_hash() -> str:
    """The hash of all that makes rows of messages, DuckDB's version included."""
    digest = hashlib.sha256(duckdb.__version__.encode())
    for module in MADE_OF:
        digest.update(Path(str(module.__file__)).read_bytes())
    digest.update(ddl().encode())
    return digest.hexdigest()


class DuckFile:
    """An open file; ``path`` is made when it does not exist. Raises duckdb.Error."""

    def __init__(self, path: Path, names: Names, mask: Masking) -> None:
        self.path = path
        self._names = names
        self._events = EventRows(names, mask)
        self._log = LogRows(names, mask)
        self._writer = duckdb.connect(
            str(path),
            config={
                "memory_limit": MEMORY,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
        self._writer.execute("SET GLOBAL TimeZone = 'UTC'")
        self.checkpoint = self._read_checkpoint()
        self.unreadable = self._count_unreadable()

    def begin(self, streams: Streams, mask: str) -> None:
        """Make the tables of an empty file; ``mask`` is the fingerprint of the mask."""
        self._writer.execute(f"BEGIN; {ddl()}")
        events, log = Mark(created=streams.events), Mark(created=streams.log)
        made = Checkpoint(
            schema=schema.VERSION, code=code_hash(), mask=mask, events=events, log=log
        )
        self._writer.execute("INSERT INTO base.checkpoint VALUES ($1)", [_text(made)])
        self._writer.execute("COMMIT")
        self.checkpoint = made

    def apply(self, events: Sequence[Stored], log: Sequence[Stored]) -> None:
        """Add the rows of these messages and move the checkpoint, in one transaction."""
        if self.checkpoint is None:
            raise RuntimeError("the tables were never begun")
        rows = Rows()
        self._log.read(log, rows)
        self._events.read(events, rows)
        moved = msgspec.structs.replace(
            self.checkpoint,
            events=advance(self.checkpoint.events, self._names, events),
            log=advance(self.checkpoint.log, self._names, log),
        )
        filled = {table for table in staged.TABLES if rows.of(table)}
        for table in staged.TABLES:
            self._writer.register(table.name, arrow.to_arrow(table, rows.of(table)))
        self._writer.execute("BEGIN")
        try:
            for step in STEPS:
                if not step.needs or not filled.isdisjoint(step.needs):
                    self._writer.execute(step.sql)
            self._writer.execute("UPDATE base.checkpoint SET record = $1", [_text(moved)])
            self._writer.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        self.checkpoint = moved
        self.unreadable += len(rows.unreadable)

    def finish(self) -> None:
        """Note that the tables have caught up with their streams."""
        if self.checkpoint is not None and not self.checkpoint.complete:
            done = msgspec.structs.replace(self.checkpoint, complete=True)
            self._writer.execute("UPDATE base.checkpoint SET record = $1", [_text(done)])
            self.checkpoint = done

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection for one reader."""
        return self._writer.cursor()

    def close(self) -> None:
        """Close it; queries that run are cut off."""
        self._writer.close()

    def _roll_back(self) -> None:
        try:
            self._writer.execute("ROLLBACK")
        except duckdb.Error:
            pass  # the failure that led here has ended the transaction, or the whole database

    def _read_checkpoint(self) -> Checkpoint | None:
        made = self._writer.execute(
            "SELECT 1 FROM duckdb_tables() WHERE schema_name = 'base' AND table_name = 'checkpoint'"
        ).fetchone()
        if made is None:
            return None
        found: Any = self._writer.execute("SELECT record FROM base.checkpoint").fetchone()
        return msgspec.json.decode(found[0], type=Checkpoint)

    def _count_unreadable(self) -> int:
        if self.checkpoint is None:
            return 0
        found: Any = self._writer.execute("SELECT count(*) FROM base.unreadable").fetchone()
        return int(found[0])


def _text(record: Checkpoint) -> str:
    return msgspec.json.encode(record).decode()
