"""Lines to copy: the same thing for `snorri`, `curl`, `nats` and SQL. Pure; quoted for a shell."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from urllib.parse import quote

from msgspec import Raw, Struct

from sagas.names import escape
from store.masking import MASKED
from store.subjects import Names

COPIED_MAX = 20_000  # characters of a payload that go into a shell line


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


def event_lines(
    names: Names, seq: int, type: str, key: str | None, payload: Raw | None, origin: str
) -> tuple[Line, ...]:
    """How to ask what happened to an event, and how to publish it once more: with a payload that is
    JSON, short and without anything masked.
    """
    query = f"SELECT * FROM outcomes WHERE stream = 'events' AND seq = {seq}"  # noqa: S608
    lines = (
        Line("snorri", f"snorri event {seq}"),
        Line("curl", f"curl -s {shlex.quote(f'{origin}/api/v1/sagas/events/{seq}')}"),
        Line("nats", f"nats stream get {names.events_stream} {seq}"),
        Line("SQL", query),
    )
    body = "" if payload is None else bytes(payload).decode()
    if not body or len(body) > COPIED_MAX or MASKED in body:
        return lines
    again = ["snorri", "publish", type, body, *(["--key", key] if key is not None else [])]
    return (
        *lines,
        Line("snorri publish", shlex.join(again)),
        Line("nats pub", shlex.join(["nats", "pub", names.event(type, key), body])),
    )


def letter_lines(names: Names, id: str, origin: str) -> tuple[Line, ...]:
    """How to reach a dead letter."""
    entry = names.dead_letter(id).removeprefix(f"$KV.{names.bucket}.")
    route = f"{origin}/api/v1/sagas/dead-letters/{quote(id, safe='')}"
    query = f"SELECT * FROM dead_letters WHERE id = {sql_text(id)}"  # noqa: S608
    return (
        Line("snorri", f"snorri dead-letters show {shlex.quote(id)}"),
        Line("curl", f"curl -s {shlex.quote(route)}"),
        Line("nats", f"nats kv history {names.bucket} {entry}"),
        Line("SQL", query),
    )


def failure_lines(
    fingerprint: str, keys: Sequence[tuple[str, str]], origin: str
) -> tuple[Line, ...]:
    """How to reach a group of failures; ``keys`` are sagas and keys of some of its instances."""
    route = f"{origin}/api/v1/sagas/failures/{fingerprint}"
    line = Line("curl", f"curl -s {shlex.quote(route)}")
    if not keys:
        return (line,)
    saga, key = keys[0]
    found = ", ".join(f"({sql_text(saga)}, {sql_text(key)})" for saga, key in keys)
    query = f"SELECT * FROM instances WHERE (saga, key) IN ({found})"  # noqa: S608
    show = Line("snorri", f"snorri show {shlex.quote(saga)} {shlex.quote(key)}")
    return show, line, Line("SQL", query)


def sql_text(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
