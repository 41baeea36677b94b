"""A message of the events stream becomes rows. Pure, and it never fails.

Anyone may publish there, so nothing is believed: a subject or a payload that can't be read makes a
row that shows what there is, and a record of an attempt that is none is named among the unreadable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from sagas.names import BadName, parse_command_id
from store import codec
from store.port import Stored
from store.projection.rows_log import READ_ERRORS, Masking
from store.projection.staged import Rows
from store.subjects import Names

RECORD_ONLY = "the record of an attempt that will be repeated; it changes no instance"


class _Execution(Struct, gc=False):
    command: str
    target: str
    worker: str
    attempt: Annotated[int, Meta(ge=0, lt=2**31)]
    queued: str
    started: str
    ended: str
    outcome: str
    error: str = ""


_execution = msgspec.json.Decoder(_Execution)
_encode = msgspec.json.Encoder().encode


class EventRows:
    """Reads events into the lists of a batch."""

    def __init__(self, names: Names, mask: Masking) -> None:
        self._names = names
        self._mask = mask

    def read(self, messages: Sequence[Stored], rows: Rows) -> None:
        """Add the rows of ``messages``, which are in the order of the stream."""
        for stored in messages:
            headers = stored.headers
            try:
                type, key = self._names.parse_event(stored.subject)
            except (BadName, IndexError):
                type, key = stored.subject, None
            rows.events.append(
                (
                    stored.seq,
                    type,
                    key or "",
                    headers.get(codec.MSG_ID, "") if headers else "",
                    stored.at_ns,
                    self._mask(stored.data),
                    headers.get(codec.CAUSE, "") if headers else "",
                    headers.get(codec.OUTCOME) == "failed" if headers else False,
                    headers.get(codec.TRACEPARENT, "") if headers else "",
                    _headers(stored) if headers else b"{}",
                    len(stored.data),
                )
            )
            if type == codec.ATTEMPTED:
                rows.outcomes.append(_recorded(stored, type))
            if headers and codec.EXECUTION in headers:
                self._execution(stored, headers[codec.EXECUTION], rows)

    def _execution(self, stored: Stored, record: str, rows: Rows) -> None:
        try:
            one = _execution.decode(record)
        except READ_ERRORS as error:
            reason = f"its header {codec.EXECUTION} can't be read: {error}"
            rows.unreadable.append(("events", stored.seq, stored.subject, stored.at_ns, reason))
            return
        origin = parse_command_id(one.command)
        rows.executions.append(
            (
                stored.seq,
                one.command,
                one.target,
                origin[0] if origin else "",
                origin[1] if origin else "",
                one.worker,
                one.attempt,
                one.queued,
                one.started,
                one.ended,
                one.outcome,
                self._mask.text(one.error, stored.data),
            )
        )


def _headers(stored: Stored) -> bytes:
    """All headers as JSON; bytes that are no UTF-8 are replaced."""
    headers = dict(stored.headers)
    try:
        return _encode(headers)
    except (UnicodeError, ValueError):
        return _encode({_clean(name): _clean(value) for name, value in headers.items()})


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _recorded(stored: Stored, type: str) -> tuple[Any, ...]:
    """What became of a record of an attempt: the engine passes it by without a note."""
    reason = RECORD_ONLY
    return (
        "events", stored.seq, type, "", "", "", "ignored", "record", reason, "", stored.at_ns,
    )  # fmt: skip
