"""Staged rows as Arrow arrays, the way into DuckDB that costs least from Python.

A column is one joined buffer and its offsets, built by a handful of C-level calls over the whole
column; nothing is done value by value unless a text has to be mended. Texts that are no UTF-8 are
replaced by what is, since the database trusts what it gets here.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from typing import Any, Protocol, assert_never

import nanoarrow  # pyright: ignore[reportMissingTypeStubs]

from store.projection.staged import Kind, Row, Table

na: Any = nanoarrow  # it has types for parts only


class Shown(Protocol):
    """Rows that the database can read."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...


class Staged:
    """A staged table as the database sees it: registered once, with other rows for each batch."""

    def __init__(self, table: Table) -> None:
        self._shown = to_arrow(table, ())

    def show(self, rows: Shown) -> None:
        """What is read from now on."""
        self._shown = rows

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._shown.__arrow_c_stream__(requested_schema)


def to_arrow(table: Table, rows: Sequence[Row]) -> Shown:
    """The rows, columns named as in ``table``."""
    return _empty_table(table) if not rows else _filled(table, list(zip(*rows, strict=True)))


@cache
def _empty_table(table: Table) -> Shown:
    return _filled(table, ((),) * len(table.columns))


def _filled(table: Table, columns: Sequence[Sequence[Any]]) -> Shown:
    children = [
        _column(kind, values) for (_, kind), values in zip(table.columns, columns, strict=True)
    ]
    schema = na.struct({name: _type(kind) for name, kind in table.columns})
    count = len(columns[0])
    whole = na.c_array_from_buffers(schema, count, [None], children=children, null_count=0)
    return na.Array(whole)


def _type(kind: Kind) -> Any:
    match kind:
        case "text" | "json":
            return na.string()
        case "int":
            return na.int64()
        case "flag":
            return na.int8()
        case "time":
            return na.timestamp("us", "UTC")
        case _:
            assert_never(kind)


def _column(kind: Kind, values: Sequence[Any]) -> Any:
    match kind:
        case "text":
            return _text(values)
        case "json":
            return _json(values)
        case "int":
            return _plain(kind, array("q", values), len(values))
        case "flag":
            return _plain(kind, array("b", values), len(values))
        case "time":
            return _plain(kind, array("q", [ns // 1000 for ns in values]), len(values))
        case _:
            assert_never(kind)


def _plain(kind: Kind, data: array[int], count: int) -> Any:
    return na.c_array_from_buffers(_type(kind), count, [None, data], null_count=0)


def _text(values: Sequence[str]) -> Any:
    joined = "".join(values)
    if not joined:
        return _empty(len(values))
    if joined.isascii():
        return _strings(values, joined.encode())
    parts = [value.encode("utf-8", "replace") for value in values]
    return _strings(parts, b"".join(parts))


def _json(values: Sequence[Any]) -> Any:
    joined = b"".join(values)
    if not joined.isascii():
        try:
            joined.decode()
        except UnicodeDecodeError:
            values = [bytes(value).decode("utf-8", "replace").encode() for value in values]
            joined = b"".join(values)
    return _strings(values, joined)


def _empty(count: int) -> Any:
    """So many empty texts."""
    return na.c_array_from_buffers(
        na.string(), count, [None, bytes(4 * count + 4), b""], null_count=0
    )


def _strings(parts: Sequence[Any], joined: bytes) -> Any:
    offsets = array("i", list(accumulate(map(len, parts), initial=0)))  # from a list it is quicker
    return na.c_array_from_buffers(na.string(), len(parts), [None, offsets, joined], null_count=0)
