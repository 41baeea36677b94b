"""A message of the log becomes rows. Pure, and it never fails: what can't be read says so.

A document is masked before it is decoded, into lean Structs that know only the fields the tables
show; JSON inside them is passed on as it stands. Our own instances (the gates of concurrency
limits) are left out: people ask about their sagas, and gates would be most of the rows. An
operator's action on a gate is on record like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta, Raw, Struct

from sagas.draft import GATE_SAGA
from sagas.instance import SCHEMA_VERSION
from sagas.names import BadName, parse_command_id, unescape
from store import codec
from store.codec import DeadLetter, Note, Notes
from store.port import Stored
from store.projection.staged import Rows
from store.subjects import Names

Small = Annotated[int, Meta(ge=0, lt=2**31)]
Seq = Annotated[int, Meta(ge=0, lt=2**53)]

ABSENT = Raw(b"")
READ_ERRORS = (msgspec.MsgspecError, BadName, UnicodeError, RecursionError, ValueError)


class Masking(Protocol):
    """Replaces the values of secret fields; ``store.masking`` says how."""

    def __call__(self, data: bytes) -> bytes:
        """JSON of an author, masked."""
        ...

    def document(self, data: bytes) -> bytes:
        """A document of ours, masked inside what authors wrote."""
        ...

    def text(self, text: str, *sources: bytes) -> str:
        """``text`` without the secret values of ``sources``."""
        ...


class _Cause(Struct, gc=False):
    kind: str
    type: str
    id: str
    seq: Seq
    at: str
    payload: Raw = ABSENT
    by: str = ""
    reason: str = ""
    answers: str = ""
    failed: bool = False
    epoch: int = 0


class _Failure(Struct, gc=False):
    type: str
    message: str


class _Address(Struct, gc=False):
    saga: str
    key: str


class _Revision(Struct, gc=False):
    v: int
    saga: str
    key: str
    version: Small
    status: str
    state: Raw
    started: str
    cause: _Cause
    effects: list[Raw]
    error: _Failure | None
    definition: str
    trace: str
    prev: str
    timers: dict[str, Raw] = {}
    backlog: list[Raw] = []
    commands: dict[str, Raw] = {}
    children: dict[str, str] = {}
    parent: _Address | None = None
    result: Raw = ABSENT


class _EffectCause(Struct, gc=False):
    type: str
    id: str = ""
    payload: Raw = ABSENT


class _Effect(Struct, gc=False):
    """Whatever an effect may carry of what the tables show; most fields belong to one kind."""

    kind: str
    id: str = ""
    target: str = ""
    type: str = ""
    saga: str = ""
    payload: Raw = ABSENT
    result: Raw = ABSENT
    reason: str = ""
    at: str = ""
    cause: _EffectCause | None = None


class _Signal(Struct, gc=False):
    cause: _Cause
    to: _Address
    origin: str = ""


_revision = msgspec.json.Decoder(_Revision)
_effect = msgspec.json.Decoder(_Effect)
_signal = msgspec.json.Decoder(_Signal)
_notes = msgspec.json.Decoder(Notes)
_letter = msgspec.json.Decoder(DeadLetter)


class LogRows:
    """Reads messages of the log into the lists of a batch."""

    def __init__(self, names: Names, mask: Masking) -> None:
        bucket = f"$KV.{names.bucket}."
        self._names = names
        self._mask = mask
        self._instances = f"{bucket}i."
        self._gates = names.instances(GATE_SAGA).removesuffix("*")
        self._notes = f"{bucket}n."
        self._letters = f"{bucket}d."
        self._commands = f"{names.namespace}.commands."
        self._signals = f"{names.namespace}.sig."
        self._signal_place = names.namespace.count(".") + 3

    def read(self, messages: Sequence[Stored], rows: Rows) -> None:
        """Add the rows of ``messages``, which are in the order of the log."""
        for stored in messages:
            reader = self._reader(stored.subject)
            if reader is None or not stored.data:
                continue
            try:
                reader(stored, rows)
            except READ_ERRORS as error:
                rows.unreadable.append(
                    ("log", stored.seq, stored.subject, stored.at_ns, f"it can't be read: {error}")
                )

    def _reader(self, subject: str) -> Callable[[Stored, Rows], None] | None:
        if subject.startswith(self._instances):
            return self._gate if subject.startswith(self._gates) else self._revision
        if subject.startswith(self._commands):
            return self._command
        if subject.startswith(self._signals):
            return self._action if self._is_action(subject) else None
        if subject.startswith(self._notes):
            return self._read_notes
        return self._read_letter if subject.startswith(self._letters) else None

    def _is_action(self, subject: str) -> bool:
        return subject.split(".", self._signal_place + 1)[self._signal_place] == "operator"

    # --- revisions

    def _revision(self, stored: Stored, rows: Rows) -> None:
        one = self._decode(stored)
        cause, seq, at_ns = one.cause, stored.seq, stored.at_ns
        effects = [(raw, _effect.decode(raw)) for raw in one.effects]
        error, parent = one.error, one.parent
        rows.transitions.append(
            (
                one.saga,
                one.key,
                one.version,
                seq,
                at_ns,
                one.status,
                one.state,
                one.started,
                cause.kind,
                cause.type,
                cause.id,
                cause.seq,
                cause.at,
                cause.payload,
                cause.by,
                cause.reason,
                cause.answers,
                cause.failed,
                len(effects),
                error.type if error else "",
                error.message if error else "",
                one.definition,
                one.trace,
                one.prev,
                parent.saga if parent else "",
                parent.key if parent else "",
                len(one.commands),
                len(one.timers),
                sum(status == "running" for status in one.children.values()),
                len(one.backlog),
                one.result,
            )
        )
        for ordinal, (raw, effect) in enumerate(effects):
            self._effect(stored, one, ordinal, raw, effect, rows)
        if cause.kind == "operator":
            rows.decided.append((cause.seq, "done", one.version, "", at_ns))
            for id in one.commands or ("",):
                rows.still_open.append((one.saga, one.key, one.version, id))
        elif cause.kind == "timer" and cause.epoch > 0:
            id = cause.id.rpartition("@")[0]
            rows.timer_ends.append(
                (one.saga, one.key, id, cause.epoch, -1, seq, "fired", at_ns, cause.at)
            )

    def _decode(self, stored: Stored) -> _Revision:
        one = _revision.decode(self._mask.document(stored.data))
        if one.v > SCHEMA_VERSION:
            raise ValueError(f"it has schema {one.v}, this program knows up to {SCHEMA_VERSION}")
        if self._names.instance(one.saga, one.key) != stored.subject:
            raise ValueError(
                f"it speaks of {one.saga}/{one.key}, not of its own subject's instance"
            )
        return one

    def _gate(self, stored: Stored, rows: Rows) -> None:
        if b'"operator"' in stored.data:
            one = self._decode(stored)
            if one.cause.kind == "operator":
                rows.decided.append((one.cause.seq, "done", one.version, "", stored.at_ns))

    def _effect(
        self,
        stored: Stored,
        one: _Revision,
        ordinal: int,
        raw: Raw,
        effect: _Effect,
        rows: Rows,
    ) -> None:
        saga, key, version, seq, at_ns = one.saga, one.key, one.version, stored.seq, stored.at_ns
        kind, id, name, payload = effect.kind, effect.id, effect.type, effect.payload
        if kind == "send":
            name = effect.target
            origin = parse_command_id(id)
            again = origin is not None and origin[2] != version
            rows.sends.append((id, name, saga, key, version, seq, at_ns, payload, again))
        elif kind == "schedule":
            rows.timers.append(
                (saga, key, id, version, ordinal, seq, name, payload, at_ns, effect.at)
            )
        elif kind == "unschedule":
            rows.timer_ends.append((saga, key, id, -1, ordinal, seq, "cancelled", at_ns, ""))
        elif kind == "spawn":
            name = effect.saga
        elif kind == "complete":
            payload = effect.result
        elif kind == "signal" and effect.cause is not None:
            name, id, payload = effect.cause.type, effect.cause.id, effect.cause.payload
        rows.effects.append((saga, key, version, ordinal, seq, at_ns, kind, name, id, payload, raw))

    # --- the other records

    def _command(self, stored: Stored, rows: Rows) -> None:
        headers = stored.headers
        id = headers.get(codec.COMMAND_ID, "")
        if not id:
            raise ValueError(f"it has no header {codec.COMMAND_ID}")
        attempt = headers.get(codec.ATTEMPT, "1")
        rows.commands.append(
            (
                id,
                stored.seq,
                int(attempt) if attempt.isdecimal() and len(attempt) < 10 else 1,
                self._mask(stored.data),
                headers.get(codec.DEADLINE, ""),
                headers.get(codec.TRACEPARENT, ""),
            )
        )

    def _action(self, stored: Stored, rows: Rows) -> None:
        signal = _signal.decode(self._mask.document(stored.data))
        cause, to = signal.cause, signal.to
        rows.actions.append(
            (
                stored.seq,
                cause.id,
                cause.type,
                to.saga,
                to.key,
                cause.by,
                signal.origin,
                cause.reason,
                stored.at_ns,
                cause.payload,
            )
        )

    def _read_notes(self, stored: Stored, rows: Rows) -> None:
        for note in _notes.decode(self._mask.document(stored.data)).items:
            outcome = _outcome_of(note)
            rows.outcomes.append(
                (
                    note.stream,
                    note.seq,
                    note.type,
                    note.id,
                    note.saga,
                    note.key,
                    outcome,
                    note.code,
                    note.reason,
                    note.by,
                    stored.at_ns,
                )
            )
            if note.stream == "log" and outcome == "refused":
                rows.decided.append((note.seq, "refused", -1, note.reason, stored.at_ns))

    def _read_letter(self, stored: Stored, rows: Rows) -> None:
        letter = _letter.decode(self._mask.document(stored.data))
        token = stored.subject[len(self._letters) :]
        if unescape(token) != letter.id:
            raise ValueError(
                f"it speaks of the dead letter {letter.id!r}, not of its own subject's"
            )
        rows.letters.append(
            (
                letter.id,
                letter.status,
                letter.type,
                letter.saga,
                letter.key,
                letter.command,
                letter.reason,
                letter.stream,
                letter.seq,
                stored.at_ns,
                stored.seq,
                letter.by,
                letter.note,
            )
        )
        # A job that gave up: its event reached the instance, only the command is dead.
        if letter.command or letter.status != "open" or letter.by:
            return
        rows.outcomes.append(
            (
                letter.stream,
                letter.seq,
                letter.type,
                "",
                letter.saga,
                letter.key,
                "dead_letter",
                "dead_letter",
                letter.reason,
                "",
                stored.at_ns,
            )
        )
        if letter.stream == "log":
            rows.decided.append((letter.seq, "refused", -1, letter.reason, stored.at_ns))


def _outcome_of(note: Note) -> str:
    return note.code if note.code in ("no_saga", "refused") else "ignored"
