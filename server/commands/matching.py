"""``instances --where``: the instances for which a condition in SQL holds, asked of the API."""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import Struct
from rich.text import Text

from sagas.instance import Status
from server.commands.api import Refusal
from server.commands.output import emit, note, status_text, table, time_text
from server.commands.sql import ask, pointed
from server.settings import Settings

HEADINGS = ("saga", "key", "status", "version", "changed", "by")


class Matching(Struct, frozen=True):
    """An instance that fits a condition, with the fields that `snorri instances` prints."""

    saga: str
    key: str
    version: int
    status: str
    started: datetime
    at: datetime
    seq: str
    error: str | None
    cause: str


def print_matching(
    settings: Settings,
    where: str,
    saga: str | None,
    status: Status | None,
    limit: int,
    *,
    as_json: bool,
) -> None:
    """Print them; raises Failed."""
    found = _find(settings, where, saga, status, limit)
    if as_json:
        emit(found)
    elif not found:
        note("no instance fits the condition")
    else:
        table(HEADINGS, map(_row, found))


def _row(i: Matching) -> tuple[str | Text, ...]:
    return (i.saga, i.key, status_text(i.status), str(i.version), time_text(i.at), i.cause)


def _find(
    settings: Settings, where: str, saga: str | None, status: Status | None, limit: int
) -> list[Matching]:
    """Instances for which the condition ``where`` holds, those changed last first."""
    head = (
        "SELECT saga, key, version, status, started_at, changed_at, seq::VARCHAR, error_message,"
        " coalesce(nullif(cause_type, ''), cause_kind) FROM instances WHERE ("
    )
    tail = (
        "\n) AND ($saga IS NULL OR saga = $saga) AND ($status IS NULL OR status = $status)"
        " ORDER BY seq DESC"
    )
    params = {"saga": saga, "status": status}
    body = {"sql": f"{head}{where}{tail}", "params": params, "limit": limit}
    try:
        found = ask(settings, body)
    except Refusal as refusal:
        raise pointed(refusal, where, len(head)) from None
    return [
        msgspec.convert(dict(zip(Matching.__struct_fields__, row, strict=True)), Matching)
        for row in found.rows
    ]
