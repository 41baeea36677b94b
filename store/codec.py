"""The records of the log other than revisions, and the header names: what is written around a
transition.

All records are JSON with a schema version ``v``. Readers ignore fields they don't know, writers
only add fields with a default; a field never changes its meaning. Header values that hold keys or
names are written as tokens (``sagas.names.escape``), so that nothing in a key can end a header
line.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from sagas.messages import NULL, Address, Cause, Raw
from sagas.names import escape
from store.port import Stored

MSG_ID = "Nats-Msg-Id"
ROLLUP = "Nats-Rollup"
TRACEPARENT = "traceparent"
SAGA = "Snorri-Saga"
KEY = "Snorri-Key"
CAUSE = "Snorri-Cause"
COMMAND_ID = "Snorri-Command-Id"
VERSION = "Snorri-Version"
ATTEMPT = "Snorri-Attempt"  # how often the command was sent; deliveries are the consumer's count
DEADLINE = "Snorri-Deadline"
IDEMPOTENCY_KEY = "Snorri-Idempotency-Key"
RETRY = "Snorri-Retry"
OUTCOME = "Snorri-Outcome"  # on results: "failed" when the job gave up or said failure
EXECUTION = "Snorri-Execution"  # on results: the record of the attempt, JSON of Execution
DEAD_LETTER = (
    "Snorri-Dead-Letter"  # on results: the reason a command was given up after its last attempt
)
REDRIVEN = "Snorri-Redriven"  # on events sent again: the dead letter's id or events-<sequence>
BY = "Snorri-By"  # on events that a person sent again: who
REASON = "Snorri-Reason"  # and why; both are tokens
ORIGIN = "Snorri-Origin"  # and from where, a token too; all three also on commands sent by hand

COMPLETED = "Snorri-Completed"  # result types of jobs that name none of their own
FAILED = "Snorri-Failed"
ATTEMPTED = (
    "Snorri-Attempted"  # the record of an attempt that will be repeated; changes no instance
)

DeadLetterStatus: TypeAlias = Literal["open", "redriven", "discarded"]
Outcome: TypeAlias = Literal["completed", "failed", "retried", "timed_out", "returned"]


class Envelope(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of a signal: the message and its instance.

    Without ``to``, an event to publish under ``key``. ``origin`` is where an operator's action came
    from: the door and the address, such as ``http 127.0.0.1``.
    """

    cause: Cause
    to: Address | None = None
    key: str = ""
    origin: str = ""
    v: int = 1


class Position(Struct, frozen=True, kw_only=True):
    """How far a partition was read: the last sequence taken of each stream, by whom, in which
    commit.

    ``events_at_ns`` is when the last event was stored; 0 when there was none. It tells when the
    stream has lost its end and given the sequence to another event. ``inline`` are the subjects of
    instances with steps that the engine carries out itself: whoever comes next sends them to their
    queues.
    """

    events: int
    signals: int
    owner: str
    batch: str
    events_at_ns: int = 0
    inline: tuple[str, ...] = ()
    v: int = 1


class Note(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message that changed nothing, and why; ``saga`` and ``key`` are empty when no saga handles
    its type.
    """

    stream: Literal["events", "log"]
    seq: int
    type: str
    code: str
    reason: str
    saga: str = ""
    key: str = ""
    id: str = ""
    by: str = ""


class Notes(Struct, frozen=True, kw_only=True):
    """All notes of one commit of one partition."""

    at: datetime
    items: tuple[Note, ...]
    v: int = 1


class DeadLetter(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message that can make no progress, where it is kept, and what became of it.

    ``by``, ``note`` and ``origin`` are of the last change of its status, ``action`` is the id of
    that change; ``resent`` is the sequence under which a redrive stored the message anew.
    """

    id: str
    at: datetime
    stream: Literal["events", "log"]
    seq: int
    type: str
    reason: str
    status: DeadLetterStatus = "open"
    saga: str = ""
    key: str = ""
    command: str = ""
    by: str = ""
    note: str = ""
    origin: str = ""
    action: str = ""
    resent: int = 0
    v: int = 1


class Execution(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt of a job at a command; times are UTC, ``queued`` is when it was stored."""

    command: str
    target: str
    worker: str
    attempt: int
    queued: datetime
    started: datetime
    ended: datetime
    outcome: Outcome
    error: str = ""
    v: int = 1


class ActionReply(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of an operator's action: the transition it caused, or why it was refused.

    ``pending`` when it is stored and nothing is known of its outcome yet: no engine has read it, or
    what was waited for has not come. ``seq`` is the revision's sequence, of a pending action that
    no engine has read the signal's.
    """

    done: bool
    saga: str
    key: str
    version: int
    status: str = ""
    reason: str = ""
    seq: int = 0
    pending: bool = False


def moment(at_ns: int) -> datetime:
    """A broker's time in nanoseconds as UTC, in microseconds."""
    return datetime.fromtimestamp(at_ns // 1000 / 1_000_000, UTC)


def event_cause(stored: Stored, type: str) -> Cause:
    """The recorded message of a stored event."""
    headers = stored.headers
    if not headers:
        return Cause(
            kind="event",
            type=type,
            id="",
            seq=stored.seq,
            at=moment(stored.at_ns),
            payload=Raw(stored.data or NULL),
        )
    return Cause(
        kind="event",
        type=type,
        id=headers.get(MSG_ID, ""),
        seq=stored.seq,
        at=moment(stored.at_ns),
        payload=Raw(stored.data or NULL),
        answers=headers.get(CAUSE, ""),
        failed=headers.get(OUTCOME) == "failed",
        trace=headers.get(TRACEPARENT, ""),
    )


def open_envelope(stored: Stored) -> Envelope:
    """The envelope of a stored signal, its cause with the broker's sequence and time; raises
    msgspec.DecodeError.

    An event that somebody delivered to an instance by hand keeps its own sequence and time.
    """
    envelope = _envelope_decoder.decode(stored.data)
    if envelope.cause.kind == "event" and envelope.to is not None:
        return envelope
    cause = msgspec.structs.replace(envelope.cause, seq=stored.seq, at=moment(stored.at_ns))
    return msgspec.structs.replace(envelope, cause=cause)


def dead_letter_id(stream: str, seq: int, saga: str) -> str:
    """The id of a dead letter: where the message is, and the saga it could not reach."""
    return f"{stream}-{seq}-{escape(saga)}" if saga else f"{stream}-{seq}"


_envelope_decoder = msgspec.json.Decoder(Envelope)
