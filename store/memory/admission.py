"""May these messages be stored? The checks of nats-server, with its error codes, before anything is
written.

Pure with regard to the stream: it looks and never changes it, so a refused batch leaves no trace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from store.memory import schedule as schedules
from store.memory.routing import publishable
from store.memory.schedule import (
    NEXT,
    PURGE,
    SCHEDULE,
    SCHEDULER,
    BadSchedule,
    BadZone,
    Schedule,
    parse_schedule,
)
from store.memory.stream import MESSAGE_TTL, MSG_ID, ROLLUP, Admitted, MemoryStream
from store.port import BATCH_MESSAGES_MAX, Outgoing

PAYLOAD_BYTES_MAX = 1024 * 1024 - 4096  # what callers may use of the server's 1 MiB
EXPECTED = "Nats-Expected-Last-Subject-Sequence"

BAD_MESSAGE = 0
NO_STREAM = 503
WRONG_LAST = 10071
WRONG_LAST_CONSTANT = 10164
CONFLICTS = (WRONG_LAST, WRONG_LAST_CONSTANT)


class Refusal(Struct, frozen=True):
    """The server's answer to what it does not store: its error code and a reason."""

    code: int
    reason: str


class _No(Exception):
    def __init__(self, code: int, reason: str) -> None:
        self.refusal = Refusal(code, reason)


def wire_bytes(payload: bytes, headers: Mapping[str, str]) -> int:
    """The size that counts against the server's limit: the payload and the encoded headers."""
    if not headers:
        return len(payload)
    lines = sum(len(name.encode()) + len(value.encode()) + 4 for name, value in headers.items())
    return len(payload) + len("NATS/1.0\r\n") + lines + len("\r\n")


def admit(stream: MemoryStream, batch: Sequence[Outgoing]) -> list[Admitted] | Refusal:
    """Check an atomic batch against the stream as it is: what to store, or why not."""
    if not batch:
        return Refusal(10199, "a batch has no messages; commit 1 to 1000")
    if len(batch) > BATCH_MESSAGES_MAX:
        return Refusal(10199, f"a batch has {len(batch)} messages, at most 1000 are allowed")
    admitted: list[Admitted] = []
    written: set[str] = set()
    ids: set[str] = set()
    try:
        for message in batch:
            found = _one(stream, message, written)
            if msg_id := found.headers.get(MSG_ID):
                if msg_id in ids or stream.known_id(msg_id) is not None:
                    raise _No(10201, "atomic publish batch contains duplicate message id")
                ids.add(msg_id)
            written.add(found.subject)
            admitted.append(found)
    except _No as no:
        return no.refusal
    return admitted


def admit_one(stream: MemoryStream, message: Outgoing) -> Admitted | Refusal:
    """Check a single publish; the window of message ids is the caller's business."""
    try:
        return _one(stream, message, set())
    except _No as no:
        return no.refusal


def _one(stream: MemoryStream, message: Outgoing, written: set[str]) -> Admitted:
    headers = dict(message.headers)
    if not publishable(message.subject):
        raise _No(BAD_MESSAGE, f"{message.subject!r} is no subject to publish to")
    if any("\n" in text or "\r" in text for header in headers.items() for text in header):
        raise _No(BAD_MESSAGE, "a header has a line break")
    if not stream.rules.accepts(message.subject):
        raise _No(NO_STREAM, f"no stream takes the subject {message.subject!r}")
    if wire_bytes(message.payload, headers) > PAYLOAD_BYTES_MAX:
        raise _No(10054, "message size exceeds maximum allowed")
    subject = stream.route(message.subject)
    _check_expectation(stream, subject, _expected(message, headers), written)
    schedule = _schedule(stream, subject, headers)
    if schedule is not None:
        headers.setdefault(ROLLUP, "sub")
    _check_rollup(stream, subject, headers, written)
    return Admitted(
        subject=subject,
        payload=message.payload,
        headers=headers,
        ttl_ns=_ttl_ns(stream, headers.get(MESSAGE_TTL)),
        schedule=schedule,
        cancels=_cancelled(stream, subject, headers),
    )


def _expected(message: Outgoing, headers: Mapping[str, str]) -> int | None:
    if message.expect is not None:
        return message.expect
    text = headers.get(EXPECTED)
    return int(text) if text else None


def _check_expectation(
    stream: MemoryStream, subject: str, expect: int | None, written: set[str]
) -> None:
    if expect is None:
        return
    if subject in written:
        raise _No(WRONG_LAST_CONSTANT, "wrong last sequence")
    last = stream.last(subject)
    last_seq = last.seq if last else 0
    if last_seq != expect:
        raise _No(WRONG_LAST, f"wrong last sequence: {last_seq}")


def _check_rollup(
    stream: MemoryStream, subject: str, headers: Mapping[str, str], written: set[str]
) -> None:
    rollup = headers.get(ROLLUP)
    if rollup is None:
        return
    if not stream.rules.rollup:
        raise _No(10111, "rollup not permitted")
    if rollup not in ("sub", "all"):
        raise _No(10111, f'rollup value invalid: "{rollup}"')
    if subject in written or (rollup == "all" and written):
        raise _No(10111, f"batch rollup {rollup} invalid")


def _ttl_ns(stream: MemoryStream, text: str | None) -> int:
    if text is None:
        return 0
    if not stream.rules.ttl:
        raise _No(10166, "per-message TTL is disabled")
    parsed = schedules.ttl_ns(text)
    if parsed is None:
        raise _No(10165, "invalid per-message TTL")
    return parsed


def _schedule(stream: MemoryStream, subject: str, headers: Mapping[str, str]) -> Schedule | None:
    try:
        schedule = parse_schedule(headers)
    except BadSchedule:
        raise _No(10189, "message schedules pattern is invalid") from None
    except BadZone:
        raise _No(10223, "message schedules time zone is invalid") from None
    if schedule is None:
        return None
    if not stream.rules.schedules:
        raise _No(10188, "message schedules is disabled")
    target = schedule.target
    if target == subject or not publishable(target) or not stream.rules.accepts(target):
        raise _No(10190, "message schedules target is invalid")
    if schedule.ttl and schedules.ttl_ns(schedule.ttl) is None:
        raise _No(10191, "message schedules TTL is invalid")
    if headers.get(ROLLUP, "sub") != "sub":
        raise _No(10192, "message schedules rollup is invalid")
    return schedule


def _cancelled(stream: MemoryStream, subject: str, headers: Mapping[str, str]) -> str:
    scheduler, next_ = headers.get(SCHEDULER), headers.get(NEXT)
    if scheduler is None and next_ is None:
        return ""
    last = stream.last(scheduler) if scheduler else None
    is_schedule = last is None or SCHEDULE in last.headers
    if not scheduler or scheduler == subject or next_ != PURGE or not is_schedule:
        raise _No(10212, "message schedules invalid scheduler")
    return scheduler
