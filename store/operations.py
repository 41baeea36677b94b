"""Operator actions and starts by hand: write a signal, then learn what became of it.

An action is a message like any other: it is stored, an engine decides it, and the outcome is a
revision, a note or a dead letter, all of them later in the log than the signal. So nothing is
missed by watching from the signal's sequence on, and nothing is done twice: the signal's id is
known to the broker and to the instance. Refuses to decide anything itself; ``plan`` asks the pure
kernel what it would decide.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable

import msgspec

from sagas.actions import Action, ActionRequest, Plan
from sagas.actions import plan as plan_action
from sagas.definition import SagaDefinition
from sagas.instance import Instance
from sagas.kernel import Snapshot
from sagas.messages import Address, Cause, to_raw
from sagas.names import BadName, check_key, check_name
from store import codec
from store.broker_clock import Clock
from store.closing import closing
from store.codec import ActionReply, DeadLetter, Envelope, Notes
from store.lookup import Lookup
from store.port import Backend, MessageTooLarge, Refused, Unreachable
from store.room import RoomReader
from store.subjects import Names

WAIT_S = 10.0
SETTLED = frozenset({"completed", "failed", "compensated", "cancelled", "parked", "paused"})


class Operations:
    """Acts on instances; every method raises Unreachable when the broker does not answer."""

    def __init__(
        self,
        backend: Backend,
        names: Names,
        lookup: Lookup,
        now: Clock,
        room: RoomReader | None = None,
    ) -> None:
        self._room = room
        self._backend = backend
        self._names = names
        self._lookup = lookup
        self._now = now

    async def act(
        self,
        saga: str,
        key: str,
        action: Action,
        *,
        by: str,
        reason: str = "",
        request: ActionRequest | None = None,
        timeout_s: float = WAIT_S,
        id: str = "",
        origin: str = "",
    ) -> ActionReply:
        """Take an action and wait for its outcome; a refusal is a reply, never an exception.

        ``id`` (default: a new one) makes a repetition harmless: an action that was taken under it
        is not taken again, and its outcome is answered once more.
        """
        to = Address(saga, key)
        try:
            current = await self._lookup.latest(check_name(saga, "saga id"), check_key(key))
        except BadName as error:
            return _refused(to, str(error))
        if current is None:
            return _refused(to, f"{saga}/{key} does not exist; check saga and key")
        cause = self._cause(action, by, reason, request, id)
        return await self._once(Envelope(to=to, cause=cause, origin=origin), to, timeout_s, id)

    async def start(
        self,
        saga: str,
        input: object = None,
        *,
        key: str | None = None,
        by: str = "",
        wait: bool = False,
        timeout_s: float = WAIT_S,
        id: str = "",
        origin: str = "",
        trace: str = "",
    ) -> ActionReply:
        """Start an instance with the payload of its starting message; default key: a new one.

        With ``wait`` the reply is the instance's end (or its stop: parked, paused) instead of its
        beginning. An instance that exists takes the message as it would take the event. ``id``
        (default: a new one) makes a repetition with the same key harmless, as with ``act``.
        ``trace`` is the traceparent that the run goes on in; without one it begins its own.
        """
        to = Address(saga, key if key is not None else uuid.uuid4().hex)
        try:
            check_name(saga, "saga id")
            check_key(to.key)
            payload = to_raw(input)
        except (BadName, TypeError) as error:
            return _refused(to, str(error))
        if self._room is not None and (refusal := await self._room.refusal()):
            return _refused(to, refusal)
        # Without a type: the engine knows which message starts the saga.
        cause = Cause(
            kind="spawn",
            type="",
            id=id or uuid.uuid4().hex,
            seq=0,
            at=self._now(),
            payload=payload,
            by=by,
            trace=trace,
        )
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        reply = await self._once(Envelope(to=to, cause=cause, origin=origin), to, timeout_s, id)
        if not (wait and reply.done) or reply.status in SETTLED:
            return reply
        try:
            async with asyncio.timeout_at(deadline_s):
                return await self._end_of(to, reply.seq)
        except TimeoutError:
            reason = (
                f"{to} was started and has not ended within {timeout_s:g} s; "
                f"follow it with `snorri history {saga} {to.key} --follow`"
            )
            return msgspec.structs.replace(reply, done=False, pending=True, reason=reason)

    async def plan(
        self,
        definition: SagaDefinition,
        key: str,
        action: Action,
        *,
        by: str,
        reason: str = "",
        request: ActionRequest | None = None,
    ) -> Plan:
        """What an action would do to the instance as it is now; nothing is sent or changed.

        Its hash, given back in the request of ``act``, makes exactly this happen or nothing. Raises
        BadName.
        """
        current = await self._lookup.latest(definition.id, check_key(key))
        snapshot = Snapshot(key)
        if current is not None:
            snapshot = Snapshot(key, current.instance, current.hash)
        cause = self._cause(action, by, reason, request, "")
        return plan_action(definition, snapshot, cause, cause.at)

    def _cause(
        self, action: Action, by: str, reason: str, request: ActionRequest | None, id: str
    ) -> Cause:
        return Cause(
            kind="operator",
            type=action,
            id=id or uuid.uuid4().hex,
            seq=0,
            at=self._now(),
            payload=to_raw(request if request is not None else ActionRequest()),
            by=by,
            reason=reason,
        )

    async def deliver(
        self, to: Address, event: Cause, *, msg_id: str, origin: str = "", timeout_s: float = WAIT_S
    ) -> ActionReply:
        """Give a stored event to one instance, past all correlation, and wait for its outcome.

        ``event`` has an id, and its own sequence and time. ``msg_id`` names this delivery.
        """
        return await self._send(Envelope(to=to, cause=event, origin=origin), to, timeout_s, msg_id)

    async def _once(
        self, envelope: Envelope, to: Address, timeout_s: float, id: str
    ) -> ActionReply:
        """Send; of a message under a given id that was refused, what it had caused before.

        The broker knows an id for some minutes, the instance for as long as its history is kept.
        """
        reply = await self._send(envelope, to, timeout_s, envelope.cause.id)
        if not id or reply.done or reply.pending:
            return reply
        return await self._taken(to, id) or reply

    async def _taken(self, to: Address, id: str) -> ActionReply | None:
        """The transition that the message ``id`` has caused, or None."""
        async with closing(self._lookup.history(to.saga, to.key)) as revisions:
            async for revision in revisions:
                instance = revision.instance
                if instance.cause.id == id or id in instance.seen:
                    return _done(instance, revision.seq)
        return None

    async def _send(
        self, envelope: Envelope, to: Address, timeout_s: float, msg_id: str
    ) -> ActionReply:
        cause = envelope.cause
        body = msgspec.json.encode(envelope)
        subject = self._names.signal(cause.kind, to.key)
        try:
            accepted = await self._backend.door.publish(subject, body, msg_id=msg_id)
        except (Refused, MessageTooLarge) as error:
            return _refused(to, str(error))
        try:
            async with asyncio.timeout(timeout_s):
                return await self._outcome(to, cause.id, accepted.seq)
        except TimeoutError:
            reply = _refused(
                to,
                f"stored as {accepted.seq}, and no engine has read it within {timeout_s:g} s; it "
                "will run when one does. Is an engine running? See `snorri doctor`",
            )
            return msgspec.structs.replace(reply, pending=True, seq=accepted.seq)

    async def _outcome(self, to: Address, id: str, seq: int) -> ActionReply:
        """The first of: a revision, a note, a dead letter that speaks of the signal at ``seq``."""
        letter = codec.dead_letter_id("log", seq, to.saga)
        return await _first(
            self._until_revision(to, id, seq),
            self._until_note(to, id, seq),
            self._until_letter(to, letter, seq),
        )

    async def _until_revision(self, to: Address, id: str, seq: int) -> ActionReply:
        async with closing(self._lookup.watch(to.saga, to.key, after=seq)) as revisions:
            async for revision in revisions:
                instance = revision.instance
                if instance.cause.id == id or id in instance.seen:
                    return _done(instance, revision.seq)
        raise _ended()

    async def _until_note(self, to: Address, id: str, seq: int) -> ActionReply:
        async with closing(self._backend.log.watch(self._names.notes_all(), seq)) as messages:
            async for stored in messages:
                for note in msgspec.json.decode(stored.data, type=Notes).items:
                    if note.id == id:
                        return await self._noted(to, note.reason)
        raise _ended()

    async def _until_letter(self, to: Address, letter: str, seq: int) -> ActionReply:
        subject = self._names.dead_letter(letter)
        async with closing(self._backend.log.watch(subject, seq)) as messages:
            async for stored in messages:
                dead = msgspec.json.decode(stored.data, type=DeadLetter)
                return await self._noted(to, f"{dead.reason} (kept as dead letter {letter})")
        raise _ended()

    async def _noted(self, to: Address, reason: str) -> ActionReply:
        current = await self._lookup.latest(to.saga, to.key)
        return _refused(to, reason, current.instance if current else None)

    async def _end_of(self, to: Address, seq: int) -> ActionReply:
        # From before the revision known, so that an end stored meanwhile is seen too.
        async with closing(self._lookup.watch(to.saga, to.key, after=seq - 1)) as revisions:
            async for revision in revisions:
                if revision.instance.status in SETTLED:
                    return _done(revision.instance, revision.seq)
        raise _ended()


def _done(instance: Instance, seq: int) -> ActionReply:
    return ActionReply(
        done=True,
        saga=instance.saga,
        key=instance.key,
        version=instance.version,
        status=instance.status,
        seq=seq,
    )


def _refused(to: Address, reason: str, instance: Instance | None = None) -> ActionReply:
    return ActionReply(
        done=False,
        saga=to.saga,
        key=to.key,
        version=instance.version if instance else 0,
        status=instance.status if instance else "",
        reason=reason,
    )


def _ended() -> Unreachable:
    return Unreachable("the connection was closed while waiting for the outcome; look again")


async def _first(*waits: Awaitable[ActionReply]) -> ActionReply:
    """The first answer; the other waits are ended and have closed what they opened."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
