"""A message of the log becomes staged rows. Pure, and it never fails: what can't be read says so.

Whatever authors wrote is masked here, before anything is stored. Our own instances (the gates of
concurrency limits) are left out: people ask about their sagas, and gates would be most of the rows.
An operator's action on a gate is on record like any other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta, Raw, Struct

from sagas.draft import GATE_SAGA
from sagas.names import BadName, unescape
from store import codec
from store.codec import DeadLetter, Note, Notes
from store.port import Stored
from store.projection.staged import RESENT, Rows
from store.subjects import Names

Seq = Annotated[int, Meta(ge=0, lt=2**53)]
Version = Annotated[int, Meta(ge=1, lt=2**31)]

SMALL = re.compile("[0-9]{1,9}")
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
    payload: Raw = Raw(b"")
    by: str = ""
    reason: str = ""


class _Gate(Struct, gc=False):
    version: Version
    cause: _Cause


class _Address(Struct, gc=False):
    saga: str
    key: str


class _Signal(Struct, gc=False):
    cause: _Cause
    to: _Address
    origin: str = ""


_gate = msgspec.json.Decoder(_Gate)
_signal = msgspec.json.Decoder(_Signal)
_notes = msgspec.json.Decoder(Notes)
_letter = msgspec.json.Decoder(DeadLetter)
_encode = msgspec.json.Encoder().encode


class LogRows:
    """Reads messages of the log into the lists of a batch."""

    def __init__(self, names: Names, mask: Masking) -> None:
        bucket = f"$KV.{names.bucket}."
        self._mask = mask
        self._gates = names.instances(GATE_SAGA).removesuffix("*")
        self._signal_kind = names.namespace.count(".") + 3
        # The most frequent ones first.
        self._readers: tuple[tuple[str, Callable[[Stored, Rows], None]], ...] = (
            (f"{bucket}i.", self._revision),
            (f"{names.namespace}.commands.", self._command),
            (f"{names.namespace}.sig.", self._action),
            (f"{bucket}n.", self._read_notes),
            (f"{bucket}d.", self._read_letter),
        )

    def read(self, messages: Sequence[Stored], rows: Rows) -> None:
        """Add the rows of ``messages``, which are in the order of the log."""
        for stored in messages:
            reader = self._reader(stored.subject)
            if reader is None or not stored.data:
                continue
            try:
                reader(stored, rows)
            except READ_ERRORS as error:
                reason = f"it can't be read: {error}"
                rows.unreadable.append(("log", stored.seq, stored.subject, stored.at_ns, reason))

    def _reader(self, subject: str) -> Callable[[Stored, Rows], None] | None:
        for prefix, reader in self._readers:
            if subject.startswith(prefix):
                return reader
        return None  # positions and schedules make no rows

    def _revision(self, stored: Stored, rows: Rows) -> None:
        if stored.subject.startswith(self._gates):
            self._gate(stored, rows)
            return
        tokens = stored.subject.split(".")
        if len(tokens) != 5:
            raise BadName(f"{stored.subject!r} is no subject of an instance")
        saga, key = unescape(tokens[3]), unescape(tokens[4])
        document = self._mask.document(stored.data)
        rows.last_revised = stored.subject
        before = rows.revised.get(stored.subject, -1)
        rows.revised[stored.subject] = stored.seq
        rows.revisions.append((stored.seq, stored.at_ns, saga, key, document, before))

    def _gate(self, stored: Stored, rows: Rows) -> None:
        if b'"kind":"operator"' in stored.data:
            gate = _gate.decode(stored.data)
            if gate.cause.kind == "operator":
                rows.decided.append((gate.cause.seq, "done", gate.version, "", stored.at_ns))

    def _command(self, stored: Stored, rows: Rows) -> None:
        tell = dict(stored.headers.items()).get
        id, sends = tell(codec.COMMAND_ID, ""), tell(codec.ATTEMPT, "1")
        if not id:
            raise ValueError(f"it has no header {codec.COMMAND_ID}")
        sender = f".{tell(codec.SAGA)}.{tell(codec.KEY)}"
        sent_by = f".{tell(codec.VERSION)}."
        if not rows.last_revised.endswith(sender) or not id.startswith(f"{sender[1:]}{sent_by}"):
            rows.traits.add(RESENT)
        rows.commands.append(
            (
                *(id, stored.seq, int(sends) if SMALL.fullmatch(sends) else 1),
                self._mask(stored.data),
                *(tell(codec.DEADLINE, ""), tell(codec.TRACEPARENT, "")),
            )
        )

    def _action(self, stored: Stored, rows: Rows) -> None:
        if stored.subject.split(".")[self._signal_kind] != "operator":
            return  # what other signals do is in the transitions they cause
        signal = _signal.decode(self._mask.document(stored.data))
        cause, to = signal.cause, signal.to
        rows.actions.append(
            (
                *(stored.seq, cause.id, cause.type, to.saga, to.key, cause.by),
                *(signal.origin, cause.reason, stored.at_ns, cause.payload),
            )
        )

    def _read_notes(self, stored: Stored, rows: Rows) -> None:
        for note in _notes.decode(self._mask.document(stored.data)).items:
            outcome = _outcome_of(note)
            rows.outcomes.append(
                (
                    *(note.stream, note.seq, note.type, note.id, note.saga, note.key),
                    *(outcome, note.code, note.reason, note.by, stored.at_ns),
                )
            )
            if note.stream == "log" and outcome == "refused":
                rows.decided.append((note.seq, outcome, -1, note.reason, stored.at_ns))

    def _read_letter(self, stored: Stored, rows: Rows) -> None:
        letter = _letter.decode(self._mask.document(stored.data))
        if unescape(stored.subject.rpartition(".")[2]) != letter.id:
            raise ValueError(
                f"it speaks of the dead letter {letter.id!r}, not of its own subject's"
            )
        rows.letters.append(
            (
                *(letter.id, letter.status, letter.type, letter.saga, letter.key),
                *(letter.command, letter.reason, letter.stream, letter.seq),
                *(stored.at_ns, stored.seq, letter.by, letter.note),
            )
        )
        # A job that gave up: its event reached the instance, only the command is dead. A status
        # that changed later is no new outcome of the message.
        if letter.command or letter.status != "open" or letter.by:
            return
        rows.outcomes.append(
            (
                *(letter.stream, letter.seq, letter.type, "", letter.saga, letter.key),
                *("dead_letter", "dead_letter", letter.reason, "", stored.at_ns),
            )
        )
        if letter.stream == "log":
            rows.decided.append((letter.seq, "refused", -1, letter.reason, stored.at_ns))


def headers_json(headers: dict[str, str]) -> bytes:
    """Headers as a JSON object; bytes in them that are no UTF-8 are replaced."""
    try:
        return _encode(headers)
    except (UnicodeError, ValueError):
        return _encode({_clean(name): _clean(value) for name, value in headers.items()})


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _outcome_of(note: Note) -> str:
    return note.code if note.code in ("no_saga", "refused") else "ignored"
