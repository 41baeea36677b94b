"""Dead letters: list them, send one again, put it aside; each step is a revision of the record.

The message itself stays where it was stored first and is read back from there. A redriven event
reaches only the saga that could not take it, since the others have had it. Sending again comes
before writing down that it was done, under an id made from the record: a crash in between can
repeat it, and the repetition is recognised.
"""

from __future__ import annotations

from collections import deque

import msgspec
from msgspec import Raw, Struct

from sagas.actions import ABSENT, ActionRequest, given
from sagas.instance import FINISHED
from sagas.messages import Address, to_raw
from sagas.names import BadName, escape, is_call
from store import codec
from store.abandoned import abandoned_child
from store.codec import ActionReply, DeadLetter, DeadLetterStatus
from store.lookup import Lookup
from store.operations import Operations
from store.port import Backend, Committed, Headers, MessageTooLarge, Outgoing, Refused, Stored
from store.subjects import Names

LIST_MAX = 1000


class Change(Struct, frozen=True, kw_only=True):
    """Who changes a dead letter, why and from where.

    ``action`` is the id of the change: one that was made under it is not made again, and counts as
    done. Empty: no repetition is recognised.
    """

    by: str
    reason: str = ""
    origin: str = ""
    action: str = ""


class LetterReply(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a change: ``seq`` is where a redrive stored the message anew.

    ``found`` is False when there is no such dead letter; ``status`` is the letter's now.
    """

    done: bool
    id: str
    reason: str = ""
    seq: int = 0
    found: bool = True
    status: str = ""


class Postman:
    """Works on dead letters; every method raises Unreachable when the broker does not answer."""

    def __init__(
        self, backend: Backend, names: Names, lookup: Lookup, operations: Operations
    ) -> None:
        self._backend = backend
        self._names = names
        self._lookup = lookup
        self._operations = operations

    async def list(
        self, status: DeadLetterStatus | None = "open", limit: int = 100
    ) -> list[DeadLetter]:
        """Dead letters, those changed last first; ``status`` None for all. At most 1000."""
        kept: deque[DeadLetter] = deque(maxlen=max(0, min(limit, LIST_MAX)))
        async for stored in self._backend.log.latest(self._names.dead_letters()):
            letter = _decode(stored)
            if status is None or letter.status == status:
                kept.append(letter)
        return [*reversed(kept)]

    async def get(self, id: str) -> tuple[DeadLetter, Stored | None] | None:
        """A dead letter and its message, None where either is not stored."""
        record = await self._record(id)
        if record is None:
            return None
        letter = _decode(record)
        return letter, await self._backend.log.at(letter.stream, letter.seq)

    async def redrive(
        self, id: str, change: Change, payload: object = msgspec.UNSET
    ) -> LetterReply:
        """Send the message again, with another payload when one is given; a job's command again."""
        record = await self._record(id)
        if record is None:
            return _unknown(id)
        letter = _decode(record)
        if letter.status != "open":
            return _closed(letter, change)
        raw = ABSENT if payload is msgspec.UNSET else to_raw(payload)
        if is_call(letter.command):
            reply = await self._send_command(letter, record.seq, raw)
        elif letter.command:
            reply = await self._retry_command(letter, change, raw)
        else:
            reply = await self._send_again(letter, record.seq, raw)
        if not reply.done:
            return msgspec.structs.replace(reply, status=letter.status)
        return await self._close(letter, record.seq, "redriven", change, reply.seq)

    async def discard(self, id: str, change: Change) -> LetterReply:
        """Put a dead letter aside: its message stays stored, it leaves the list of open ones.

        Where it is the start of a child, the parent is told that the child has failed.
        """
        record = await self._record(id)
        if record is None:
            return _unknown(id)
        letter = _decode(record)
        if letter.status != "open":
            return _closed(letter, change)
        stored = await self._backend.log.at(letter.stream, letter.seq)
        if news := abandoned_child(self._names, letter, stored, change.reason):
            await self._backend.door.publish(
                news.subject, news.payload, msg_id=f"discard-{letter.id}-{record.seq}"
            )
        return await self._close(letter, record.seq, "discarded", change, 0)

    async def restore(self, id: str, change: Change) -> LetterReply:
        """Put a discarded dead letter back among the open ones."""
        record = await self._record(id)
        if record is None:
            return _unknown(id)
        letter = _decode(record)
        if letter.status != "discarded":
            return _closed(letter, change)
        return await self._close(letter, record.seq, "open", change, 0)

    async def _record(self, id: str) -> Stored | None:
        try:
            return await self._backend.log.read(self._names.dead_letter(id))
        except BadName:
            return None

    async def _retry_command(self, letter: DeadLetter, change: Change, payload: Raw) -> LetterReply:
        request = ActionRequest(command=letter.command, payload=payload)
        reply = await self._operations.act(
            letter.saga,
            letter.key,
            "retry",
            by=change.by,
            reason=change.reason,
            request=request,
            id=change.action,
            origin=change.origin,
        )
        return LetterReply(
            done=reply.done, id=letter.id, reason=_not_sent(letter, reply), seq=reply.seq
        )

    async def _send_command(self, letter: DeadLetter, revision: int, raw: Raw) -> LetterReply:
        """Have the job run again that a step has sent and does not wait for."""
        result = await self._backend.log.at(letter.stream, letter.seq)
        sent = None if result is None else await self._sent_for(result)
        if sent is None:
            reason = "its command is not stored any more; run the job by hand, then discard this"
            return LetterReply(done=False, id=letter.id, reason=reason)
        sends = int(sent.headers.get(codec.ATTEMPT, "1")) + 1
        try:
            accepted = await self._backend.door.publish(
                sent.subject,
                bytes(raw) if given(raw) else sent.data,
                {**_own(sent.headers), codec.ATTEMPT: str(sends)},
                msg_id=f"redrive-{letter.id}-{revision}",
            )
        except (Refused, MessageTooLarge) as error:
            return LetterReply(done=False, id=letter.id, reason=str(error))
        return LetterReply(done=True, id=letter.id, seq=accepted.seq)

    async def _sent_for(self, result: Stored) -> Stored | None:
        """The command that a result answers, which no instance holds."""
        execution = msgspec.json.decode(result.headers[codec.EXECUTION], type=codec.Execution)
        _, key = self._names.parse_event(result.subject)
        return await self._backend.log.read(self._names.command(execution.target, key or ""))

    async def _send_again(self, letter: DeadLetter, revision: int, raw: Raw) -> LetterReply:
        stored = await self._backend.log.at(letter.stream, letter.seq)
        if stored is None:
            return LetterReply(
                done=False,
                id=letter.id,
                reason=f"its message ({letter.stream} {letter.seq}) is not stored any more; "
                "publish it anew and discard this",
            )
        try:
            message = self._again(letter, stored, raw)
        except (BadName, msgspec.DecodeError) as error:
            reason = f"its message can't be read: {error}; publish it anew and discard this"
            return LetterReply(done=False, id=letter.id, reason=reason)
        try:
            accepted = await self._backend.door.publish(
                message.subject,
                message.payload,
                dict(message.headers),
                msg_id=f"redrive-{letter.id}-{revision}",
            )
        except (Refused, MessageTooLarge) as error:
            return LetterReply(done=False, id=letter.id, reason=str(error))
        return LetterReply(done=True, id=letter.id, seq=accepted.seq)

    def _again(self, letter: DeadLetter, stored: Stored, raw: Raw) -> Outgoing:
        """The message to send for a stored one; raises BadName or msgspec.DecodeError."""
        if letter.stream == "log":
            envelope = codec.open_envelope(stored)
            cause, to = envelope.cause, envelope.to or Address("", envelope.key)
            if given(raw):
                cause = msgspec.structs.replace(cause, payload=raw)
                envelope = msgspec.structs.replace(envelope, cause=cause)
            subject = self._names.signal(cause.kind, to.key)
            return Outgoing(subject, msgspec.json.encode(envelope), ((codec.REDRIVEN, letter.id),))
        type, key = self._names.parse_event(stored.subject)
        headers = _own(stored.headers)
        headers[codec.REDRIVEN] = letter.id
        if letter.saga:
            headers[codec.SAGA] = escape(letter.saga)
        payload = bytes(raw) if given(raw) else stored.data
        return Outgoing(self._names.event(type, key), payload, tuple(headers.items()))

    async def _close(
        self,
        letter: DeadLetter,
        revision: int,
        status: DeadLetterStatus,
        change: Change,
        seq: int,
    ) -> LetterReply:
        closed = msgspec.structs.replace(
            letter,
            status=status,
            by=change.by,
            note=change.reason,
            origin=change.origin,
            action=change.action,
            resent=seq,
        )
        subject = self._names.dead_letter(letter.id)
        record = Outgoing(subject, msgspec.json.encode(closed), expect=revision)
        outcome = await self._backend.log.commit([record])
        done = LetterReply(done=True, id=letter.id, seq=seq, status=status)
        if isinstance(outcome, Committed):
            return done
        now = await self._backend.log.read(subject)
        if now is not None and _decode(now) == closed:  # the answer was lost, the record is not
            return done
        sent = "the message was sent, but the" if seq else "the"
        return LetterReply(
            done=False,
            id=letter.id,
            reason=f"{sent} dead letter was changed by somebody else meanwhile, or the broker is "
            f"busy ({outcome.reason}); look at it again",
            seq=seq,
        )


def _own(headers: Headers) -> dict[str, str]:
    """Headers without orders to the server (Nats-…), which were for the first time: the id would
    hide the repetition.
    """
    return {name: value for name, value in headers.items() if not name.startswith("Nats-")}


def _decode(stored: Stored) -> DeadLetter:
    return msgspec.json.decode(stored.data, type=DeadLetter)


def _not_sent(letter: DeadLetter, reply: ActionReply) -> str:
    """Why a command was not sent again, and what to do; empty when it was."""
    if reply.done:
        return ""
    if reply.status in FINISHED:
        return (
            f"{letter.saga}/{letter.key} is {reply.status}, and what an instance that has ended had"
            " sent is not sent again; if its work is still to be done, run the job by hand, then"
            " discard the dead letter"
        )
    return f"{reply.reason}; discard the dead letter when nothing is left to do"


def _unknown(id: str) -> LetterReply:
    return LetterReply(
        done=False,
        id=id,
        reason=f"there is no dead letter {id!r}; see `snorri dead-letters list`",
        found=False,
    )


def _closed(letter: DeadLetter, change: Change) -> LetterReply:
    """The reply about a letter whose status does not allow the change, or has it already."""
    if change.action and letter.action == change.action:
        return LetterReply(done=True, id=letter.id, seq=letter.resent, status=letter.status)
    by = f" by {letter.by}" if letter.by else ""
    was = f"was {letter.status}{by} before" if letter.status != "open" else "is open"
    return LetterReply(
        done=False,
        id=letter.id,
        reason=f"dead letter {letter.id} {was}; nothing was done",
        status=letter.status,
    )
