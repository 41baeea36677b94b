"""Sets of the archive in Parquet: messages in the order of the log, subjects sorted by name.

Any program that reads Parquet can read them. A payload is stored byte for byte (``data``), headers
are a JSON object or absent, times are nanoseconds since 1970, UTC. Files are compressed with zstd
and get their names when they are whole and synced.
"""

from __future__ import annotations

import os
import threading
from array import array
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import nanoarrow  # pyright: ignore[reportMissingTypeStubs]

from store.archive.catalog import ArchivedFile, ArchivedSet, ArchiveError
from store.archive.port import ArchivedSubject, SetWriter
from store.durable import file_hash, sync_folder
from store.port import NO_HEADERS, Stored

na: Any = nanoarrow  # it has types for parts only

FETCH = 2_000  # messages at once
MEMORY = "1GB"  # one row group of large payloads must fit
ROW_GROUP = 2_048  # the fewest there may be: an instance is found by reading a few of these

MESSAGES = (
    "CREATE TABLE messages (seq BIGINT, at_ns BIGINT, subject VARCHAR, headers VARCHAR, data BLOB)"
)
SUBJECTS = (
    "CREATE TABLE subjects (subject VARCHAR, kind VARCHAR, saga VARCHAR, key VARCHAR,"
    " version BIGINT, status VARCHAR, first BIGINT, last BIGINT, messages BIGINT, hash VARCHAR,"
    " ids BOOLEAN)"
)
ADD = {
    "messages": "INSERT INTO messages SELECT * FROM rows_given",
    "subjects": "INSERT INTO subjects SELECT * FROM rows_given",
}
FIND = """
SELECT s.* EXCLUDE (filename), s.filename FROM read_parquet($paths, filename = true) AS s
SEMI JOIN wanted ON s.subject = wanted.wanted ORDER BY s.last
"""
WRITE = "COPY ({rows}) TO '{path}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {rows_max})"
READ = "SELECT subject, seq, at_ns, data, headers FROM read_parquet($path)"

_headers = msgspec.json.Decoder(dict[str, str])


class ParquetSets:
    """``store.archive.port.SetFiles``; one connection is opened when it is first needed, and kept,
    since opening one takes as long as a query.
    """

    def __init__(self) -> None:
        self._database: duckdb.DuckDBPyConnection | None = None
        self._lock = threading.Lock()

    def begin(self, folder: Path, id: str) -> SetWriter:
        """See SetFiles."""
        folder.mkdir(parents=True, exist_ok=True)
        return _Writer(folder, id)

    def messages(
        self, folder: Path, one: ArchivedSet, after: int = 0
    ) -> Iterator[Sequence[Stored]]:
        """See SetFiles."""
        sql = f"{READ} WHERE seq > $after"  # files are read in their own order
        for rows in self._rows(folder / one.messages_file.file, sql, {"after": after}):
            yield [_stored(row) for row in rows]

    def subjects(self, folder: Path, one: ArchivedSet) -> Iterator[Sequence[ArchivedSubject]]:
        """See SetFiles."""
        sql = "SELECT * FROM read_parquet($path)"
        for rows in self._rows(folder / one.subjects_file.file, sql, {}):
            yield [_subject(row) for row in rows]

    def find(
        self, folder: Path, sets: Sequence[ArchivedSet], subjects: Sequence[str]
    ) -> list[tuple[str, ArchivedSubject]]:
        """See SetFiles."""
        ids = {str(folder / one.subjects_file.file): one.id for one in sets}
        if not ids or not subjects:
            return []
        with self._reading(folder) as connection:
            connection.register("wanted", _texts("wanted", subjects))
            connection.execute(FIND, {"paths": list(ids)})
            rows = connection.fetchall()
        return [(ids[row[-1]], _subject(row[:-1])) for row in rows]

    def history(self, folder: Path, one: ArchivedSet, subject: ArchivedSubject) -> Sequence[Stored]:
        """See SetFiles."""
        sql = f"{READ} WHERE seq BETWEEN $first AND $last AND subject = $subject ORDER BY seq"
        about = {"first": subject.first, "last": subject.last, "subject": subject.subject}
        found = self._rows(folder / one.messages_file.file, sql, about)
        return [_stored(row) for rows in found for row in rows]

    def at(self, folder: Path, one: ArchivedSet, seq: int) -> Stored | None:
        """See SetFiles."""
        path = folder / one.messages_file.file
        parts = list(self._rows(path, f"{READ} WHERE seq = $seq", {"seq": seq}))
        return _stored(parts[0][0]) if parts else None

    @contextmanager
    def _reading(self, path: Path) -> Generator[duckdb.DuckDBPyConnection]:
        """A connection for one query, on a database of nothing; its errors name the archive."""
        try:
            with self._lock:
                if self._database is None:
                    self._database = duckdb.connect(config={"memory_limit": MEMORY, "threads": 2})
                connection = self._database.cursor()
            with connection:
                yield connection
        except (duckdb.Error, msgspec.MsgspecError) as error:
            raise ArchiveError(
                f"{path} can't be read ({error}); take it from a backup, nothing else holds it"
            ) from error

    def _rows(self, path: Path, sql: str, parameters: dict[str, Any]) -> Iterator[list[Any]]:
        with self._reading(path) as connection:
            connection.execute(sql, {"path": str(path), **parameters})
            while rows := connection.fetchmany(FETCH):
                yield rows


