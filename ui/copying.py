"""Lines to copy: the same thing for `snorri`, `curl`, `nats` and SQL. Pure; quoted for a shell."""

from __future__ import annotations

import shlex
from urllib.parse import quote

from msgspec import Struct

from sagas.names import escape
from store.subjects import Names


class Line(Struct, frozen=True):
    """One way to reach a thing from elsewhere."""

    label: str
    text: str


def instance_lines(names: Names, saga: str, key: str, origin: str) -> tuple[Line, ...]:
    """How to reach an instance; ``origin`` is where the API is, with its scheme."""
    route = f"{origin}/api/v1/sagas/instances/{quote(saga, safe='')}/{quote(key, safe='')}"
    where = f"saga = {sql_text(saga)} AND key = {sql_text(key)}"
    query = f"SELECT * FROM transitions WHERE {where} ORDER BY version"  # noqa: S608 - a text to copy
    return (
        Line("snorri", f"snorri show {shlex.quote(saga)} {shlex.quote(key)}"),
        Line("curl", f"curl -s {shlex.quote(route)}"),
        Line("nats", f"nats kv history {names.bucket} i.{escape(saga)}.{escape(key)}"),
        Line("SQL", query),
    )


def sql_text(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
