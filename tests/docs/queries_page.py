"""The generated parts of docs/queries.md: limits, formats, functions, the sample queries."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from store.projection import console
from store.projection.samples import SAMPLES
from store.projection.schema import MACROS

QUERIES = Path(__file__).resolve().parents[2] / "docs" / "queries.md"
SHAPES = {
    "json": "an object with `columns`, `rows` as arrays, `truncated`; times as ISO 8601",
    "csv": "with a line of names; text that would be a formula in a spreadsheet begins with `'`",
    "parquet": "one file, compressed with zstd",
    "arrow": "a stream of Arrow IPC, for pandas, polars and others",
}


def _limits() -> list[str]:
    megabyte = 1024 * 1024
    size, memory = console.BYTES_MAX // megabyte, console.MEMORY_BYTES_MAX // megabyte
    return [
        *("| limit | value | when it is met |", "|---|---|---|"),
        f"| rows | {console.ROWS_DEFAULT:,}, `limit` up to {console.ROWS_MAX:,} |"
        " the answer is cut and says so |",
        f"| time | {console.TIME_DEFAULT_S:g} s, `timeoutMs` up to {console.TIME_MAX_S * 1000:g} |"
        " 422 `sql-time-limit` |",
        f"| size of an answer | {size} MB | JSON and CSV are cut, others 422 `sql-size-limit` |",
        f"| memory | {memory} MB | 422 `sql-memory-limit` |",
        f"| at once | {console.QUERIES_MAX} in a process | 429 `sql-busy`, with `Retry-After` |",
        f"| SQL | {console.SQL_CHARACTERS_MAX:,} characters, {console.PARAMETERS_MAX} parameters |"
        " 400, 422 `sql-refused` |",
        f"| age of what is read | {console.AGE_MAX_S:g} s, beside the lag of the projections |"
        " the answer says how old |",
    ]


def _formats() -> list[str]:
    return [
        *("| format | `Accept` | what |", "|---|---|---|"),
        *(f"| {one} | `{kind}` | {SHAPES[one]} |" for one, kind in console.MEDIA_TYPES.items()),
    ]


def _functions() -> list[str]:
    return [
        *("| function | gives | what |", "|---|---|---|"),
        *(
            f"| `{macro.call}` | {'rows' if macro.table else 'a value'} | {macro.doc} |"
            for macro in MACROS
        ),
    ]


def _queries() -> list[str]:
    lines: list[str] = []
    for sample in SAMPLES:
        lines += [f"### {sample.title}", "", sample.question, "", "```sql", sample.sql, "```", ""]
        if sample.parameters:
            shown = ", ".join(
                f"`${name}` = `{msgspec.json.encode(value).decode()}`"
                for name, value in sample.parameters.items()
            )
            lines += [f"For example with {shown}.", ""]
    return lines


def queries_page() -> str:
    """The page with its parts as they should be."""
    text = QUERIES.read_text(encoding="utf-8")
    parts = {
        "limits": _limits(),
        "formats": _formats(),
        "functions": _functions(),
        "queries": ["", *_queries()],
    }
    for name, lines in parts.items():
        text = _put(text, name, lines)
    return text


def _put(text: str, name: str, lines: Sequence[str]) -> str:
    part = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    body = "\n".join(lines) + "\n"
    return part.sub(lambda found: f"{found[1]}{body}{found[2]}", text, count=1)
