"""The first step of the lane: a stored message becomes what it means for instances. Pure.

An Intake holds one message and everything that must be committed with its position: deliveries to
instances, notes for what concerns nobody, dead letters for what can't be delivered, and an event to
publish for a saga.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import structs

from jobs.ticks import CRON, read_tick
from sagas.definition import Registry, SagaDefinition
from sagas.draft import GATE_SAGA
from sagas.gate import gate_definition
from sagas.messages import Cause
from sagas.names import BadName, check_key, check_name, is_by_hand, is_call, parse_command_id
from sagas.routing import route
from store import codec
from store.codec import DeadLetter, Envelope, Note
from store.port import Stored
from store.subjects import Names, unescape

if TYPE_CHECKING:
    from jobs.partition import Partition

log = logging.getLogger("snorri.engine")

ID_CHARS_MAX = 256  # of a message id: an instance keeps the last 32 in its document
NAME_CHARS_MAX = 300  # of a name in a dead letter, real or claimed
REASON_CHARS_MAX = 2000
_NOWHERE = Stored(subject="", seq=0, at_ns=0, data=b"")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class Arrival:
    """One message for one instance; ``subject`` is where the instance is stored."""

    __slots__ = ("cause", "definition", "key", "payload", "subject")

    def __init__(
        self,
        definition: SagaDefinition,
        key: str,
        subject: str,
        cause: Cause,
        payload: object = msgspec.UNSET,
    ) -> None:
        self.definition = definition
        self.key = key
        self.subject = subject
        self.cause = cause
        self.payload = payload


class Intake:
    """A message of a partition and what follows from it before any instance is looked at."""

    __slots__ = ("arrivals", "letters", "notes", "partition", "relay", "stored", "stream")

    def __init__(
        self, partition: Partition, stream: Literal["events", "log"], stored: Stored
    ) -> None:
        self.partition = partition
        self.stream: Literal["events", "log"] = stream
        self.stored = stored
        self.arrivals: list[Arrival] = []
        self.notes: list[Note] = []
        self.letters: list[DeadLetter] = []
        self.relay: Envelope | None = None

    def note(
        self,
        type: str,
        code: str,
        reason: str,
        *,
        saga: str = "",
        key: str = "",
        id: str = "",
        by: str = "",
    ) -> Note:
        """A note about this message."""
        return Note(
            stream=self.stream,
            seq=self.stored.seq,
            type=type,
            code=code,
            reason=reason,
            saga=saga,
            key=key,
            id=id,
            by=by,
        )

    def letter(
        self, type: str, reason: str, *, saga: str = "", key: str = "", command: str = ""
    ) -> DeadLetter:
        """A dead letter for this message.

        Publishers may claim anything, of any length: what can't be a saga is left out, texts are
        cut.
        """
        saga = _possible(saga)
        return DeadLetter(
            id=codec.dead_letter_id(self.stream, self.stored.seq, saga),
            at=codec.moment(self.stored.at_ns),
            stream=self.stream,
            seq=self.stored.seq,
            type=_clean(type[:NAME_CHARS_MAX]),
            reason=_clean(reason[:REASON_CHARS_MAX]),
            saga=saga,
            key=_clean(key[:NAME_CHARS_MAX]),
            command=_clean(command[:REASON_CHARS_MAX]),
        )

    def refuse(self, reason: str) -> None:
        """Deliver nothing of it; a dead letter stands in its place."""
        self.arrivals = []
        self.letters = [self.letter(self.stored.subject, reason)]

    def note_to(self, arrival: Arrival, code: str, reason: str) -> Note:
        """A note about this message and the instance it was for."""
        cause = arrival.cause
        return self.note(
            cause.type,
            code,
            reason,
            saga=arrival.definition.id,
            key=arrival.key,
            id=cause.id,
            by=cause.by,
        )

    def letter_to(self, arrival: Arrival, reason: str) -> DeadLetter:
        """A dead letter for this message, which the instance it was for could not take."""
        return self.letter(arrival.cause.type, reason, saga=arrival.definition.id, key=arrival.key)


class Answer(Intake):
    """A message for one instance that no stream holds: the answer of the command ``id``, which the
    engine carried out itself, or, without an id, its own word to send such steps to their queues.
    """

    __slots__ = ("id",)

    def __init__(self, partition: Partition, arrival: Arrival, id: str) -> None:
        super().__init__(partition, "log", _NOWHERE)
        self.arrivals.append(arrival)
        self.id = id

    def letter(
        self, type: str, reason: str, *, saga: str = "", key: str = "", command: str = ""
    ) -> DeadLetter:
        """See Intake; no sequence tells them apart, so their ids name the command or the key."""
        letter = super().letter(type, reason, saga=saga, key=key, command=command or self.id)
        return structs.replace(letter, id=codec.dead_letter_id("log", 0, self.id or key))


class Reader:
    """Reads stored messages with the definitions of one engine."""

    def __init__(self, names: Names, registry: Registry) -> None:
        self._names = names
        self._registry = registry
        self._gate = gate_definition()

    def read(
        self, partition: Partition, stream: Literal["events", "log"], stored: Stored
    ) -> Intake:
        """The intake of one message; never raises for what is wrong with the message."""
        intake = Intake(partition, stream, stored)
        try:
            if stream == "events":
                self._read_event(intake)
            else:
                self._read_signal(intake)
        except Exception as error:  # what nobody thought of must not stop the messages behind it
            log.exception("message %d of the %s can't be read", stored.seq, stream)
            return _spoilt(partition, stream, stored, error)
        return intake

    def _read_event(self, intake: Intake) -> None:
        stored = intake.stored
        try:
            type, ordering_key = self._names.parse_event(stored.subject)
        except BadName as error:
            intake.letters.append(intake.letter(stored.subject, str(error)))
            return
        if type == codec.ATTEMPTED:
            return
        cause = codec.event_cause(stored, type)
        only = ""
        if stored.headers:
            if self._passes(intake, cause):
                return
            if cause.trace and not _TRACEPARENT.fullmatch(cause.trace):
                cause = structs.replace(cause, trace="")
            try:
                only = unescape(stored.headers.get(codec.SAGA, ""))
            except BadName as error:
                intake.letters.append(
                    intake.letter(
                        type, f"its header {codec.SAGA} can't be read: {error}; write it as a token"
                    )
                )
                return
        deliveries, faults = route(self._registry, cause, ordering_key, only)
        for delivery in deliveries:
            subject = self._names.instance(delivery.definition.id, delivery.key)
            intake.arrivals.append(
                Arrival(delivery.definition, delivery.key, subject, cause, delivery.payload)
            )
        for fault in faults:
            key = ordering_key or ""
            intake.letters.append(intake.letter(type, fault.reason, saga=fault.saga, key=key))
        if stored.headers and (reason := stored.headers.get(codec.DEAD_LETTER)):
            self._bury_command(intake, cause, reason)
        if not deliveries and not faults:
            whose = f"the saga {only!r}" if only else "no saga"
            reason = f"{whose} handles {type!r}; register a handler for it or leave it be"
            intake.notes.append(intake.note(type, "no_saga", reason, id=cause.id))

    def _passes(self, intake: Intake, cause: Cause) -> bool:
        """Whether an event is for no instance: its id is none, or what it answers is no saga's."""
        type = cause.type
        if len(cause.id) > ID_CHARS_MAX or _clean(cause.id) != cause.id:
            reason = f"its message id is no text of at most {ID_CHARS_MAX} characters; send a hash"
            intake.letters.append(intake.letter(type, reason))
            return True
        if is_by_hand(cause.answers):
            reason = (
                "it answers a job that was run by hand, for which no saga waits; nothing is to be"
                " done"
            )
            intake.notes.append(intake.note(type, "no_saga", reason, id=cause.id))
            return True
        if is_call(cause.answers):
            if reason := intake.stored.headers.get(codec.DEAD_LETTER):
                self._bury_command(intake, cause, reason)
            reason = (
                "it answers a job that a step has called, for which no instance waits; nothing is"
                " to be done"
            )
            intake.notes.append(intake.note(type, "called", reason, id=cause.id))
            return True
        return False

    def _bury_command(self, intake: Intake, cause: Cause, reason: str) -> None:
        id = cause.answers
        # What a step has sent has the id of the step's own command, and a word more.
        origin = parse_command_id(id.rpartition(".")[0] if is_call(id) else id)
        saga, key = (origin[0], origin[1]) if origin else ("", "")
        letter = intake.letter(cause.type, reason, saga=saga, key=key, command=cause.answers)
        intake.letters.append(structs.replace(letter, id=f"{letter.id}-job"))

    def _read_signal(self, intake: Intake) -> None:
        stored = intake.stored
        try:
            envelope = codec.open_envelope(stored)
        except (msgspec.DecodeError, RecursionError) as error:
            intake.letters.append(
                intake.letter(
                    stored.subject,
                    f"the signal can't be read: {error}; it is none of ours, discard it",
                )
            )
            return
        if envelope.to is None:
            intake.relay = envelope
            return
        to, cause = envelope.to, envelope.cause
        definition = self._gate if to.saga == GATE_SAGA else self._registry.get(to.saga)
        if definition is None:
            reason = (
                f"no engine here knows the saga {to.saga!r}; start one with the app that defines it"
            )
            intake.letters.append(intake.letter(cause.type, reason, saga=to.saga, key=to.key))
            return
        key = to.key
        if cause.kind == "timer" and cause.id == CRON:
            key, cause = read_tick(intake.stored, cause, definition.cron)
        if cause.type == "" and definition.starting:
            cause = structs.replace(cause, type=definition.starting[0])
        try:
            subject = self._names.instance(definition.id, check_key(key))
        except BadName as error:
            intake.letters.append(intake.letter(cause.type, str(error), saga=to.saga))
            return
        intake.arrivals.append(Arrival(definition, key, subject, cause))


def _clean(text: str) -> str:
    """``text`` as it can be written: bytes that are no UTF-8 are replaced."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _possible(saga: str) -> str:
    """``saga`` when it may be the id of one."""
    try:
        return check_name(saga, "saga id")
    except BadName:
        return ""


def _spoilt(
    partition: Partition, stream: Literal["events", "log"], stored: Stored, error: Exception
) -> Intake:
    intake = Intake(partition, stream, stored)
    reason = f"it can't be read: {type(error).__name__}: {error}; see the engine's log"
    intake.letters.append(intake.letter(stored.subject, reason))
    return intake
