"""The ports of the projections: trusted reads by named queries, how far they follow the log, and
what writes them.

Whoever serves lists and reports asks through ``ReadModel``; it lags behind the broker by
``Progress.lag``. What must be true now (one instance, its history) is read from the log instead.
``Projections`` is the side of the projector, which follows the streams and writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from msgspec import Struct

from store.port import Stored
from store.projection.checkpoint import Checkpoint, Streams

R = TypeVar("R")


class Progress(Struct, frozen=True, kw_only=True):
    """How far the projections follow: sequences of both streams, applied and last known there.

    ``lag_s`` is the age in seconds of the oldest message that is stored and not applied, 0 when
    there is none. ``rebuilding`` is the part done (0 to 1) while a rebuild runs, else None.
    ``fault`` says in words why nothing moves, with the next step; empty when all is well.
    ``partial``: the tables are being filled for the first time, reads are refused until then.
    ``unreadable`` counts messages that could not be read; ``base.unreadable`` names them.
    """

    events_seq: int = 0
    log_seq: int = 0
    events_last: int = 0
    log_last: int = 0
    lag_s: float = 0.0
    rebuilding: float | None = None
    fault: str = ""
    partial: bool = False
    unreadable: int = 0

    @property
    def lag(self) -> int:
        """Messages that are stored and not applied."""
        return max(0, self.events_last - self.events_seq) + max(0, self.log_last - self.log_seq)


class ReadError(Exception):
    """A query could not be answered; the message says what to do next."""


class WriteError(Exception):
    """Rows could not be written, or the tables not be opened; the message says what to do next."""


class ReadModel(Protocol):
    """Reads of the projections. SQL comes from our own named queries only, never from users."""

    async def fetch(self, sql: str, parameters: Mapping[str, object], row: type[R]) -> list[R]:
        """All rows of a query as ``row`` Structs, columns matched to fields by name.

        ``parameters`` are bound to ``$name``. JSON columns arrive as ``msgspec.Raw`` fields, times
        as aware datetimes in UTC, NULL as None. Cancelling the task interrupts the query. Raises
        ReadError.
        """
        ...

    @property
    def progress(self) -> Progress: ...

    async def wait_for(self, log_seq: int, timeout_s: float) -> bool:
        """Wait until the log is applied up to ``log_seq``; False when the time ran out."""
        ...


class Tables(Protocol):
    """One set of tables while it is written. One writer at a time; every method may block long."""

    @property
    def checkpoint(self) -> Checkpoint | None:
        """What is in the tables now; None when they were never begun."""
        ...

    @property
    def unreadable(self) -> int:
        """Messages in them that could not be read."""
        ...

    async def apply(self, events: Sequence[Stored], log: Sequence[Stored]) -> None:
        """Add what these messages mean, and the new checkpoint, in one transaction.

        Both are in the order of their streams and follow the checkpoint, or the messages of the
        last call: it may still be at work, calls end in their order. Raises WriteError, and then
        nothing of it is in, nor of any that follows.
        """
        ...

    async def finish(self) -> None:
        """Note in the checkpoint that they are complete."""
        ...

    async def rest(self) -> None:
        """There is time to keep what was applied, so that less is read again after a crash."""
        ...

    async def counts(self) -> dict[str, int]:
        """Rows of each public relation."""
        ...


class Projections(ReadModel, Protocol):
    """The tables that are read, and those that will take their place. Raises WriteError."""

    async def open(self) -> Tables:
        """The tables there are, opened anew when they were open; a broken file is put aside."""
        ...

    async def fresh(self, streams: Streams) -> Tables:
        """Empty tables beside those that are read; any earlier ones never adopted are dropped."""
        ...

    async def adopt(self, tables: Tables) -> None:
        """Read these from now on; queries that run end on the old ones, which are then dropped."""
        ...

    async def reset(self, streams: Streams) -> Tables:
        """Drop what there is and read empty tables from now on."""
        ...

    @property
    def outdated(self) -> str:
        """Why the tables that are read should be built anew, empty when they should not."""
        ...

    def report(self, progress: Progress) -> None:
        """Take note of how far it is, and wake who waits for that."""
        ...

    async def close(self) -> None: ...
