"""An engine's lane over a memory broker, and what a test wants to know of it.

It starts the lane over all partitions, publishes as strangers and jobs do, and waits until every
message of both streams is behind a committed position, which is the one true sign that the lane has
nothing left to do. Time is the broker's and virtual.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

import msgspec

from jobs.cache import Cache
from jobs.lane import Lane
from jobs.telemetry import BatchCommitted, BatchConflicted, Telemetry
from sagas.definition import Registry, SagaDefinition
from sagas.instance import Instance, decode, document_hash
from sagas.messages import Address, Cause, to_raw
from store.codec import DeadLetter, Note, Notes, Position
from store.memory import Faults, MemoryBackend, MemoryBroker
from store.outbox import signal
from store.port import Committed, Outgoing, Stored
from store.subjects import Names
from tests.waiting import eventually

PARTITIONS = 4


class Counts:
    """How many batches were stored and how many were not, with their sizes."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.transitions: list[int] = []
        self.conflicts = 0
        self.moments: list[Telemetry] = []

    def told(self, moment: Telemetry) -> None:
        """See Hook."""
        self.moments.append(moment)
        match moment:
            case BatchCommitted():
                self.sizes.append(moment.messages)
                self.transitions.append(len(moment.transitions))
            case BatchConflicted():
                self.conflicts += 1
            case _:
                pass


