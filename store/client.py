"""``SagaClient``: everything one may ask of a running installation, over any backend.

The face that the API, the pages, the command line and programs share: publish, look, act, dead
letters. It only puts the parts together; each part says what it promises. It starts nothing and
holds no connection of its own: whoever opened the backend closes it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec
from msgspec import Raw

from sagas.actions import Action, ActionRequest, Plan
from sagas.definition import SagaDefinition
from sagas.instance import Instance, Status
from sagas.upcasting import upcast
from store.broker_clock import Clock, utc_now
from store.codec import ActionReply, DeadLetter, DeadLetterStatus
from store.dead_letters import Change, LetterReply, Postman
from store.events import NewEvent, Receipt
from store.lookup import Lookup, Revision
from store.operations import WAIT_S, Operations
from store.port import NO_HEADERS, Backend, Stored
from store.publishing import EventPublisher, Mode
from store.redelivery import Redelivery
from store.room import RoomReader
from store.subjects import Names


class SagaClient:
    """One client of one backend; ``now`` is the clock that stamps actions (UTC).

    ``room`` knows whether new sagas are taken.
    """

    def __init__(self, backend: Backend, names: Names, *, now: Clock = utc_now) -> None:
        self.room = RoomReader(backend.meta)
        self._publisher = EventPublisher(backend.door, names, backend.payload_max, self.room)
        self._lookup = Lookup(backend.log, names)
        self._operations = Operations(backend, names, self._lookup, now, self.room)
        self._postman = Postman(backend, names, self._lookup, self._operations)
        self._redelivery = Redelivery(
            backend, names, self._lookup, self._operations, self._publisher
        )

    # --- publish

    async def publish(
        self,
        type: str,
        payload: object = None,
        key: str | None = None,
        id: str | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Receipt:
        """Publish one event; never raises for one that is refused. See NewEvent."""
        return await self._publisher.publish(type, payload, key=key, id=id, headers=headers)

    async def publish_many(
        self, messages: Sequence[NewEvent], mode: Mode = "sequential"
    ) -> list[Receipt]:
        """Publish events, a receipt for each; the modes stand at EventPublisher.publish_many."""
        return await self._publisher.publish_many(messages, mode)

    # --- look; all raise Unreachable

    async def get(self, saga: str, key: str) -> Instance | None:
        """The instance as the leader of the log holds it now, or None."""
        revision = await self._lookup.latest(saga, key)
        return None if revision is None else revision.instance

    async def latest(self, saga: str, key: str) -> Revision | None:
        """The same with its sequence, time and hash."""
        return await self._lookup.latest(saga, key)

    def history(self, saga: str, key: str) -> AsyncIterator[Revision]:
        """All versions in order; raises IllegalTransition where the chain is broken."""
        return self._lookup.history(saga, key)

    async def archived(self, saga: str, key: str) -> int:
        """The last version that is in the archive, 0 when none is."""
        return await self._lookup.archived(saga, key)

    async def revisions(self, saga: str, key: str, seqs: Sequence[int]) -> list[Revision]:
        """Versions that follow one another, by their sequences; raises IllegalTransition."""
        return await self._lookup.revisions(saga, key, seqs)

    def watch(
        self, saga: str | None = None, key: str | None = None, after: int | None = None
    ) -> AsyncIterator[Revision]:
        """Revisions as they are stored, without end; ``after`` resumes behind a sequence."""
        return self._lookup.watch(saga, key, after)

    async def instances(
        self, saga: str | None = None, status: Status | None = None, limit: int = 100
    ) -> list[Revision]:
        """The instances that changed last, newest first."""
        return await self._lookup.instances(saga, status, limit)

    async def counts(self) -> Mapping[str, Mapping[Status, int]]:
        """How many instances each saga has in each status."""
        return await self._lookup.counts()

    async def keys(self, saga: str) -> list[str]:
        """The keys of a saga's instances, those changed last first, at most 10,000."""
        return await self._lookup.keys(saga)

    def all_keys(self, saga: str) -> AsyncIterator[str]:
        """The keys of all of a saga's instances; one that changes meanwhile may come twice."""
        return self._lookup.all_keys(saga)

    async def sagas_with(self, key: str) -> list[str]:
        """The sagas that have an instance of this key; raises BadName."""
        return await self._lookup.sagas_with(key)

    async def query(
        self,
        definition: SagaDefinition,
        key: str,
        name: str,
        arguments: Mapping[str, object] | None = None,
    ) -> object:
        """The answer of a declared query about the state now; raises UnknownQuery, LookupError."""
        instance = await self.get(definition.id, key)
        if instance is None:
            raise LookupError(f"{definition.id}/{key} does not exist; check saga and key")
        state = upcast(definition, instance.state, instance.definition_version)
        return definition.query(name, state, arguments or {})

    # --- act; refusals are replies, Unreachable is raised

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
        """Take an operator action and wait for what becomes of it."""
        return await self._operations.act(
            saga,
            key,
            action,
            by=by,
            reason=reason,
            request=request,
            timeout_s=timeout_s,
            id=id,
            origin=origin,
        )

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
        """What ``act`` would do now, with the hash that makes exactly this happen."""
        return await self._operations.plan(
            definition, key, action, by=by, reason=reason, request=request
        )

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
        """Start an instance by hand; with ``wait`` the reply is its end."""
        return await self._operations.start(
            saga,
            input,
            key=key,
            by=by,
            wait=wait,
            timeout_s=timeout_s,
            id=id,
            origin=origin,
            trace=trace,
        )

    # --- events that have passed

    async def event(self, seq: int) -> Stored | None:
        """The event of a sequence as it is stored, or None; raises Unreachable."""
        return await self._redelivery.stored(seq)

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
        """Publish a stored event once more, changed or as it was."""
        return await self._redelivery.resend(
            seq, by=by, reason=reason, type=type, key=key, payload=payload
        )

    async def attach(
        self, seq: int, saga: str, key: str, *, by: str, reason: str = "", origin: str = ""
    ) -> ActionReply:
        """Give a stored event to one instance, which takes it at most once."""
        return await self._redelivery.attach(seq, saga, key, by=by, reason=reason, origin=origin)

    # --- dead letters

    async def dead_letters(
        self, status: DeadLetterStatus | None = "open", limit: int = 100
    ) -> list[DeadLetter]:
        """Dead letters, those changed last first; ``status`` None for all."""
        return await self._postman.list(status, limit)

    async def dead_letter(self, id: str) -> tuple[DeadLetter, Stored | None] | None:
        """A dead letter and its message."""
        return await self._postman.get(id)

    async def redrive(
        self,
        id: str,
        *,
        by: str,
        reason: str = "",
        payload: object = msgspec.UNSET,
        origin: str = "",
        action: str = "",
    ) -> LetterReply:
        """Send a dead letter's message (or its job's command) again."""
        change = Change(by=by, reason=reason, origin=origin, action=action)
        return await self._postman.redrive(id, change, payload)

    async def discard(
        self, id: str, *, by: str, reason: str = "", origin: str = "", action: str = ""
    ) -> LetterReply:
        """Take a dead letter from the list of open ones."""
        change = Change(by=by, reason=reason, origin=origin, action=action)
        return await self._postman.discard(id, change)

    async def restore(
        self, id: str, *, by: str, reason: str = "", origin: str = "", action: str = ""
    ) -> LetterReply:
        """Put a discarded dead letter back among the open ones."""
        change = Change(by=by, reason=reason, origin=origin, action=action)
        return await self._postman.restore(id, change)
