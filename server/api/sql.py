"""SQL over history: questions of people and programs, read-only, each with limits that say so.

What may be asked and how it is kept apart from this process is in ``store.duck.console_child``.
"""

from __future__ import annotations

from typing import Annotated, Any

from litestar import get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, JSONBody
from litestar.response import Stream
from msgspec import Meta, Struct

from server.access.roles import ROLE
from server.api.lists import WaitFor, settle
from server.api.parameters import Parts
from server.api.shown import Asked
from server.api.sql_answers import (
    SqlAnswer,
    SqlOperation,
    format_of,
    respond,
    to_problem,
)
from server.api.sql_asking import ask_for
from store.projection import samples, schema
from store.projection.console import (
    AGE_MAX_S,
    BYTES_MAX,
    MEDIA_TYPES,
    MEMORY_BYTES_MAX,
    PARAMETERS_MAX,
    QUERIES_MAX,
    ROWS_DEFAULT,
    ROWS_MAX,
    SQL_CHARACTERS_MAX,
    TIME_DEFAULT_S,
    TIME_MAX_S,
    Query,
    QueryError,
)

EXAMPLE = "SELECT status, count(*) AS instances FROM instances WHERE saga = $saga GROUP BY ALL"


class SqlBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A question."""

    sql: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=SQL_CHARACTERS_MAX,
            description="One SELECT, FROM, WITH, VALUES, DESCRIBE, SUMMARIZE or EXPLAIN",
            examples=[EXAMPLE],
        ),
    ]
    params: Annotated[
        list[Any] | dict[str, Any] | None,  # whatever JSON has for the placeholders
        Meta(
            description=f"Up to {PARAMETERS_MAX} values for `?` or `$1` (a list), by name for"
            " `$name` (an object)",
            examples=[{"saga": "CheckoutSaga"}],
        ),
    ] = None
    limit: Annotated[
        int, Meta(ge=1, le=ROWS_MAX, description="Rows; `truncated` says when there are more")
    ] = ROWS_DEFAULT
    timeout_ms: Annotated[
        int, Meta(ge=10, le=round(TIME_MAX_S * 1000), description="After that it is ended")
    ] = round(TIME_DEFAULT_S * 1000)


class SchemaColumn(Struct, frozen=True):
    """A column."""

    name: str
    type: Annotated[str, Meta(description="DuckDB type")]
    doc: str


class SchemaRelation(Struct, frozen=True):
    """A table that can be asked."""

    name: str
    doc: str
    columns: tuple[SchemaColumn, ...]


class SchemaMacro(Struct, frozen=True):
    """A function of ours: its arguments go by position."""

    name: str
    call: Annotated[str, Meta(examples=["history(saga, key)"])]
    table: Annotated[bool, Meta(description="It gives rows and stands in FROM")]
    doc: str


class SqlLimits(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a question may take."""

    rows_default: int = ROWS_DEFAULT
    rows_max: int = ROWS_MAX
    timeout_ms_default: int = round(TIME_DEFAULT_S * 1000)
    timeout_ms_max: int = round(TIME_MAX_S * 1000)
    bytes_max: Annotated[int, Meta(description="Of an answer")] = BYTES_MAX
    memory_bytes_max: int = MEMORY_BYTES_MAX
    queries_max: Annotated[int, Meta(description="At once")] = QUERIES_MAX
    age_seconds_max: Annotated[float, Meta(description="Of what is read")] = AGE_MAX_S


class SqlSchema(Struct, frozen=True, kw_only=True, rename="camel"):
    """What can be asked, for completion and for reading."""

    version: Annotated[int, Meta(description="Changes with the meaning of any column")]
    relations: tuple[SchemaRelation, ...]
    macros: tuple[SchemaMacro, ...]
    formats: Annotated[tuple[str, ...], Meta(description="Media types for Accept")]
    limits: SqlLimits


class SampleQuery(Struct, frozen=True, kw_only=True):
    """A query to start from."""

    name: str
    title: str
    question: Annotated[str, Meta(description="What it answers")]
    sql: str
    params: Annotated[dict[str, Any], Meta(description="Values to try it with")]


class SampleQueries(Struct, frozen=True):
    """Queries to start from."""

    items: tuple[SampleQuery, ...]


@post(
    "/api/v1/sql",
    status_code=200,
    opt={ROLE: "viewer"},
    operation_id="query",
    operation_class=SqlOperation,
    responses={200: ResponseSpec(SqlAnswer, description="Rows", generate_examples=False)},
    summary="Ask history in SQL",
)
async def ask(
    request: Asked,
    deps: Parts,
    data: JSONBody[SqlBody],
    wait_for: WaitFor = None,
    accept: Annotated[
        str | None,
        HeaderParameter(name="accept", description=f"One of {', '.join(MEDIA_TYPES.values())}"),
    ] = None,
) -> Stream:
    """Run one read-only query over the projections, with parameters and limits.

    The answer is JSON, CSV, Parquet or an Arrow stream, as `Accept` says. An error names the line,
    column and offset in the SQL. When the client goes away the query is ended.
    """
    query = Query(
        sql=data.sql,
        parameters=data.params,
        format=format_of(accept),
        rows_max=data.limit,
        time_max_s=data.timeout_ms / 1000,
        log_seq=wait_for or 0,
    )
    await settle(deps.read, wait_for)
    try:
        answer = await ask_for(deps, request, query)
    except QueryError as error:
        raise to_problem(error) from error
    return respond(answer, data.limit)


@get("/api/v1/sql/schema", opt={ROLE: "viewer"}, operation_id="sqlSchema", summary="What to ask")
async def describe() -> SqlSchema:
    """All relations and columns with what they mean, the functions, formats and limits."""
    return SqlSchema(
        version=schema.VERSION,
        relations=tuple(
            SchemaRelation(
                relation.name,
                relation.doc,
                tuple(SchemaColumn(c.name, c.type, c.doc) for c in relation.columns),
            )
            for relation in schema.RELATIONS
        ),
        macros=tuple(SchemaMacro(m.name, m.call, m.table, m.doc) for m in schema.MACROS),
        formats=tuple(MEDIA_TYPES.values()),
        limits=SqlLimits(),
    )


@get("/api/v1/sql/queries", opt={ROLE: "viewer"}, operation_id="sqlQueries", summary="Samples")
async def queries() -> SampleQueries:
    """Useful queries with what they answer, ready to be changed."""
    return SampleQueries(
        tuple(
            SampleQuery(
                name=one.name,
                title=one.title,
                question=one.question,
                sql=one.sql,
                params=dict(one.parameters),
            )
            for one in samples.SAMPLES
        )
    )


ROUTES = (ask, describe, queries)