class Rig:
    """One broker, any number of lanes on it; ``names`` are its subjects."""

    def __init__(
        self,
        definitions: Iterable[SagaDefinition],
        faults: Faults | None = None,
        partitions: int = PARTITIONS,
    ) -> None:
        self.registry = Registry(definitions)
        self.broker = MemoryBroker(Names(), partitions, faults=faults)
        self.names = self.broker.names
        self.outside = self.broker.backend("outside")
        self.counts: list[Counts] = []
        self.lanes: list[Lane] = []
        self.backends: list[MemoryBackend] = []
        self._tasks: list[asyncio.Task[None]] = []

    def now(self) -> datetime:
        """The broker's time."""
        return datetime.fromtimestamp(self.broker.clock.now_ns() / 1e9, UTC)

    # --- lanes

    async def lane(self, *, cache: Cache | None = None, owner: str = "") -> Lane:
        """One more lane, running over all partitions."""
        owner = owner or f"engine{len(self.lanes) + 1}"
        backend, counts = self.broker.backend(owner), Counts()
        lane = Lane(
            *(backend, self.names, self.registry, owner),
            cache=cache,
            hook=counts,
            clock=self.now,
        )
        self._tasks.append(asyncio.create_task(lane.run()))
        for number in range(self.broker.partitions):
            await lane.acquire(number)
        self.lanes.append(lane)
        self.counts.append(counts)
        self.backends.append(backend)
        return lane

    async def close(self) -> None:
        """Stop all lanes; raises what ended one before."""
        for backend in self.backends:
            backend.heal()
        for lane in self.lanes:
            lane.stop()
        try:
            await asyncio.wait_for(asyncio.gather(*self._tasks), 5)
        finally:
            await self.broker.close()

    async def drained(self, timeout_s: float = 5.0) -> None:
        """Wait until a committed position is behind every message of both streams."""
        await self.until(self.is_drained, "all messages being handled", timeout_s)

    async def until(self, is_so: Callable[[], object], what: str, timeout_s: float = 5.0) -> None:
        """Let the lanes run until ``is_so``; fails at once when a lane has died."""

        async def look() -> bool:
            for _ in range(20):
                for task in self._tasks:
                    if task.done() and not task.cancelled() and task.exception():
                        task.result()
                if is_so():
                    return True
                await self.broker.advance(0.0)
            return False

        await eventually(look, timeout_s, what)

    def is_drained(self) -> bool:
        """Whether nothing waits now."""
        for number in range(self.broker.partitions):
            position = self.position(number)
            if any(self.broker.log.since(position.signals, self.names.signal_filters(number))):
                return False
            if any(self.broker.events.since(position.events, self.names.event_filters(number))):
                return False
        return True

    # --- what others do

    async def publish(
        self,
        type: str,
        key: str | None,
        payload: object = None,
        *,
        id: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> int:
        """Publish an event; ``payload`` of bytes goes out as it is. Its sequence."""
        body = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
        subject = self.names.event(type, key)
        return (await self.outside.door.publish(subject, body, headers or {}, id)).seq

    async def answer(
        self, type: str, command: str, payload: object = None, *, key: str = "worker", id: str = ""
    ) -> int:
        """Publish a job's result."""
        return await self.publish(type, key, payload, id=id, headers={"Snorri-Cause": command})

    async def signal(self, to: Address, cause: Cause) -> None:
        """Send an internal message as the engine or the API does."""
        message = signal(self.names, to, cause)
        await self.outside.door.publish(message.subject, message.payload)

    async def act(
        self, saga: str, key: str, action: str, payload: object = None, *, id: str = "op"
    ) -> None:
        """Send an operator's action."""
        raw = to_raw(payload)
        cause = Cause(
            kind="operator", type=action, id=id, seq=0, at=self.now(), payload=raw, by="Ola"
        )
        await self.signal(Address(saga, key), cause)

    async def write(self, saga: str, key: str, document: bytes, expect: int | None = None) -> int:
        """Write a revision by hand, as a second writer would; its sequence."""
        message = Outgoing(self.names.instance(saga, key), document, (), expect)
        outcome = await self.outside.log.commit([message])
        assert isinstance(outcome, Committed), outcome
        return outcome.last

    async def move(self, number: int, position: Position) -> None:
        """Move a position by hand, as another engine or a lost disk would."""
        subject, rollup = self.names.position(number), (("Nats-Rollup", "sub"),)
        record = Outgoing(subject, msgspec.json.encode(position), rollup)
        assert isinstance(await self.outside.log.commit([record]), Committed)

    # --- what is there

    def history(self, saga: str, key: str) -> list[Instance]:
        """All versions of an instance, their chain verified."""
        subject = self.names.instance(saga, key)
        stored = list(self.broker.log.since(0, [subject]))
        return chained([message.data for message in stored])

    def last(self, saga: str, key: str) -> Instance:
        """The instance now."""
        history = self.history(saga, key)
        assert history, f"{saga}/{key} does not exist"
        return history[-1]

    def keys(self, saga: str) -> set[str]:
        """The keys of all instances of a saga."""
        found = self.broker.log.since(0, [self.names.instances(saga)])
        return {self.names.parse_instance(message.subject)[1] for message in found}

    def commands(self, target: str = "*") -> list[Stored]:
        """All commands of a target, in order."""
        return list(self.broker.log.since(0, [f"{self.names.namespace}.commands.{target}.>"]))

    def command_ids(self, target: str = "*") -> list[str]:
        """Their ids."""
        return [command.headers["Snorri-Command-Id"] for command in self.commands(target)]

    def letters(self) -> list[DeadLetter]:
        """All dead letters, in order."""
        found = self.broker.log.since(0, [self.names.dead_letters()])
        return [msgspec.json.decode(message.data, type=DeadLetter) for message in found]

    def notes(self) -> list[Note]:
        """All notes, in order."""
        found = self.broker.log.since(0, [self.names.notes_all()])
        records = [msgspec.json.decode(message.data, type=Notes) for message in found]
        return [note for record in records for note in record.items]

    def note_codes(self) -> list[str]:
        """The codes of all notes, in order."""
        return [note.code for note in self.notes()]

    def position(self, number: int) -> Position:
        """How far a partition is committed."""
        stored = self.broker.log.last(self.names.position(number))
        if stored is None:
            return Position(events=0, signals=0, owner="", batch="")
        return msgspec.json.decode(stored.data, type=Position)

    def events(self, type: str) -> list[Stored]:
        """All stored events of a type, in order."""
        return [
            message
            for message in self.broker.events.since(0, [">"])
            if self.names.parse_event(message.subject)[0] == type
        ]


def chained(documents: Iterable[bytes]) -> list[Instance]:
    """The instances of a history; fails where a version is missing or a hash does not fit."""
    history: list[Instance] = []
    prev = ""
    for number, document in enumerate(documents, 1):
        instance = decode(document)
        assert instance.version == number, f"version {instance.version} stands at place {number}"
        assert instance.prev == prev, f"version {number} does not continue the one before"
        prev = document_hash(document)
        history.append(instance)
    return history
