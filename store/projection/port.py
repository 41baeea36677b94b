"""The port of the projections: trusted reads by named queries, and how far they follow the log.

Whoever serves lists and reports asks through ``ReadModel``; it lags behind the broker by
``Progress.lag``. What must be true now (one instance, its history) is read from the log instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

from msgspec import Struct

R = TypeVar("R")


class Progress(Struct, frozen=True, kw_only=True):
    """How far the projections follow: sequences of both streams, applied and last known there.

    ``lag_s`` is the age in seconds of the oldest message that is stored and not applied, 0 when
    there is none. ``rebuilding`` is the part done (0 to 1) while a rebuild runs, else None.
    ``fault`` says in words why nothing moves, with the next step; empty when all is well.
    """

    events_seq: int = 0
    log_seq: int = 0
    events_last: int = 0
    log_last: int = 0
    lag_s: float = 0.0
    rebuilding: float | None = None
    fault: str = ""

    @property
    def lag(self) -> int:
        """Messages that are stored and not applied."""
        return max(0, self.events_last - self.events_seq) + max(0, self.log_last - self.log_seq)


class ReadError(Exception):
    """A query could not be answered; the message says what to do next."""


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
