"""Events that have passed, delivered again by a person: published anew, or given to one instance.

Published anew, an event finds its instances by correlation like any other. Given to an instance, it
reaches that one alone, past correlation, under its own id and sequence: an instance that has taken
the event before refuses it, however often it is given. Who did it and why stays with the event, or
in the history of the instance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec
from msgspec import Raw, structs

from sagas.messages import Address, Cause
from sagas.names import BadName, check_key, check_name, escape
from store import codec
from store.closing import closing
from store.codec import ActionReply
from store.events import Receipt, Rejected
from store.lookup import Lookup
from store.operations import WAIT_S, Operations
from store.port import Backend, Stored
from store.publishing import EventPublisher
from store.subjects import Names

# What belongs to the first time only: the record of an attempt, and a dead letter made of it.
_ONCE = frozenset({codec.EXECUTION, codec.DEAD_LETTER, codec.REDRIVEN, codec.BY, codec.REASON})


class Redelivery:
    """Delivers stored events again; every method raises Unreachable."""

    def __init__(
        self,
        backend: Backend,
        names: Names,
        lookup: Lookup,
        operations: Operations,
        publisher: EventPublisher,
    ) -> None:
        self._log = backend.log
        self._names = names
        self._lookup = lookup
        self._operations = operations
        self._publisher = publisher

    async def stored(self, seq: int) -> Stored | None:
        """The event of a sequence, or None when none is stored there."""
        return await self._log.at("events", seq)

    async def resend(
        self,
        seq: int,
        *,
        by: str,
        reason: str = "",
        type: str | None = None,
        key: str | None = None,
        payload: Raw | None = None,
    ) -> Receipt:
        """Publish the event of a sequence once more, with what is given in place of its own.

        The same request again is recognised by its id while nothing of it differs, ``reason``
        included. Never raises for an event that is refused.
        """
        stored = await self.stored(seq)
        if stored is None:
            return Rejected(reason=_gone(seq))
        try:
            had_type, had_key = self._names.parse_event(stored.subject)
        except BadName as error:
            return Rejected(reason=f"it can't be sent again: {error}; publish it anew")
        new_type, new_key = type or had_type, key if key is not None else had_key
        body = bytes(payload) if payload is not None else stored.data
        return await self._publisher.publish(
            new_type,
            Raw(body or b"null"),
            key=new_key,
            id=_id(seq, new_type, new_key or "", body, by, reason),
            headers=_headers(stored.headers, seq, by, reason),
        )

    async def attach(
        self,
        seq: int,
        saga: str,
        key: str,
        *,
        by: str,
        reason: str = "",
        origin: str = "",
        timeout_s: float = WAIT_S,
    ) -> ActionReply:
        """Give the event of a sequence to one instance and wait for what becomes of it.

        An instance that does not exist begins with it when it is a starting message of its saga. A
        refusal is a reply, never an exception.
        """
        to = Address(saga, key)
        try:
            check_name(saga, "saga id")
            check_key(key)
            event = self._event(await self.stored(seq), seq)
        except BadName as error:
            return _refused(to, str(error))
        if event is None:
            return _refused(to, _gone(seq))
        if had := await self._had(to, seq):
            return had
        event = structs.replace(event, by=by, reason=reason)
        msg_id = f"attach-{seq}-{escape(saga)}-{escape(key)}"
        return await self._operations.deliver(
            to, event, msg_id=msg_id, origin=origin, timeout_s=timeout_s
        )

    def _event(self, stored: Stored | None, seq: int) -> Cause | None:
        """The event as a cause with an id, or None when it is not stored; raises BadName."""
        if stored is None:
            return None
        cause = codec.event_cause(stored, self._names.parse_event(stored.subject)[0])
        return cause if cause.id else structs.replace(cause, id=f"events-{seq}")

    async def _had(self, to: Address, seq: int) -> ActionReply | None:
        """The refusal for an instance that has this event in its history."""
        async with closing(self._lookup.history(to.saga, to.key)) as revisions:
            async for revision in revisions:
                one = revision.instance
                if one.cause.kind == "event" and one.cause.seq == seq:
                    return structs.replace(
                        _refused(to, f"{to} took event {seq} before, as version {one.version}"),
                        version=one.version,
                        status=one.status,
                        seq=revision.seq,
                    )
        return None


def _headers(had: Mapping[str, str], seq: int, by: str, reason: str) -> dict[str, str]:
    # Orders to the server (Nats-…) were for the first time; the id would hide the repetition.
    kept = {n: v for n, v in had.items() if not n.lower().startswith("nats-") and n not in _ONCE}
    kept[codec.REDRIVEN] = f"events-{seq}"
    for name, text in ((codec.BY, by), (codec.REASON, reason)):
        if text:
            kept[name] = escape(text)
    return kept


def _id(seq: int, *parts: str | bytes) -> str:
    digest = hashlib.sha256(msgspec.json.encode([*map(_text, parts)])).hexdigest()[:16]
    return f"resend-{seq}-{digest}"


def _text(part: str | bytes) -> str:
    return part if isinstance(part, str) else hashlib.sha256(part).hexdigest()


def _gone(seq: int) -> str:
    return f"there is no event {seq} any more, or none yet; `snorri events` lists what is stored"


def _refused(to: Address, reason: str) -> ActionReply:
    return ActionReply(done=False, saga=to.saga, key=to.key, version=0, reason=reason)
