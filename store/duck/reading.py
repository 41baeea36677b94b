"""Reads of one DuckDB file: each query on a cursor of its own in a small pool of threads.

Cancelling a read interrupts its query. Rows become Structs without a detour: JSON as ``Raw``, times
in UTC, by the order of the fields' names among the columns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import duckdb
import msgspec
from msgspec import Raw, Struct

from store.projection.port import ReadError

R = TypeVar("R")

THREADS = 4
PARSED_MAX = 500


class Readers:
    """The threads that read; they belong to no file, so a file can be replaced under them."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, "projection-read")
        self._parsed: dict[str, duckdb.Statement] = {}

    async def fetch(
        self,
        cursor: Callable[[], duckdb.DuckDBPyConnection],
        sql: str,
        parameters: Mapping[str, object],
        row: type[R],
    ) -> list[R]:
        """See ReadModel; ``cursor`` opens one on the file to read. Raises duckdb.Error."""
        query = _Query(cursor, self._statement, sql, parameters, row)
        future = asyncio.get_running_loop().run_in_executor(self._pool, query.run)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            query.cancel()
            future.add_done_callback(_forget)
            raise

    def close(self) -> None:
        """Let the queries that run end, take no more."""
        self._pool.shutdown(wait=True)

    def _statement(self, cursor: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
        """A query that is parsed once: of long ones that takes milliseconds each time."""
        found = self._parsed.get(sql)
        if found is None:
            (found,) = cursor.extract_statements(sql)
            if len(self._parsed) >= PARSED_MAX:  # conditions of people make ever new ones
                self._parsed.clear()
            self._parsed[sql] = found
        return found


class _Query:
    """One query on its way; ``cancel`` may come from another thread at any time."""

    def __init__(
        self,
        cursor: Callable[[], duckdb.DuckDBPyConnection],
        parse: Callable[[duckdb.DuckDBPyConnection, str], duckdb.Statement],
        sql: str,
        parameters: Mapping[str, object],
        row: type[Any],
    ) -> None:
        self._open = cursor
        self._parse = parse
        self._cursor: duckdb.DuckDBPyConnection | None = None
        self._cancelled = False
        self._sql = sql
        self._parameters = dict(parameters)
        self._row = row

    def run(self) -> list[Any]:
        """The rows; runs in a thread of the pool."""
        if self._cancelled:
            return []
        with self._open() as cursor:
            self._cursor = cursor
            cursor.execute(self._parse(cursor, self._sql), self._parameters)
            columns = cursor.description or []
            return to_structs(columns, cursor.fetchall(), self._row)

    def cancel(self) -> None:
        self._cancelled = True
        if self._cursor is not None:
            self._cursor.interrupt()


def to_structs(columns: Sequence[Any], rows: Sequence[Any], row: type[R]) -> list[R]:
    """Rows of a result as Structs of ``row``.

    Raises ReadError when a field has neither a column nor a default.
    """
    places = {column[0]: place for place, column in enumerate(columns)}
    json = {column[0] for column in columns if str(column[1]) == "JSON"}
    fields = msgspec.structs.fields(cast("type[Struct]", row))
    missing = [field.name for field in fields if field.required and field.name not in places]
    if missing:
        raise ReadError(f"the query has no column for {', '.join(missing)}; report this")
    order = [
        (places[field.name], field.name, field.name in json)
        for field in fields
        if field.name in places
    ]
    make: Callable[..., R] = row
    return [
        make(
            **{
                name: Raw(values[place].encode()) if raw and values[place] is not None
                else values[place]
                for place, name, raw in order
            }
        )
        for values in rows
    ]  # fmt: skip


def _forget(future: asyncio.Future[Any]) -> None:
    """Look at the error of a query nobody waits for, so that it is not told as lost."""
    if not future.cancelled():
        future.exception()
