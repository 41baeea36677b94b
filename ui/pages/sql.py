"""Questions to history in SQL: an editor, the answer as table and chart, files to take away.

A short query stands in the address; a form always posts, and is led to that address. Limits and
safety are the console's own, which the API uses as well.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Stream
from msgspec import Struct

from store.projection.console import (
    AGE_MAX_S,
    BYTES_MAX,
    MEDIA_TYPES,
    MEMORY_BYTES_MAX,
    ROWS_MAX,
    TIME_DEFAULT_S,
    TIME_MAX_S,
    Answer,
    Code,
    Format,
    Place,
    QueryError,
)
from store.projection.console import Query as Question
from store.projection.port import ReadError
from store.projection.samples import SAMPLES, Sample
from store.projection.schema import MACROS, RELATIONS, Macro, Relation
from ui.addresses import Addresses, Query
from ui.copying import Line
from ui.desk import Desk, Who
from ui.render import page
from ui.sql_chart import Drawn, draw_answer
from ui.sql_table import ROWS_SHOWN, Table, read_table

Visit: TypeAlias = Request[Who, Any, State]
View: TypeAlias = Literal["table", "chart"]
Download: TypeAlias = Literal["csv", "parquet", "arrow"]

ADDRESS_MAX = 6000  # characters of a query that may stand in an address
PIECE_BYTES = 256 * 1024
STATUS: Mapping[Code, int] = {"busy": 429, "unavailable": 503}  # others: the question was wrong
SAVED_AS: tuple[Download, ...] = get_args(Download)


class Asked(Struct, frozen=True, kw_only=True):
    """What was filled in; ``params`` is JSON, ``x`` and ``y`` name columns of the chart."""

    sql: str = ""
    params: str = ""
    view: View = "table"
    x: str = ""
    y: str = ""

    @property
    def query(self) -> Query:
        """The parameters of the address."""
        view = "" if self.view == "table" else self.view
        return {"sql": self.sql, "params": self.params, "view": view, "x": self.x, "y": self.y}


class Fault(Struct, frozen=True, kw_only=True):
    """Why there is no answer and what to do, with the line of the SQL around the place."""

    words: str
    next: str
    status: int = 400
    place: Place | None = None
    before: str = ""
    at: str = ""
    after: str = ""


class Limits(Struct, frozen=True, kw_only=True):
    """What a question may take, for people."""

    rows_shown: int = ROWS_SHOWN
    rows_max: int = ROWS_MAX
    time_s: float = TIME_DEFAULT_S
    time_max_s: float = TIME_MAX_S
    bytes_max: int = BYTES_MAX
    memory_bytes_max: int = MEMORY_BYTES_MAX
    age_max_s: float = AGE_MAX_S


class SqlPage(Struct, frozen=True, kw_only=True):
    """The context of ``sql.html``; ``table`` is None without an answer."""

    asked: Asked
    fault: Fault | None
    table: Table | None
    drawn: Drawn | None
    sample: Sample | None
    link: str
    lines: tuple[Line, ...]
    limits: Limits = Limits()
    formats: tuple[Download, ...] = SAVED_AS
    samples: tuple[Sample, ...] = SAMPLES
    relations: Sequence[Relation] = RELATIONS
    macros: Sequence[Macro] = MACROS


class BadParameters(ValueError):
    """The parameters can't be meant; the message says what to correct."""


@get("/sql", opt={"role": "viewer"})
async def sql_page(
    request: Visit,
    desk: NamedDependency[Desk],
    sql: FromQuery[str] = "",
    params: FromQuery[str] = "",
    sample: FromQuery[str] = "",
    view: FromQuery[View] = "table",
    x: FromQuery[str] = "",
    y: FromQuery[str] = "",
) -> Response[str]:
    """The editor, and the answer to what the address asks."""
    chosen = next((one for one in SAMPLES if one.name == sample), None)
    if chosen is not None and not sql:
        sql = chosen.sql
        params = msgspec.json.encode(chosen.parameters).decode() if chosen.parameters else ""
    asked = Asked(sql=_lines(sql), params=params.strip(), view=view, x=x, y=y)
    return await _answered(request, desk, asked, chosen)


@post("/sql", opt={"role": "viewer"}, status_code=200)
async def sql_run(request: Visit, desk: NamedDependency[Desk]) -> Response[str]:
    """Leads to the address of a query, or answers one that is too long for an address."""
    asked = await _filled(request)
    to = Addresses(desk.base).page("/sql", asked.query)
    if len(to) <= ADDRESS_MAX:
        return Response("", status_code=303, headers={"Location": to})
    return await _answered(request, desk, asked)


@post("/sql/download/{format:str}", opt={"role": "viewer"}, status_code=200)
async def sql_download(
    request: Visit, desk: NamedDependency[Desk], format: FromPath[Download]
) -> Response[str] | Stream:
    """The whole answer as a file."""
    asked = await _filled(request)
    found = await _ask(
        request, desk, asked, format=format, rows_max=ROWS_MAX, time_max_s=TIME_MAX_S
    )
    if isinstance(found, Fault):
        return _shown(request, desk, asked, fault=found)
    return Stream(
        _pieces(found),
        media_type=MEDIA_TYPES[format],
        headers={
            "content-length": str(found.bytes),
            "content-disposition": f'attachment; filename="query.{format}"',
        },
        status_code=200,
    )


