"""What transactional steps need of a database: a small port that a driver implements.

Rows are plain data, as JSON has them, since they go into history and come back for an undo. An
*entity* is a table by its name; a *key* is its primary key, as a mapping or, when that is one
column, as the bare value.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeAlias

from jobs.outcome import PermanentFailure

Row: TypeAlias = dict[str, Any]  # plain data of any kind
RowKey: TypeAlias = "Mapping[str, Any] | str | int"


class RowError(PermanentFailure):
    """The database, or its schema, says no to a row, and trying again will not change it.

    ``code`` is ``UnknownEntity``, ``BadField``, ``RowMissing``, ``RowRefused`` or ``RowChanged``.
    """


class DatabaseTransaction(Protocol):
    """A transaction that is open; what is done through it is committed or rolled back as one.

    ``connection`` is the driver's own, for statements of the step's own. Nobody but who opened the
    transaction commits it.
    """

    @property
    def connection(self) -> Any:
        """The connection as the driver's library has it."""
        ...

    async def get(self, entity: str, key: RowKey) -> Row | None:
        """A row, locked until the end where the database can do that; None when there is none."""
        ...

    async def insert(self, entity: str, values: Mapping[str, Any]) -> Row:
        """Add a row; the row as the database has it then. Raises RowError."""
        ...

    async def update(self, entity: str, key: RowKey, values: Mapping[str, Any]) -> Row:
        """Change columns of a row; the row as it is then. Raises RowError."""
        ...

    async def delete(self, entity: str, key: RowKey) -> None:
        """Remove a row. Raises RowError."""
        ...

    def key_of(self, entity: str, row: Mapping[str, Any]) -> Row:
        """The primary key of a row. Raises RowError."""
        ...

    async def claim(self, id: str) -> bytes | None:
        """Make an outcome this transaction's to record, or learn the one that is recorded.

        Whoever claims the same id at the same time waits for this transaction to end, or raises.
        """
        ...

    async def record(self, id: str, outcome: bytes) -> None:
        """Record the outcome of an id that was claimed, as part of the transaction."""
        ...


class Database(Protocol):
    """What an app provides under this type, or under a name, for its transactional steps."""

    def transaction(self) -> AbstractAsyncContextManager[DatabaseTransaction]:
        """A new transaction: committed at the end of the block, rolled back when that raises."""
        ...
