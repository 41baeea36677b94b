"""An instance: the one document that is stored for each transition, and the table of status
changes.

The document is the KV value of the public contract: state after the transition, the message that
caused it, the effects it had, and what is open. It is never changed in place; a transition makes
the next one. ``prev`` is the SHA-256 of the document before, so whoever holds the last one can
prove the whole history.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec
from msgspec import Raw, Struct

from sagas.effects import Effect, Send
from sagas.errors import IllegalTransition
from sagas.messages import NULL, Address, Cause
from sagas.retry import RetryPolicy

SCHEMA_VERSION = 1
VALUE_BYTES_MAX = 1_000_000  # the broker takes 1 MiB with headers
STATE_BYTES_MAX = 400_000
PAYLOAD_BYTES_MAX = 400_000  # state and message together must fit a parked instance
PARKED_BYTES_MAX = 1_020_000  # room for the error, so that what fitted before can always be parked
BACKLOG_MAX = 256
TIMERS_MAX = 200  # with an end they are all cancelled in one batch
COMMANDS_MAX = 400
SEEN_MAX = 32  # ids kept in the document; older ones are found in its history

Status: TypeAlias = Literal[
    "running", "completed", "failed", "compensating", "compensated", "cancelled", "paused", "parked"
]
FINISHED: frozenset[Status] = frozenset({"completed", "failed", "compensated", "cancelled"})

# Which status may follow which, by a handler or an operator; staying is always allowed. Docs and
# pages read this.
STATUS_TRANSITIONS: dict[Status, frozenset[Status]] = {
    "running": frozenset(
        {"completed", "failed", "compensating", "compensated", "cancelled", "paused", "parked"}
    ),
    "compensating": frozenset({"compensated", "failed", "cancelled", "paused", "parked"}),
    "paused": frozenset(
        {"running", "compensating", "compensated", "cancelled", "failed", "parked"}
    ),
    "parked": frozenset(
        {"running", "completed", "compensating", "compensated", "cancelled", "failed", "paused"}
    ),
    "completed": frozenset({"compensating", "compensated", "failed", "cancelled", "parked"}),
    "failed": frozenset({"compensating", "compensated", "cancelled", "parked"}),
    "cancelled": frozenset({"compensating", "compensated", "failed", "parked"}),
    "compensated": frozenset({"parked"}),
}

UndoStatus: TypeAlias = Literal["waiting", "running", "done", "failed", "skipped", "by_hand"]
StepStatus: TypeAlias = Literal["running", "completed", "failed", "skipped"]


class Failure(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why an instance is parked or failed; ``type`` is an exception's name or a word of ours."""

    type: str
    message: str
    traceback: str = ""