async def _pieces(answer: Answer) -> AsyncIterator[bytes]:
    with answer.file as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


async def _filled(request: Visit) -> Asked:
    form = await request.form()

    def text(name: str) -> str:
        return str(form.get(name, ""))

    return Asked(
        sql=_lines(text("sql")),
        params=text("params").strip(),
        view="chart" if text("view") == "chart" else "table",
        x=text("x"),
        y=text("y"),
    )


def _lines(sql: str) -> str:
    """Forms send other ends of lines, and places in the text would be off by them."""
    return sql.replace("\r\n", "\n").strip()


async def _answered(
    request: Visit, desk: Desk, asked: Asked, sample: Sample | None = None
) -> Response[str]:
    if not asked.sql:
        return _shown(request, desk, asked)
    found = await _ask(
        request, desk, asked, format="json", rows_max=ROWS_SHOWN, time_max_s=TIME_DEFAULT_S
    )
    if isinstance(found, Fault):
        return _shown(request, desk, asked, sample=sample, fault=found)
    table = await asyncio.to_thread(read_table, found)
    drawn = draw_answer(table, asked.x, asked.y) if asked.view == "chart" else None
    return _shown(request, desk, asked, sample=sample, table=table, drawn=drawn)


async def _ask(
    request: Visit, desk: Desk, asked: Asked, *, format: Format, rows_max: int, time_max_s: float
) -> Answer | Fault:
    try:
        question = Question(
            sql=asked.sql,
            parameters=_parameters(asked.params),
            format=format,
            rows_max=rows_max,
            time_max_s=time_max_s,
        )
        return await desk.ask(request, question)
    except BadParameters as error:
        return Fault(words=str(error), next='Write an object, e.g. {"saga": "CheckoutSaga"}.')
    except ReadError as error:
        return Fault(words=str(error), next="Try again in a moment.", status=503)
    except QueryError as error:
        before, at, after = _around(asked.sql, error.place)
        return Fault(
            words=str(error),
            next=error.next,
            status=STATUS.get(error.code, 400),
            place=error.place,
            before=before,
            at=at,
            after=after,
        )


def _parameters(text: str) -> Mapping[str, object] | Sequence[object] | None:
    if not text:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, Any] | list[Any])
    except msgspec.MsgspecError:
        raise BadParameters("The parameters are no JSON object or array.") from None


def _around(sql: str, place: Place | None) -> tuple[str, str, str]:
    """The line of the place, taken apart at it."""
    lines = sql.split("\n")
    if place is None or not 0 < place.line <= len(lines):
        return "", "", ""
    line, column = lines[place.line - 1], place.column - 1
    return line[:column], line[column : column + 1], line[column + 1 :]


def _shown(
    request: Visit,
    desk: Desk,
    asked: Asked,
    *,
    sample: Sample | None = None,
    fault: Fault | None = None,
    table: Table | None = None,
    drawn: Drawn | None = None,
) -> Response[str]:
    to = Addresses(desk.base).page("/sql", asked.query)
    context = SqlPage(
        asked=asked,
        fault=fault,
        table=table,
        drawn=drawn,
        sample=sample,
        link=to if len(to) <= ADDRESS_MAX else "",
        lines=_copied(asked, f"{str(request.base_url).rstrip('/')}{desk.base}"),
    )
    code = fault.status if fault else 200
    return page(request, desk, "sql.html", context, title="SQL", status=code)


def _copied(asked: Asked, origin: str) -> tuple[Line, ...]:
    """The same question from a shell."""
    try:
        params = _parameters(asked.params)
    except BadParameters:
        return ()
    body = {"sql": asked.sql, **({"params": params} if params else {})}
    data = shlex.quote(msgspec.json.encode(body).decode())
    route = shlex.quote(f"{origin}/api/v1/sql")
    curl = f"curl -s {route} -H 'content-type: application/json' -d {data}"
    if isinstance(params, Mapping):
        given = [f"--param={name}={_value(value)}" for name, value in params.items()]
        return Line("snorri", shlex.join(["snorri", "sql", asked.sql, *given])), Line("curl", curl)
    return (
        (Line("curl", curl),)
        if params
        else (
            Line("snorri", shlex.join(["snorri", "sql", asked.sql])),
            Line("curl", curl),
        )
    )


def _value(value: object) -> str:
    """As `snorri sql --param` reads it: JSON, or a text that is none."""
    encoded = msgspec.json.encode(value).decode()
    if not isinstance(value, str):
        return encoded
    try:
        msgspec.json.decode(value)
    except msgspec.DecodeError:
        return value
    return encoded


ROUTES = (sql_page, sql_run, sql_download)
