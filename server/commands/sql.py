"""``snorri sql``: a question to the projections through the running API, as a table or a file."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, get_args

import httpx
import msgspec
import rich_click as click
from msgspec import Struct
from rich.text import Text

from server.commands.api import Refusal, check, open_api
from server.commands.common import (
    API,
    PANEL_API,
    STDIN_BYTES_MAX,
    USAGE,
    Failed,
    settings_options,
)
from server.commands.output import console, note, plain, say, table
from server.settings import Settings
from store.projection.console import (
    FORMATS,
    MEDIA_TYPES,
    ROWS_MAX,
    TIME_DEFAULT_S,
    TIME_MAX_S,
    Format,
)

BINARY = ("parquet", "arrow")
ANSWER_S = 30.0  # beyond the time of the query: waiting for its turn, sending the answer
COLUMN_CHARACTERS = 40  # a column that holds more may be folded, but not to less than this


class Column(Struct, frozen=True):
    """A column of an answer."""

    name: str
    type: str


class Rows(Struct, frozen=True, kw_only=True, rename="camel"):
    """An answer as JSON."""

    columns: list[Column]
    rows: list[list[Any]]
    truncated: bool
    limit: int
    elapsed_ms: float
    projection: dict[str, Any]


@click.command()
@click.argument("query", metavar="QUERY|-")
@click.option(
    "--format",
    "form",
    type=click.Choice(("table", *FORMATS)),
    default=None,
    help="Default: a table, with -o by the ending of its name.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the answer there.",
)
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="A value for $NAME; JSON or text.",
)
@click.option("--limit", type=click.IntRange(1, ROWS_MAX), default=None, help="Most rows.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0.01, TIME_MAX_S),
    default=TIME_DEFAULT_S,
    show_default=True,
    metavar="SECONDS",
    help="After that the query is ended.",
)
@settings_options(*API, panel=PANEL_API)
def sql(
    settings: Settings,
    query: str,
    form: str | None,
    as_json: bool,
    output: Path | None,
    params: tuple[str, ...],
    limit: int | None,
    timeout_s: float,
) -> None:
    """Ask history in SQL (DuckDB), read-only; `-` reads the query from stdin.

    Tables: instances, transitions, effects, events, outcomes, commands, executions, timers,
    dead_letters, operator_actions. Needs a running `snorri dev` or `snorri serve`.
    """
    form = "json" if as_json else form or _by_name(output)
    if form in BINARY and output is None and sys.stdout.isatty():
        raise Failed(f"{form} is nothing to read; add -o FILE", USAGE)
    text = _text(query)
    body: dict[str, object] = {"sql": text, "timeoutMs": round(timeout_s * 1000)}
    if params:
        body["params"] = dict(_parameter(one) for one in params)
    if limit is not None:
        body["limit"] = limit
    try:
        if form == "table" and output is None:
            _show(ask(settings, body))
        else:
            _save(settings, body, "json" if form == "table" else form, output)
    except Refusal as refusal:
        raise pointed(refusal, text, 0) from None


def ask(settings: Settings, body: Mapping[str, object]) -> Rows:
    """The rows of a query; raises Failed, Refusal."""
    with open_api(settings, _patience_s(body)) as client:
        answer = client.post("/api/v1/sql", json=body)
    check(answer)
    return msgspec.json.decode(answer.content, type=Rows)


def _by_name(output: Path | None) -> str:
    suffix = output.suffix[1:].lower() if output is not None else ""
    return suffix if suffix in get_args(Format) else "table"


def _text(query: str) -> str:
    if query != "-":
        return query
    data = sys.stdin.buffer.read(STDIN_BYTES_MAX)
    return data.decode(errors="replace")


def _parameter(given: str) -> tuple[str, object]:
    name, equals, value = given.partition("=")
    if not equals or not name:
        raise Failed(f"--param {given!r} is not NAME=VALUE; write --param key=o-1001", USAGE)
    try:
        return name.lstrip("$"), msgspec.json.decode(value)
    except msgspec.DecodeError:
        return name.lstrip("$"), value


def _patience_s(body: Mapping[str, object]) -> float:
    timeout_ms = body.get("timeoutMs", 0)
    assert isinstance(timeout_ms, int)
    return timeout_ms / 1000 + ANSWER_S


def _save(settings: Settings, body: Mapping[str, object], form: str, output: Path | None) -> None:
    """Write the answer as it comes, to a file or to stdout."""
    media_type = next(kind for name, kind in MEDIA_TYPES.items() if name == form)
    headers = {"accept": media_type}
    with (
        open_api(settings, _patience_s(body)) as client,
        client.stream("POST", "/api/v1/sql", json=body, headers=headers) as answer,
    ):
        if not answer.is_success:
            answer.read()
        check(answer)
        if output is None:
            _pour(answer, sys.stdout.buffer)
            if form == "json":
                sys.stdout.write("\n")
        else:
            with output.open("wb") as file:
                _pour(answer, file)
    told = answer.headers
    if told.get("snorri-truncated", "no") != "no":
        note(f"cut after {told['snorri-rows']} rows; ask for more with --limit, up to {ROWS_MAX}")
    elif output is not None:
        note(f"{told['snorri-rows']} rows in {output}")


def _pour(answer: httpx.Response, target: BinaryIO) -> None:
    for piece in answer.iter_bytes():
        target.write(piece)
    target.flush()


def _show(found: Rows) -> None:
    names = [plain(column.name) for column in found.columns]
    rows = [[_cell(value) for value in row] for row in found.rows]
    if rows and _width(names, rows) > console().width:
        _show_records(names, rows)
    else:
        table(names, rows)
    seq, age_s = found.projection.get("seq"), found.projection.get("lagSeconds")
    counted = f"{len(rows)} row{'' if len(rows) == 1 else 's'}"
    if found.truncated:
        counted = f"the first {counted}; ask for more with --limit, up to {ROWS_MAX}"
    note(f"{counted}, {found.elapsed_ms:.0f} ms, the log up to {seq}, {age_s} s ago")


def _width(names: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """What a table needs at least to be read."""
    columns = zip(names, *rows, strict=True)
    widest = (max(map(len, cells)) for cells in columns)
    return sum(min(COLUMN_CHARACTERS, width) + 2 for width in widest) - 2


def _show_records(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A row over several lines, where there are more columns than fit beside each other."""
    margin = max(map(len, names))
    for number, row in enumerate(rows, 1):
        say(Text(f"row {number}", style="bold"))
        for name, cell in zip(names, row, strict=True):
            say(f"  {name:<{margin}}  {cell}")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


def pointed(refusal: Refusal, text: str, shift: int) -> Failed:
    """The refusal with the line of ``text`` it is about, and a mark under the place."""
    problem = refusal.problem
    offset = problem.get("offset")
    at = offset - shift if isinstance(offset, int) else -1
    if not 0 <= at <= len(text):
        return refusal
    start = text.rfind("\n", 0, at) + 1
    line = text[start:].split("\n", 1)[0]
    column = at - start
    width = max(40, shutil.get_terminal_size().columns - 4)
    cut = max(0, column - width // 2)
    shown = line[cut : cut + width].replace("\t", " ")
    mark = " " * (column - cut) + "^"
    return Failed(f"{problem.get('detail')}\n  {shown}\n  {mark}\n{problem.get('next', '')}")
