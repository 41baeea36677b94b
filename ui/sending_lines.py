"""Lines to copy that send what a form would send, and that reach sagas and jobs. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from urllib.parse import quote

import msgspec
from msgspec import Raw

from store.subjects import Names
from ui.copying import COPIED_MAX, Line, sql_text

SHORTENED = Raw(b'"payload too long to copy; use a file"')


class _Event(msgspec.Struct, omit_defaults=True):
    type: str
    payload: Raw
    key: str | None = None
    id: str | None = None
    headers: Mapping[str, str] = {}


def publish_lines(
    names: Names,
    origin: str,
    type: str,
    payload: Raw,
    key: str | None,
    headers: Mapping[str, str],
) -> tuple[Line, ...]:
    """The same event from elsewhere; ``origin`` is where the API is, with its scheme."""
    payload = _compact(payload)
    body = bytes(payload).decode()
    keyed = ["--key", key] if key is not None else []
    flags = [word for name, value in headers.items() for word in ("--header", f"{name}={value}")]
    stamps = [word for name, value in headers.items() for word in ("-H", f"{name}:{value}")]
    event = _Event(type=type, payload=payload, key=key, headers=headers)
    return (
        Line("snorri publish", shlex.join(["snorri", "publish", type, body, *keyed, *flags])),
        _curl(f"{origin}/api/v1/sagas/publish", msgspec.json.encode(event)),
        Line("nats pub", shlex.join(["nats", "pub", *stamps, names.event(type, key), body])),
    )


def start_lines(origin: str, saga: str, payload: Raw, key: str | None) -> tuple[Line, ...]:
    """Starting the same instance from elsewhere."""
    payload = _compact(payload)
    keyed = ["--key", key] if key else []
    body = {"input": payload, **({"key": key} if key else {})}
    route = f"{origin}/api/v1/sagas/sagas/{quote(saga, safe='')}/start"
    return (
        Line(
            "snorri start", shlex.join(["snorri", "start", saga, bytes(payload).decode(), *keyed])
        ),
        _curl(route, msgspec.json.encode(body)),
    )


def saga_lines(names: Names, origin: str, saga: str) -> tuple[Line, ...]:
    """How to reach a definition and its instances."""
    route = f"{origin}/api/v1/sagas/sagas/{quote(saga, safe='')}"
    asked = msgspec.json.encode({"saga": saga}).decode()
    query = f"SELECT * FROM instances WHERE saga = {sql_text(saga)} ORDER BY changed_at DESC"  # noqa: S608
    return (
        Line("snorri", shlex.join(["snorri", "instances", "--saga", saga])),
        Line("curl", f"curl -s {shlex.quote(route)}"),
        Line("nats", shlex.join(["nats", "req", names.api("instances"), asked])),
        Line("SQL", query),
    )


def job_lines(names: Names, origin: str, target: str) -> tuple[Line, ...]:
    """How to serve a job, run it once, and look at its attempts."""
    route = f"{origin}/api/v1/workers/jobs/{quote(target, safe='')}"
    query = f"SELECT * FROM executions WHERE target = {sql_text(target)} ORDER BY seq DESC"  # noqa: S608
    return (
        Line("snorri jobs", shlex.join(["snorri", "jobs", target])),
        Line("curl", f"curl -s {shlex.quote(f'{route}/executions')}"),
        _curl(f"{route}/trigger", b'{"payload":null}', "curl, run it"),
        Line(
            "nats", f"nats stream view {names.log_stream} --subject {names.command_filter(target)}"
        ),
        Line("SQL", query),
    )


def own_headers(stored: Mapping[str, str]) -> dict[str, str]:
    """The headers that a publisher may set himself, of those an event was stored with."""
    return {name: value for name, value in stored.items() if not name.lower().startswith("nats-")}


def _compact(payload: Raw) -> Raw:
    """On one line, and no longer than a line to copy may be."""
    text = msgspec.json.format(bytes(payload), indent=0)
    return Raw(text) if len(text) <= COPIED_MAX else SHORTENED


def _curl(route: str, body: bytes, label: str = "curl") -> Line:
    words = ["curl", "-s", "-X", "POST", route, "-H", "Content-Type: application/json"]
    return Line(label, shlex.join([*words, "-d", body.decode()]))
