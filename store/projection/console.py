"""The port of the SQL console: questions of people over the projections, and all their limits.

Whatever is asked runs apart from the service that serves it, on a copy that is a few seconds old at
most: a question can neither write, nor read anything but the projections, nor take more time,
memory or room than stands here. Trusted queries of our own go through ``ReadModel``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import BinaryIO, Literal, Protocol, TypeAlias, get_args

from msgspec import Struct

Format: TypeAlias = Literal["json", "csv", "parquet", "arrow"]
FORMATS: tuple[Format, ...] = get_args(Format)
MEDIA_TYPES: Mapping[Format, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}

SQL_CHARACTERS_MAX = 100_000
PARAMETERS_MAX = 100
ROWS_DEFAULT, ROWS_MAX = 10_000, 1_000_000
TIME_DEFAULT_S, TIME_MAX_S = 10.0, 60.0
BYTES_MAX = 64 * 1024 * 1024  # of an answer
MEMORY_BYTES_MAX = 512 * 1024 * 1024  # of a query
QUERIES_MAX = 4  # at once in a process
AGE_MAX_S = 5.0  # of the copy that is read

Code: TypeAlias = Literal[
    "error",  # the SQL is wrong, or failed on the data
    "refused",  # not a question, or one that reaches for more than the projections
    "time_limit",
    "memory_limit",
    "size_limit",
    "busy",
    "unavailable",
]


class Place(Struct, frozen=True):
    """Where in the SQL something is: line and column from 1, offset from 0, in characters."""

    line: int
    column: int
    offset: int


class QueryError(Exception):
    """A query got no answer; the message says why, ``next`` what to do about it."""

    def __init__(self, code: Code, message: str, next: str, place: Place | None = None) -> None:
        super().__init__(message)
        self.code: Code = code
        self.next = next
        self.place = place


class Query(Struct, frozen=True, kw_only=True):
    """One question. ``parameters`` are values for ``?`` and ``$1``, or by name for ``$name``;
    what is read holds the log up to ``log_seq`` at least.
    """

    sql: str
    parameters: Sequence[object] | Mapping[str, object] | None = None
    format: Format = "json"
    rows_max: int = ROWS_DEFAULT
    time_max_s: float = TIME_DEFAULT_S
    log_seq: int = 0


class ResultColumn(Struct, frozen=True):
    """A column of an answer with its DuckDB type."""

    name: str
    type: str


class Freshness(Struct, frozen=True, kw_only=True):
    """What an answer has read: everything up to these sequences, complete ``age_s`` seconds ago.

    ``lag`` counts the messages that were stored by then and are not in it.
    """

    log_seq: int
    events_seq: int
    lag: int
    age_s: float


class Answer(Struct, kw_only=True):
    """The result of a query. ``file`` holds it from its start, in ``bytes`` bytes; close it.

    In the format json the file is the array of rows alone, each an array of values. ``truncated``
    says which limit cut it, empty when it is whole.
    """

    format: Format
    columns: tuple[ResultColumn, ...]
    rows: int
    bytes: int
    truncated: Literal["", "rows", "bytes"]
    elapsed_ms: float
    freshness: Freshness
    file: BinaryIO


class Console(Protocol):
    """Answers questions, each in a process of its own that ends with it."""

    async def ask(self, query: Query) -> Answer:
        """The answer; cancelling the task ends the query at once. Raises QueryError."""
        ...
