"""How answers of the SQL console go out: which format is asked for, the body, its headers.

The answer is complete in a file before anything is sent, so its length is known and it is sent
piece by piece. What JSON says beside the rows stands in headers where the format has no place.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from litestar.datastructures.headers import Accept
from litestar.openapi.spec import OpenAPIMediaType, Operation, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from litestar.response import Stream
from msgspec import Meta, Struct

from server.api.problems import Problem
from store.projection.console import MEDIA_TYPES, Answer, Code, Format, QueryError

PIECE_BYTES = 256 * 1024
STATUS: dict[Code, tuple[int, str]] = {
    "error": (400, "The SQL can't be run"),
    "refused": (422, "This is not run here"),
    "time_limit": (422, "The query took too long"),
    "memory_limit": (422, "The query needs too much memory"),
    "size_limit": (422, "The answer is too large"),
    "busy": (429, "Too many queries at once"),
    "unavailable": (503, "No queries can be run now"),
}


class SqlColumn(Struct, frozen=True):
    """A column of an answer."""

    name: str
    type: Annotated[str, Meta(description="DuckDB type")]


class SqlFreshness(Struct, frozen=True, kw_only=True, rename="camel"):
    """What the query has read: a copy of the projections, a few seconds old at most."""

    seq: Annotated[int, Meta(description="Everything of the log up to this sequence")]
    events_seq: Annotated[int, Meta(description="Every event up to this sequence")]
    lag: Annotated[int, Meta(description="Messages that were stored and not in it")]
    lag_seconds: Annotated[float, Meta(description="How long ago it was complete")]


class SqlAnswer(Struct, frozen=True, kw_only=True, rename="camel"):
    """Rows as arrays of values, in the order of the columns; times are ISO 8601 in UTC."""

    columns: tuple[SqlColumn, ...]
    row_count: int
    truncated: Annotated[bool, Meta(description="Whether a limit cut it")]
    truncated_by: Annotated[str | None, Meta(description="`rows`: the limit; `bytes`: its size")]
    limit: int
    elapsed_ms: float
    projection: SqlFreshness
    rows: list[list[Any]]  # whatever was selected


class SqlOperation(Operation):
    """Documents the formats beside JSON."""

    def __post_init__(self) -> None:
        found = (self.responses or {}).get("200")
        content = getattr(found, "content", None)
        if content is not None:
            body = OpenAPIMediaType(
                schema=Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
            )
            content.update({MEDIA_TYPES[f]: body for f in MEDIA_TYPES if f != "json"})


def format_of(accept: str | None) -> Format:
    """The format that ``Accept`` asks for; raises Problem 406 with those there are."""
    best = Accept(accept or "*/*").best_match(list(MEDIA_TYPES.values()))
    for name, media_type in MEDIA_TYPES.items():
        if media_type == best:
            return name
    raise Problem(
        406,
        "not-acceptable",
        "No such format",
        f"An answer can't be given as {accept!r}.",
        f"Accept one of: {', '.join(MEDIA_TYPES.values())}.",
        {"available": list(MEDIA_TYPES.values())},
    )


def respond(answer: Answer, limit: int) -> Stream:
    """The response that sends ``answer``, closing its file."""
    if answer.format == "json":
        head, tail = _json_around(answer, limit)
    else:
        head, tail = b"", b""
    return Stream(
        _pieces(answer, head, tail),
        media_type=MEDIA_TYPES[answer.format],
        headers={
            "content-length": str(len(head) + answer.bytes + len(tail)),
            **_told(answer),
        },
        status_code=200,
    )


async def _pieces(answer: Answer, head: bytes, tail: bytes) -> AsyncIterator[bytes]:
    with answer.file as file:
        if head:
            yield head
        while piece := file.read(PIECE_BYTES):
            yield piece
        if tail:
            yield tail


def _json_around(answer: Answer, limit: int) -> tuple[bytes, bytes]:
    """What of the JSON document stands before the rows and after them."""
    document = SqlAnswer(
        columns=tuple(SqlColumn(column.name, column.type) for column in answer.columns),
        row_count=answer.rows,
        truncated=bool(answer.truncated),
        truncated_by=answer.truncated or None,
        limit=limit,
        elapsed_ms=round(answer.elapsed_ms, 1),
        projection=_freshness(answer),
        rows=[],
    )
    return msgspec.json.encode(document).removesuffix(b"[]}"), b"}"


def _freshness(answer: Answer) -> SqlFreshness:
    return SqlFreshness(
        seq=answer.freshness.log_seq,
        events_seq=answer.freshness.events_seq,
        lag=answer.freshness.lag,
        lag_seconds=round(answer.freshness.age_s, 3),
    )


def _told(answer: Answer) -> dict[str, str]:
    told = {
        "snorri-rows": str(answer.rows),
        "snorri-truncated": answer.truncated or "no",
        "snorri-elapsed-ms": f"{answer.elapsed_ms:.1f}",
        "snorri-projection-seq": str(answer.freshness.log_seq),
        "snorri-projection-lag-seconds": f"{answer.freshness.age_s:.3f}",
    }
    if answer.format != "json":
        told["content-disposition"] = f'attachment; filename="query.{answer.format}"'
    return told


def to_problem(error: QueryError) -> Problem:
    """The problem document of a query without an answer."""
    status, title = STATUS[error.code]
    more: dict[str, object] = {}
    if error.place is not None:
        more = msgspec.to_builtins(error.place)
    if status in (429, 503):
        more["retryable"] = True
    return Problem(
        status,
        f"sql-{error.code.replace('_', '-')}",
        title,
        str(error),
        error.next,
        more,
        {"Retry-After": "1"} if status in (429, 503) else None,
    )
