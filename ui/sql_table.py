"""What a page shows of an answer of the SQL console: the first rows, long values cut, as text.

The whole answer is a download away. Reading stops at ``ROWS_SHOWN`` rows or ``BYTES_SHOWN`` bytes,
so a page stays small whatever was asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import msgspec
from msgspec import Raw, Struct

from store.projection.console import Answer, Freshness, ResultColumn
from ui.format import number, pretty

ROWS_SHOWN = 500
BYTES_SHOWN = 2_000_000
TEXT_SHOWN = 90  # characters of a value; the rest opens
WHOLE_SHOWN = 10_000

_ROW = msgspec.json.Decoder(list[Raw])


class Cell(Struct, frozen=True):
    """One value: ``text`` in the table, ``whole`` (empty when ``text`` is it) when it is opened.

    ``number`` is its value where it is one; ``null`` says that there is none.
    """

    text: str
    whole: str = ""
    number: float | None = None
    null: bool = False


class Table(Struct, frozen=True, kw_only=True):
    """The rows that are shown of an answer.

    ``cut`` says in words what is missing of it, empty when it is whole; ``saga_at`` and ``key_at``
    are the places of the columns that name an instance, None unless there are both.
    """

    columns: tuple[ResultColumn, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: frozenset[int]
    cut: str
    elapsed_ms: float
    freshness: Freshness
    saga_at: int | None
    key_at: int | None


def read_table(answer: Answer) -> Table:
    """The first rows of an answer in the format json; closes its file. Blocks on the disk."""
    rows: list[tuple[Cell, ...]] = []
    with answer.file as file:
        for line in _lines(file):
            rows.append(tuple(map(_cell, _ROW.decode(line))))
            if file.tell() > BYTES_SHOWN:
                break
    names = [column.name.lower() for column in answer.columns]
    named = "saga" in names and "key" in names
    return Table(
        columns=answer.columns,
        rows=tuple(rows),
        numeric=frozenset(i for i in range(len(names)) if _is_numeric([row[i] for row in rows])),
        cut=_cut(answer, len(rows)),
        elapsed_ms=answer.elapsed_ms,
        freshness=answer.freshness,
        saga_at=names.index("saga") if named else None,
        key_at=names.index("key") if named else None,
    )


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The rows of the JSON array, each of which is a line of the file."""
    first = True
    while line := file.readline().strip():
        row = line[1:] if first else line
        first = False
        # The last row is followed by the end of the array, others by a comma.
        if row := row[:-1]:
            yield row


def _cell(raw: Raw) -> Cell:
    data = bytes(raw)
    if data == b"null":
        return Cell("NULL", null=True)
    if data[:1] == b'"':
        return _shortened(msgspec.json.decode(data, type=str))
    if data[:1] in b"{[":
        return _shortened(data.decode())
    text = data.decode()
    return Cell(text, number=None if text in ("true", "false") else float(text))


def _shortened(text: str) -> Cell:
    """A long text is cut; opened, it is shown in lines, JSON laid out."""
    if len(text) <= TEXT_SHOWN and "\n" not in text:
        return Cell(text)
    return Cell(text[:TEXT_SHOWN].replace("\n", " ") + "…", pretty(text.encode(), WHOLE_SHOWN))


def _is_numeric(cells: Sequence[Cell]) -> bool:
    return any(cell.number is not None for cell in cells) and all(
        cell.number is not None or cell.null for cell in cells
    )


def _cut(answer: Answer, shown: int) -> str:
    if answer.truncated == "bytes":
        return f"The answer was cut at the size it may have; the first {number(shown)} rows."
    if answer.truncated or shown < answer.rows:
        return f"The first {number(shown)} rows; a download has more."
    return ""
