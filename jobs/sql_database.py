"""The database of transactional steps on SQLAlchemy 2: tables of a MetaData, an AsyncEngine.

    async def database():
        engine = create_async_engine("postgresql+asyncpg://…")
        database = SqlDatabase(engine, Base.metadata)
        await database.prepare()
        yield database
        await engine.dispose()

    providers.provide(Database, database)

Needs the extra ``sqlalchemy`` and an async driver (asyncpg, aiosqlite …). An entity is the name of
a table. Own statements, and an ``AsyncSession(bind=transaction.connection)``, take part in the
transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

try:
    from sqlalchemy import (
        JSON,
        Column,
        ColumnElement,
        DateTime,
        MetaData,
        String,
        Table,
        Text,
        and_,
        delete,
        insert,
        inspect,
        select,
        update,
    )
    from sqlalchemy.exc import DBAPIError, IntegrityError
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
except ImportError as error:
    raise ImportError(
        "SqlDatabase needs SQLAlchemy 2; install it with: pip install 'snorri[sqlalchemy]'"
    ) from error

from jobs.database import Row, RowError, RowKey
from sagas.durations import seconds

OUTCOMES = "snorri_outcomes"
ID_CHARS_MAX = 1000  # an id holds a saga and a key, escaped


def outcomes_table(metadata: MetaData) -> Table:
    """The table of outcomes, for migrations: one row a command, with its outcome as JSON and when
    it was last claimed (UTC).
    """
    return Table(
        OUTCOMES,
        metadata,
        Column("command_id", String(ID_CHARS_MAX), primary_key=True),
        Column("outcome", Text),
        Column("at", DateTime(timezone=True), nullable=False, index=True),
    )


_OUTCOMES = outcomes_table(MetaData())


class SqlDatabase:
    """Opens transactions on an engine that somebody else disposes of."""

    def __init__(self, engine: AsyncEngine, tables: MetaData) -> None:
        self._engine = engine
        self._tables = tables.tables
        # SQLite has one writer; within a process it is better to wait here than to be told so.
        self._turn = asyncio.Lock() if engine.dialect.name == "sqlite" else None

    async def prepare(self) -> None:
        """Make the table of outcomes, unless it is there; raises what the database raises."""
        try:
            async with self._engine.begin() as connection:
                await connection.run_sync(_OUTCOMES.create, checkfirst=True)
        except DBAPIError:  # somebody else has just made it, or it can't be made
            async with self._engine.connect() as connection:
                if not await connection.run_sync(lambda sync: inspect(sync).has_table(OUTCOMES)):
                    raise

    async def forget_outcomes(self, older_than: float | str | timedelta = "30d") -> int:
        """Delete old outcomes, how many; keep them for as long as a command may be sent again."""
        until = datetime.now(UTC) - timedelta(seconds=seconds(older_than))
        async with self._engine.begin() as connection:
            gone = await connection.execute(delete(_OUTCOMES).where(_OUTCOMES.c.at < until))
            return gone.rowcount

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[SqlTransaction]:
        """See Database."""
        async with self._turn or nullcontext(), self._engine.begin() as connection:
            yield SqlTransaction(connection, self._tables)


class SqlTransaction:
    """A transaction that is open on a connection."""

    def __init__(self, connection: AsyncConnection, tables: Mapping[str, Table]) -> None:
        self._connection = connection
        self._tables = tables

    @property
    def connection(self) -> AsyncConnection:
        """See DatabaseTransaction."""
        return self._connection

    async def get(self, entity: str, key: RowKey) -> Row | None:
        """See DatabaseTransaction."""
        table = self._table(entity)
        wanted = select(table).where(_has_key(table, key)).with_for_update()
        found = (await self._connection.execute(wanted)).mappings().one_or_none()
        return None if found is None else _plain(table, found)

    async def insert(self, entity: str, values: Mapping[str, Any]) -> Row:
        """See DatabaseTransaction."""
        table = self._table(entity)
        try:
            done = await self._connection.execute(insert(table).values(_natives(table, values)))
        except IntegrityError as error:
            raise _refused(entity, error) from error
        made = dict(zip(_key_names(table), done.inserted_primary_key or (), strict=True))
        row = await self.get(entity, made)
        if row is None:
            raise RowError(f"{entity}: the new row is not there", code="RowMissing")
        return row

    async def update(self, entity: str, key: RowKey, values: Mapping[str, Any]) -> Row:
        """See DatabaseTransaction."""
        table = self._table(entity)
        natives = _natives(table, values)
        moved = {name: natives.get(name, value) for name, value in _key(table, key).items()}
        if natives:
            change = update(table).where(_has_key(table, key)).values(natives)
            try:
                done = await self._connection.execute(change)
            except IntegrityError as error:
                raise _refused(entity, error) from error
            if not done.rowcount:
                raise _missing(entity)
        row = await self.get(entity, moved)
        if row is None:
            raise _missing(entity)
        return row

    async def delete(self, entity: str, key: RowKey) -> None:
        """See DatabaseTransaction."""
        table = self._table(entity)
        try:
            done = await self._connection.execute(delete(table).where(_has_key(table, key)))
        except IntegrityError as error:
            raise _refused(entity, error) from error
        if not done.rowcount:
            raise _missing(entity)

    def key_of(self, entity: str, row: Mapping[str, Any]) -> Row:
        """See DatabaseTransaction."""
        return {name: row[name] for name in _key_names(self._table(entity))}

    async def claim(self, id: str) -> bytes | None:
        """See DatabaseTransaction. The row is written before it is read: whoever comes second
        waits at the first statement of its transaction.
        """
        now = datetime.now(UTC)
        row = _OUTCOMES.c.command_id == id
        try:
            known = await self._connection.execute(update(_OUTCOMES).where(row).values(at=now))
            if not known.rowcount:
                await self._connection.execute(insert(_OUTCOMES).values(command_id=id, at=now))
                return None
        except DBAPIError as error:
            if OUTCOMES in str(error.orig) and not isinstance(error, IntegrityError):
                raise RuntimeError(
                    f"the table {OUTCOMES} can't be used: {_first_line(error)}; have"
                    " database.prepare() called when the app starts, or add outcomes_table() to"
                    " its migrations"
                ) from error
            raise
        outcome = await self._connection.scalar(select(_OUTCOMES.c.outcome).where(row))
        return None if outcome is None else str(outcome).encode()

    async def record(self, id: str, outcome: bytes) -> None:
        """See DatabaseTransaction."""
        row = _OUTCOMES.c.command_id == id
        await self._connection.execute(
            update(_OUTCOMES).where(row).values(outcome=outcome.decode())
        )

    def _table(self, entity: str) -> Table:
        table = self._tables.get(entity)
        if table is None:
            known = ", ".join(sorted(self._tables)) or "none"
            raise RowError(
                f"there is no entity {entity!r}; known: {known}; use the name of a table of the"
                " MetaData that SqlDatabase was given",
                code="UnknownEntity",
            )
        return table


def _key_names(table: Table) -> list[str]:
    return [column.key for column in table.primary_key.columns]


def _key(table: Table, key: RowKey) -> Row:
    """A primary key as columns and values; raises RowError."""
    names = _key_names(table)
    if not isinstance(key, Mapping):
        key = {names[0]: key} if len(names) == 1 else {}
    if not names or set(key) != set(names):
        raise RowError(
            f"{table.name}: a row is named by its whole primary key ({', '.join(names) or 'none'}),"
            f" not by {', '.join(key) or 'one value'}",
            code="BadField",
        )
    return _natives(table, key)


def _has_key(table: Table, key: RowKey) -> ColumnElement[bool]:
    return and_(*(table.c[name] == value for name, value in _key(table, key).items()))


def _natives(table: Table, values: Mapping[str, Any]) -> Row:
    """Plain values as the columns want them; raises RowError."""
    unknown = [name for name in values if name not in table.c]
    if unknown:
        raise RowError(
            f"{table.name} has no column {', '.join(map(repr, unknown))}; it has:"
            f" {', '.join(table.c.keys())}",
            code="BadField",
        )
    return {name: _native(table.c[name], value) for name, value in values.items()}


def _native(column: Column[Any], value: object) -> object:
    """A value of the column's Python type, out of its form in JSON where it has that."""
    try:
        type = column.type.python_type
    except NotImplementedError:
        return value
    if value is None or isinstance(column.type, JSON) or isinstance(value, type):
        return value
    try:
        return msgspec.convert(value, type, strict=False)
    except msgspec.ValidationError as error:
        raise RowError(
            f"{column.table.name}.{column.name} takes {type.__name__}: {error}", code="BadField"
        ) from None


def _plain(table: Table, row: Mapping[Any, Any]) -> Row:
    """A row as JSON has it; raises RowError for a column that JSON can't hold."""
    try:
        return msgspec.json.decode(msgspec.json.encode(dict(row)))
    except TypeError as error:
        raise RowError(
            f"{table.name} holds what can't be kept in history: {error}; use own statements for it",
            code="BadField",
        ) from None


def _missing(entity: str) -> RowError:
    return RowError(
        f"{entity}: there is no row with this key; it may have been deleted", code="RowMissing"
    )


def _refused(entity: str, error: IntegrityError) -> RowError:
    """What a constraint says, without the values that later lines quote."""
    return RowError(f"{entity}: the database refuses it: {_first_line(error)}", code="RowRefused")


def _first_line(error: DBAPIError) -> str:
    lines: Iterable[str] = str(error.orig).splitlines()
    return next(iter(lines), type(error.orig).__name__)
