"""Errors of DuckDB in words for whoever wrote the SQL: what is wrong, where in it, what to do."""

from __future__ import annotations

import re

import msgspec
from msgspec import Struct

from store.duck.console_task import Fault
from store.projection.console import MEMORY_BYTES_MAX, Place

MESSAGE_CHARACTERS_MAX = 1500
_MEMORY = ("out of memory", "bad_alloc", "could not allocate", "failed to allocate", "errno 12")


class _Error(Struct, frozen=True):
    """An error as DuckDB writes it under ``errors_as_json``; the position is in bytes."""

    exception_type: str = ""
    exception_message: str = ""
    position: str = ""


def fault_of(error: str, sql: str, shift: int = 0) -> Fault:
    """What went wrong by the text of an error; ``shift`` are the bytes of ours before ``sql``."""
    found = _read(error)
    message = _clean(found.exception_message)
    if found.exception_type == "Out of Memory" or _tells(message, *_MEMORY):
        return memory_fault()
    if found.exception_type == "Permission":
        return Fault(
            code="refused",
            message="The statement reaches for files or for what is outside of the projections.",
            next="Ask the projections only; SHOW TABLES lists them.",
        )
    if _tells(message, "read-only", "locked"):
        return Fault(code="refused", message=message, next="The console only reads.")
    return Fault(
        code="error",
        message=message,
        next="Correct the SQL; SHOW TABLES and DESCRIBE say what there is.",
        place=_place(found.position, sql, shift),
    )


def memory_fault() -> Fault:
    """The query asked for more memory than it may have."""
    return Fault(
        code="memory_limit",
        message=f"The query needs more than the {MEMORY_BYTES_MAX >> 20} MB it may use.",
        next="Add a condition, select fewer columns, or sort and join fewer rows.",
    )


def place_at(sql: str, offset: int) -> Place:
    """The place of a character of ``sql``."""
    before = sql[:offset]
    line = before.count("\n") + 1
    return Place(line=line, column=offset - before.rfind("\n"), offset=offset)


def _place(position: str, sql: str, shift: int) -> Place | None:
    if not position.isdigit():
        return None
    data = sql.encode(errors="replace")
    at = int(position) - shift
    return place_at(sql, len(data[:at].decode(errors="ignore"))) if 0 <= at <= len(data) else None


def _read(text: str) -> _Error:
    kind, _, rest = text.partition(": ")
    try:
        return msgspec.json.decode(rest, type=_Error)
    except msgspec.DecodeError:
        return _Error(kind.removesuffix(" Error"), text)


def _clean(message: str) -> str:
    """The message without hints at settings nobody can change here."""
    kept = re.split(r"\n\n?(?:LINE \d+:|Possible solutions|This limit was set by)", message)[0]
    kept = re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", "\N{REPLACEMENT CHARACTER}", kept).strip()
    cut = kept[: MESSAGE_CHARACTERS_MAX - 1]
    return kept if len(kept) < MESSAGE_CHARACTERS_MAX else cut + "…"


def _tells(message: str, *words: str) -> bool:
    folded = message.lower()
    return any(word in folded for word in words)