class Timer(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A timer that is set: when it fires (UTC), with what, and the version that set it."""

    at: datetime
    version: int
    type: str
    payload: Raw = NULL


class OpenCommand(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A command without an answer; ``gated`` while it waits for others of its concurrency key.

    ``sends`` counts how often it went out: an operator may send it again. One that is ``inline`` is
    carried out by the engine that holds the instance; there is no message of it.
    """

    target: str
    at: datetime
    payload: Raw = NULL
    concurrency_key: str = ""
    idempotency_key: str = ""
    retry: RetryPolicy | None = None
    timeout_s: float | None = None
    gated: bool = False
    undo: str = ""
    step: str = ""
    sends: int = 1
    inline: bool = False

    def sent_as(self, id: str) -> Send:
        """The effect that sends it (again)."""
        return Send(
            target=self.target,
            id=id,
            payload=self.payload,
            idempotency_key=self.idempotency_key,
            concurrency_key=self.concurrency_key,
            retry=self.retry,
            timeout_s=self.timeout_s,
            step=self.step,
            inline=self.inline,
        )


class StepRecord(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One step of a run as its history keeps it; which step, how it stands, what came of it.

    ``order`` counts the steps of the run as they ended well, from 1; undoing goes the other way.
    ``attempts`` is how often its function was tried, as its answers have told. ``place`` counts
    what a workflow function asked for, from 1, ``heard`` the ends, good and bad, as it was told of
    them. ``data`` is for its undo, ``keys`` what it set in the context. A step that is ``kept`` is
    not undone with the others; one that is ``rolled_back`` had ended well in a transaction that had
    not.
    """

    step: str
    status: StepStatus
    started: datetime
    kind: str = "step"
    ended: datetime | None = None
    order: int = 0
    attempts: int = 1
    place: int = 0
    heard: int = 0
    output: Raw = NULL
    data: Raw = NULL
    keys: tuple[str, ...] = ()
    background: bool = False
    kept: bool = False
    rolled_back: bool = False
    error: str = ""
    code: str = ""


class Undo(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One compensation: which handler, how it stands, how often it was tried, and the version that
    started it.
    """

    type: str
    status: UndoStatus
    version: int
    attempts: int = 1
    payload: Raw = NULL
    error: str = ""


class Parked(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an operator's retry repeats: a message that a handler raised on, or a command that
    failed for good.
    """

    cause: Cause | None = None
    command: str = ""
    attempts: int = 1
    status: Status = "running"  # where to go on
    error: Failure | None = None  # what stood in ``error`` before


class Gate(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The place of an instance in the concurrency limit of its saga: waiting for a slot or holding
    one.
    """

    key: str
    held: bool = False


class Instance(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The document of one transition. The fields without a default are always written.

    ``definition`` is the hash of the code that decided it, ``definition_version`` the version of
    the definition that made its state.
    ``attempts`` counts how often it was set going: once, and once more for each retry by an
    operator.
    """

    v: int
    saga: str
    key: str
    version: int
    status: Status
    state: Raw
    started: datetime
    at: datetime
    cause: Cause
    effects: tuple[Effect, ...]
    error: Failure | None
    definition: str
    trace: str
    prev: str
    timers: dict[str, Timer] = {}
    backlog: tuple[Cause, ...] = ()
    steps: dict[str, StepRecord] = {}
    commands: dict[str, OpenCommand] = {}
    children: dict[str, str] = {}
    parent: Address | None = None
    undo: tuple[Undo, ...] = ()
    result: Raw = NULL
    parked: Parked | None = None
    paused: Status | None = None
    gate: Gate | None = None
    seen: tuple[str, ...] = ()
    attempts: int = 1
    definition_version: int = 1

    @property
    def finished(self) -> bool:
        """Whether no message will change this instance any more, operator actions aside."""
        return self.status in FINISHED


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Instance)


def encode(instance: Instance) -> bytes:
    """The document as it is stored; equal instances are equal bytes."""
    return _encoder.encode(instance)


def decode(data: bytes) -> Instance:
    """The instance of a stored document; raises msgspec.ValidationError or IllegalTransition (newer
    schema).
    """
    instance = _decoder.decode(data)
    if instance.v > SCHEMA_VERSION:
        raise IllegalTransition(
            f"the document of {instance.saga}/{instance.key} has schema {instance.v}, this"
            " program knows up to"
            f" {SCHEMA_VERSION}; run a newer Snorri"
        )
    return instance


def document_hash(data: bytes) -> str:
    """The hash that the next document carries as ``prev``."""
    return hashlib.sha256(data).hexdigest()


def evolve(before: Instance | None, before_hash: str, after: Instance) -> Instance:
    """``after``, when it may follow ``before``; raises IllegalTransition naming what is wrong."""
    name = f"{after.saga}/{after.key}"
    version = before.version if before else 0
    if after.version != version + 1:
        raise IllegalTransition(
            f"{name}: version {after.version} follows {version}; a revision is missing"
        )
    if after.prev != before_hash:
        raise IllegalTransition(
            f"{name}: version {after.version} does not continue the one before it"
        )
    if (
        before
        and after.status != before.status
        and after.status not in STATUS_TRANSITIONS[before.status]
    ):
        raise IllegalTransition(
            f"{name}: {before.status} can't become {after.status} (version {after.version})"
        )
    return after
