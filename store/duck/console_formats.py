"""Writes the result of a question into a file, in one of the formats, up to its limits.

DuckDB turns rows into text or Parquet by itself; a value crosses into Python as a finished string
at most. Text is cut after a whole row when the answer grows too large; Parquet and Arrow can't be.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import duckdb
import nanoarrow  # pyright: ignore[reportMissingTypeStubs]
from msgspec import Struct
from nanoarrow import ipc  # pyright: ignore[reportMissingTypeStubs]

from store.duck.console_task import Task
from store.projection.console import ResultColumn

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# They have no types for what is used here.
na: Any = nanoarrow
na_ipc: Any = ipc

ROWS_AT_ONCE = 2048
NUMBERS = (
    *("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER"),
    *("UBIGINT", "UHUGEINT", "BIGNUM", "FLOAT", "DOUBLE", "DECIMAL"),
)
# What a spreadsheet would take for a formula at the beginning of a cell.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

_DATE_TIME = "%Y-%m-%dT%H:%M:%S.%f"


class Statement(Struct, frozen=True, kw_only=True):
    """SQL made around somebody's: ``shift`` is where in it theirs begins, in bytes."""

    sql: str
    shift: int


class Written(Struct, frozen=True):
    """How much was written, and which limit cut it."""

    rows: int
    truncated: Literal["", "rows", "bytes"]


class TooLarge(Exception):
    """The answer would take more bytes than it may."""


class StreamFailed(Exception):
    """The engine failed while its rows were read as Arrow; the message is the engine's."""


