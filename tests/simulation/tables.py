"""The tables of the projections in memory, kept over all lives of the projector.

Rows are made by the functions that make them for the database; only the merging is left out. What
is applied becomes visible together with its checkpoint or not at all, as in a transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from msgspec import structs

from store.live_mask import LiveMask
from store.port import Stored
from store.projection.checkpoint import Checkpoint, Mark, Streams, advance
from store.projection.port import Progress, ReadError, Tables
from store.projection.rows_events import EventRows
from store.projection.rows_log import LogRows
from store.projection.staged import REVISIONS, TABLES, Row, Rows
from store.subjects import Names
from tests.waiting import busy

R = TypeVar("R")
WRITE_S = 0.003
BEFORE_SEQ = [name for name, _ in REVISIONS.columns].index("before_seq")


class Disk:
    """What survives a crash of the projector: the tables in use."""

    def __init__(self, names: Names) -> None:
        self.log_rows = LogRows(names, LiveMask())
        self.event_rows = EventRows(names, LiveMask())
        self.names = names
        self.tables = MemoryTables(self, None)

    def rows_of(self, events: Sequence[Stored], log: Sequence[Stored]) -> dict[str, list[Row]]:
        """The rows that these messages make, by table."""
        rows = Rows()
        self.event_rows.read(events, rows)
        self.log_rows.read(log, rows)
        made = {table.name: list(rows.of(table)) for table in TABLES}
        # Where one batch ends and the next begins makes no difference to what is merged.
        made[REVISIONS.name] = [
            row[:BEFORE_SEQ] + row[BEFORE_SEQ + 1 :] for row in made[REVISIONS.name]
        ]
        return made

    def whole(self, events: Sequence[Stored], log: Sequence[Stored]) -> list[str]:
        """How the tables in use differ from those made from nothing of these messages, in words."""
        made = self.rows_of(events, log)
        return [
            f"{name} has {len(rows)} rows, from nothing {len(made[name])}, and they differ"
            for name, rows in self.tables.rows.items()
            if _in_order(rows) != _in_order(made[name])
        ]


def _in_order(rows: list[Row]) -> list[Row]:
    """Rows of one stream come in its order, those of two in any."""
    return sorted(rows, key=lambda row: (str(row[0]), str(row[1])))


class MemoryTables:
    """See Tables."""

    def __init__(self, disk: Disk, checkpoint: Checkpoint | None) -> None:
        self.rows: dict[str, list[Row]] = {table.name: [] for table in TABLES}
        self.checkpoint = checkpoint
        self.unreadable = 0
        self._disk = disk

    async def apply(self, events: Sequence[Stored], log: Sequence[Stored]) -> None:
        """See Tables."""
        made = self._disk.rows_of(events, log)
        before = self.checkpoint
        assert before is not None, "tables that were never begun"
        after = structs.replace(
            before,
            events=advance(before.events, self._disk.names, events),
            log=advance(before.log, self._disk.names, log),
        )
        await busy(WRITE_S)
        for name, rows in made.items():
            self.rows[name] += rows
        self.checkpoint = after
        await busy(WRITE_S)

    async def finish(self) -> None:
        """See Tables."""
        assert self.checkpoint is not None, "tables that were never begun"
        self.checkpoint = structs.replace(self.checkpoint, complete=True)

    async def rest(self) -> None:
        """See Tables."""

    async def counts(self) -> dict[str, int]:
        """See Tables."""
        return {name: len(rows) for name, rows in self.rows.items()}


class MemoryProjections:
    """See Projections; one projector's view of the disk."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self.progress = Progress()
        self.outdated = ""

    async def fetch(self, sql: str, parameters: Mapping[str, object], row: type[R]) -> list[R]:
        """Nobody asks in SQL here."""
        raise ReadError("these tables take no SQL; look at their rows")

    async def wait_for(self, log_seq: int, timeout_s: float) -> bool:
        """See ReadModel."""
        return self.progress.log_seq >= log_seq

    async def open(self) -> Tables:
        """See Projections."""
        return self._disk.tables

    async def fresh(self, streams: Streams) -> Tables:
        """See Projections."""
        events, log = Mark(created=streams.events), Mark(created=streams.log)
        return MemoryTables(self._disk, Checkpoint(schema=1, code="", events=events, log=log))

    async def adopt(self, tables: Tables) -> None:
        """See Projections."""
        assert isinstance(tables, MemoryTables), "tables of another make"
        self._disk.tables = tables

    async def reset(self, streams: Streams) -> Tables:
        """See Projections."""
        tables = await self.fresh(streams)
        await self.adopt(tables)
        return tables

    def report(self, progress: Progress) -> None:
        """See Projections."""
        self.progress = progress

    async def close(self) -> None:
        """See Projections."""