class _Writer:
    """Collects in a database file beside the set, which goes with ``close`` and ``drop``."""

    def __init__(self, folder: Path, id: str) -> None:
        self._folder = folder
        self._id = id
        self._scratch = folder / f"{id}.scratch"
        self._scratch.unlink(missing_ok=True)
        self._database: duckdb.DuckDBPyConnection | None = None
        try:
            self._database = duckdb.connect(
                str(self._scratch),
                config={"memory_limit": MEMORY, "threads": 1, "temp_directory": str(folder)},
            )
            self._database.execute(MESSAGES)
            self._database.execute(SUBJECTS)
        except duckdb.Error as error:
            self.drop()
            raise ArchiveError(f"{folder} can't be written: {error}; make room there") from error

    def add(self, messages: Sequence[Stored]) -> None:
        """See SetWriter."""
        self._run("messages", _message_rows(messages))

    def close(self, subjects: Sequence[ArchivedSubject]) -> tuple[ArchivedFile, ArchivedFile]:
        """See SetWriter."""
        for begin in range(0, len(subjects), FETCH):
            self._run("subjects", _subject_rows(subjects[begin : begin + FETCH]))
        messages = self._write("messages", "SELECT * FROM messages ORDER BY seq")
        named = self._write("subjects", "SELECT * FROM subjects ORDER BY subject")
        self.drop()
        sync_folder(self._folder)
        return messages, named

    def drop(self) -> None:
        """See SetWriter."""
        database, self._database = self._database, None
        if database is not None:
            database.close()
        for path in (self._scratch, self._scratch.with_name(f"{self._scratch.name}.wal")):
            path.unlink(missing_ok=True)

    def _run(self, table: str, rows: Any) -> None:
        database = self._open()
        try:
            database.register("rows_given", rows)
            database.execute(ADD[table])
        except duckdb.Error as error:
            raise ArchiveError(
                f"{self._folder} can't be written: {error}; make room there and try again"
            ) from error
        finally:
            database.unregister("rows_given")

    def _write(self, what: str, rows: str) -> ArchivedFile:
        path = self._folder / f"{self._id}.{what}.parquet"
        part = path.with_suffix(".part")
        quoted = str(part).replace("'", "''")
        try:
            self._open().execute(WRITE.format(rows=rows, path=quoted, rows_max=ROW_GROUP))
        except duckdb.Error as error:
            part.unlink(missing_ok=True)
            raise ArchiveError(
                f"{path} can't be written: {error}; make room there and try again"
            ) from error
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
        return ArchivedFile(file=path.name, bytes=path.stat().st_size, sha256=file_hash(path))

    def _open(self) -> duckdb.DuckDBPyConnection:
        if self._database is None:
            raise RuntimeError("the set is closed")
        return self._database


def _stored(row: Sequence[Any]) -> Stored:
    subject, seq, at_ns, data, headers = row
    return Stored(subject, seq, at_ns, data, _headers.decode(headers) if headers else NO_HEADERS)


def _subject(row: Sequence[Any]) -> ArchivedSubject:
    names = ArchivedSubject.__struct_fields__
    return ArchivedSubject(**dict(zip(names, row, strict=True)))


# --- into the database: one buffer a column


def _message_rows(messages: Sequence[Stored]) -> Any:
    headers = [msgspec.json.encode(dict(one.headers)) if one.headers else b"" for one in messages]
    return _table(
        len(messages),
        seq=_ints([one.seq for one in messages]),
        at_ns=_ints([one.at_ns for one in messages]),
        subject=_bytes(na.string(), [one.subject.encode() for one in messages]),
        headers=_bytes(na.string(), headers),
        data=_bytes(na.binary(), [one.data for one in messages]),
    )


def _subject_rows(subjects: Sequence[ArchivedSubject]) -> Any:
    def text(values: Sequence[str]) -> Any:
        return _bytes(na.string(), [value.encode() for value in values])

    return _table(
        len(subjects),
        subject=text([one.subject for one in subjects]),
        kind=text([one.kind for one in subjects]),
        saga=text([one.saga for one in subjects]),
        key=text([one.key for one in subjects]),
        version=_ints([one.version for one in subjects]),
        status=text([one.status for one in subjects]),
        first=_ints([one.first for one in subjects]),
        last=_ints([one.last for one in subjects]),
        messages=_ints([one.messages for one in subjects]),
        hash=text([one.hash for one in subjects]),
        ids=_ints([int(one.ids) for one in subjects]),
    )


def _texts(name: str, values: Sequence[str]) -> Any:
    return _table(len(values), **{name: _bytes(na.string(), [one.encode() for one in values])})


def _table(count: int, **columns: tuple[Any, Any]) -> Any:
    schema = na.struct({name: type for name, (type, _) in columns.items()})
    children = [values for _, values in columns.values()]
    return na.Array(na.c_array_from_buffers(schema, count, [None], children=children, null_count=0))


def _ints(values: Sequence[int]) -> tuple[Any, Any]:
    made = na.c_array_from_buffers(
        na.int64(), len(values), [None, array("q", values)], null_count=0
    )
    return na.int64(), made


def _bytes(type: Any, values: Sequence[bytes]) -> tuple[Any, Any]:
    offsets = array("i", list(accumulate(map(len, values), initial=0)))
    joined = b"".join(values)
    made = na.c_array_from_buffers(type, len(values), [None, offsets, joined], null_count=0)
    return type, made