class Runner:
    """Runs statements with the parameters of the question, one after the other."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, parameters: object) -> None:
        self._connection = connection
        self._parameters: Any = parameters  # a list or a dict, as DuckDB takes them
        self.shift = 0  # of the statement that ran last

    def rows(self, statement: Statement) -> duckdb.DuckDBPyConnection:
        """Run it; the rows are fetched as they are made."""
        self.shift = statement.shift
        return self._connection.execute(statement.sql, self._parameters)

    def relation(self, statement: Statement) -> duckdb.DuckDBPyRelation:
        """The same, for who takes rows as Arrow."""
        self.shift = statement.shift
        return self._connection.sql(statement.sql, params=self._parameters)


def around(before: str, sql: str, after: str) -> Statement:
    """``sql`` between two texts of ours; a comment at its end does not reach what follows."""
    return Statement(sql=f"{before}{sql}\n{after}", shift=len(before.encode()))


def write(runner: Runner, task: Task, kind: str, columns: Sequence[ResultColumn]) -> Written:
    """Write the answer; raises TooLarge, duckdb.Error."""
    with open(task.output, "r+b") as file:
        match task.format:
            case "json":
                return _write_json(_rows(runner, task, kind, _as_json(columns)), file, task)
            case "csv":
                return _write_csv(_rows(runner, task, kind, _as_text(columns)), file, task, columns)
            case "parquet":
                return _write_parquet(runner, task)
            case "arrow":
                return _write_arrow(runner, task, file)


def _rows(runner: Runner, task: Task, kind: str, selected: str) -> Iterator[tuple[Any, ...]]:
    """Rows of texts, one more than asked for when there are more."""
    if kind == "explain":
        # Not a relation: nothing can be selected from it. Its rows are texts already.
        found = runner.rows(around("", task.sql, ""))
        as_json = task.format == "json"
        for row in found.fetchall():
            yield (json.dumps(row, ensure_ascii=False),) if as_json else row
        return
    names = ", ".join(f"c{i}" for i in range(selected.count(_MARK)))
    before = f"SELECT {selected.replace(_MARK, '')} FROM ("  # noqa: S608 - made of numbers
    found = runner.rows(around(before, task.sql, f") AS q({names}) LIMIT {task.rows_max + 1}"))
    while rows := found.fetchmany(ROWS_AT_ONCE):
        yield from rows


_MARK = "\x00"  # one in the selected text for each column of the question


def _as_json(columns: Sequence[ResultColumn]) -> str:
    return f"json_array({', '.join(_json_of(i, c.type) for i, c in enumerate(columns))})"


def _json_of(index: int, type: str) -> str:
    name = f"{_MARK}c{index}"
    match type:
        case "TIMESTAMP WITH TIME ZONE":
            return f"strftime(timezone('UTC', {name}), '{_DATE_TIME}Z')"
        case "TIMESTAMP" | "TIMESTAMP_S" | "TIMESTAMP_MS" | "TIMESTAMP_NS":
            return f"strftime({name}::TIMESTAMP, '{_DATE_TIME}')"
        case _:
            return name


def _as_text(columns: Sequence[ResultColumn]) -> str:
    return ", ".join(f"{_MARK}c{i}::VARCHAR" for i in range(len(columns)))


def _write_json(rows: Iterator[tuple[Any, ...]], file: BinaryIO, task: Task) -> Written:
    """An array of arrays, a row on each line."""
    count, size = 0, file.write(b"[")
    for (text,) in rows:
        line = (",\n" if count else "") + _standard(text)
        data = line.encode(errors="replace")
        if count == task.rows_max or size + len(data) + 1 > task.bytes_max:
            file.write(b"]")
            return Written(count, "rows" if count == task.rows_max else "bytes")
        size += file.write(data)
        count += 1
    file.write(b"]")
    return Written(count, "")


def _standard(text: str) -> str:
    """JSON as others read it: no number that is none."""
    if "NaN" not in text and "Infinity" not in text:
        return text
    value = json.loads(text, parse_constant=lambda _: None)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _write_csv(
    rows: Iterator[tuple[Any, ...]],
    file: BinaryIO,
    task: Task,
    columns: Sequence[ResultColumn],
) -> Written:
    """With a line of names; what a spreadsheet would take for a formula gets a quote before it."""
    texts = [not column.type.startswith(NUMBERS) for column in columns]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow([_harmless(column.name) for column in columns])
    count, size = 0, 0
    for row in rows:
        size += file.write(_take(buffer))
        if count == task.rows_max:
            return Written(count, "rows")
        cells = zip(row, texts, strict=True)
        writer.writerow([_harmless(cell) if text and cell else cell for cell, text in cells])
        if size + buffer.tell() * 4 > task.bytes_max:
            line = _take(buffer)
            if size + len(line) > task.bytes_max:
                return Written(count, "bytes")
            size += file.write(line)
        count += 1
    file.write(_take(buffer))
    return Written(count, "")


def _take(buffer: io.StringIO) -> bytes:
    """What stands in the buffer, which is empty then."""
    data = buffer.getvalue().encode(errors="replace")
    buffer.seek(0)
    buffer.truncate()
    return data


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell


def _write_parquet(runner: Runner, task: Task) -> Written:
    output = task.output.replace("'", "''")
    options = "(FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)"
    after = f") LIMIT {task.rows_max}) TO '{output}' {options}"
    try:
        [(count,)] = runner.rows(around("COPY (SELECT * FROM (", task.sql, after)).fetchall()
    except duckdb.IOException as error:
        raise TooLarge from error  # there is no other file it could fail on
    if os.path.getsize(task.output) > task.bytes_max:
        raise TooLarge
    return Written(count, _is_cut(runner, task, count))


def _write_arrow(runner: Runner, task: Task, file: BinaryIO) -> Written:
    """The stream format of Arrow IPC."""
    found = runner.relation(around("FROM (", task.sql, f") LIMIT {task.rows_max}"))
    bounded = _Bounded(file, task.bytes_max)
    count = 0
    try:
        with (
            na.c_array_stream(found) as batches,
            na_ipc.StreamWriter.from_writable(bounded) as writer,
        ):
            writer.write_stream(na.c_array_stream([], schema=batches.get_schema()))
            for batch in batches:
                writer.write_array(batch)
                count += len(batch)
    except RuntimeError as error:  # all that nanoarrow knows of what went wrong is its text
        if bounded.full:
            raise TooLarge from error
        raise StreamFailed(str(error).partition("): ")[2]) from error
    return Written(count, _is_cut(runner, task, count))


class _Bounded(io.RawIOBase):
    """A file that takes so many bytes and no more."""

    def __init__(self, file: BinaryIO, bytes_max: int) -> None:
        self._file = file
        self._left = bytes_max
        self.full = False

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer) -> int:
        """Write all of it, or nothing: raises OSError."""
        size = memoryview(data).nbytes
        if size > self._left:
            self.full = True
            raise OSError(errno.EFBIG, "too large")
        self._left -= size
        return self._file.write(data)


def _is_cut(runner: Runner, task: Task, rows: int) -> Literal["", "rows"]:
    """Whether there are more rows than were written; asked again only when the limit was met."""
    if rows < task.rows_max:
        return ""
    after = f") LIMIT 1 OFFSET {task.rows_max}"
    return "rows" if runner.rows(around("SELECT 1 FROM (", task.sql, after)).fetchall() else ""
