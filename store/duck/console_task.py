"""What the console and its child say to each other: one task in, one report out, as JSON lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from store.projection.console import Code, Format, Place, ResultColumn


class Task(Struct, frozen=True, kw_only=True):
    """One query with all that limits it; ``database`` and ``output`` are files."""

    sql: str
    parameters: Sequence[object] | Mapping[str, object] | None
    format: Format
    rows_max: int
    bytes_max: int
    memory_bytes: int
    threads: int
    cpu_s: int
    database: str
    output: str


class Fault(Struct, frozen=True, kw_only=True):
    """Why there is no answer, and what to do about it."""

    code: Code
    message: str
    next: str
    place: Place | None = None


class Report(Struct, frozen=True, kw_only=True):
    """What became of a task; the rows are in its output. ``defect`` is a traceback of ours."""

    fault: Fault | None = None
    defect: str = ""
    columns: tuple[ResultColumn, ...] = ()
    rows: int = 0
    truncated: Literal["", "rows", "bytes"] = ""
