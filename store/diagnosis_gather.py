"""Gathers the facts of a diagnosis: the document now from the log, who is alive from the meta
bucket, queues from the broker, what was tried and how long it took before from the projections.

Everything beside the document is a help to people: what can't be had is left out. Cards and queues
are remembered for a moment, so that a page of instances does not ask for them again and again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from sagas.draft import GATE_SAGA
from sagas.gate import GateState, Slot
from sagas.instance import Instance, Status
from sagas.messages import Address
from sagas.names import BadName, command_gate, escape
from store.cards import (
    EngineCard,
    JobCard,
    SagaCard,
    WorkerCard,
    engine_cards,
    job_cards,
    worker_cards,
)
from store.codec import DeadLetter, moment
from store.diagnosis import Wait, waits
from store.diagnosis_facts import ChildFacts, Facts, JobFacts, Letter, Pace, Tries
from store.port import Backend, QueueState, Stored, StoreError
from store.projection.pace import PATIENCE_S, Paces
from store.projection.port import ReadError, ReadModel
from store.projection.waiting import open_commands, open_letters, stop_of
from store.subjects import Names

log = logging.getLogger("snorri.store")

T = TypeVar("T")

KEEP_S = 2.0
CHILDREN_MAX = 50  # running children that are looked at


class _Gate(Struct, frozen=True):
    """The part of a gate's document that tells who waits."""

    state: GateState


class _Child(Struct, frozen=True):
    """The part of a child's document that tells how it stands and whose it is."""

    status: Status
    at: datetime
    parent: Address | None = None


class Diagnosis:
    """Says what instances wait for; one for a process. ``read`` None: without projections.

    ``patience_s`` is how long it waits at most to learn the pace of a history it has not seen yet.
    """

    def __init__(
        self,
        backend: Backend,
        names: Names,
        read: ReadModel | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._backend = backend
        self._names = names
        self._read = read
        self._now = now
        self._paces = None if read is None else Paces(read, clock, patience_s)
        self._clock = clock
        self._kept: dict[str, tuple[float, asyncio.Task[Any]]] = {}

    async def waits(self, instance: Instance) -> list[Wait]:
        """What the instance waits for now, what needs a person first; raises nothing."""
        facts, read = await asyncio.gather(self._around(instance), self._recorded(instance))
        return waits(instance, msgspec.structs.replace(facts, **read), self._now())

    # --- from the broker

    async def _around(self, instance: Instance) -> Facts:
        """What the broker holds around an instance that is not over."""
        if instance.finished and "running" not in instance.children.values():
            return Facts()
        engines, card, jobs, documents = await asyncio.gather(
            self._engines(),
            self._card(instance.saga),
            self._jobs(instance),
            self._documents(instance),
        )
        expects = tuple(type for type in card.types if type not in card.starting) if card else ()
        return Facts(
            engines=None if engines is None else len(engines),
            able=_able(engines, instance.saga),
            jobs=jobs,
            ahead=_ahead(instance, self._names, documents),
            children=_children(instance, self._names, documents),
            expects=expects,
        )

    async def _engines(self) -> list[EngineCard] | None:
        return await self._keep("engines", lambda: engine_cards(self._backend.meta))

    async def _card(self, saga: str) -> SagaCard | None:
        async def ask() -> SagaCard | None:
            entry = await self._backend.meta.get(f"saga.{escape(saga)}")
            return msgspec.json.decode(entry.data, type=SagaCard) if entry and entry.data else None

        return await self._keep(f"saga {saga}", ask)

    async def _jobs(self, instance: Instance) -> dict[str, JobFacts]:
        targets = {command.target for command in instance.commands.values() if not command.gated}
        if not targets:
            return {}
        meta, paces = self._backend.meta, self._paces
        queues = asyncio.gather(*(self._queue(target) for target in targets))
        workers, cards, known = await asyncio.gather(
            self._keep("workers", lambda: worker_cards(meta)),
            self._keep("jobs", lambda: job_cards(meta)),
            paces.of_jobs() if paces is not None else _nothing(),
        )
        states = dict(zip(targets, await queues, strict=True))
        if workers is None or cards is None:
            return {}
        pace = known or {}
        return {
            target: _job(target, workers, cards, states[target], pace.get(target))
            for target in targets
        }

    async def _queue(self, target: str) -> QueueState | None:
        return await self._keep(f"queue {target}", lambda: self._backend.queues.state(target))

    async def _documents(self, instance: Instance) -> Mapping[str, Stored]:
        """The gates it stands at and the children that run, by subject."""
        subjects = {self._names.instance(GATE_SAGA, gate) for gate in _gates(instance).values()}
        subjects.update(self._names.instance(*child) for child in _running(instance))
        if not subjects:
            return {}
        return await _or_none(self._backend.log.load(sorted(subjects))) or {}

    async def _keep(self, name: str, ask: Callable[[], Awaitable[T]]) -> T | None:
        """What ``ask`` gives, asked at most once in KEEP_S; None when it can't be had."""
        now_s = self._clock()
        for old, (until_s, task) in tuple(self._kept.items()):
            if until_s <= now_s and task.done():
                del self._kept[old]
        if name not in self._kept:
            task = asyncio.create_task(_or_none(ask()), name=f"diagnosis: {name}")
            self._kept[name] = (now_s + KEEP_S, task)
        # Whoever asked first may go away; the others still want the answer.
        return await asyncio.shield(self._kept[name][1])

    # --- from the projections

    async def _recorded(self, instance: Instance) -> dict[str, Any]:
        """The fields of Facts that the projections know; without them only dead letters."""
        read = self._read
        own = (instance.saga, instance.key)
        addresses = [own, *_running(instance)]
        if read is None or self._paces is None:
            letters = await _or_none(self._letters_of_log(set(addresses)))
            return _letters(own, letters or [])
        try:
            letters, tries, stop, paces = await asyncio.gather(
                open_letters(read, addresses),
                open_commands(read, [own]) if instance.commands else _none_of(),
                stop_of(read, own) if instance.status in ("parked", "paused") else _nothing(),
                self._paces.of_saga(instance.saga) if not instance.finished else _nothing(),
            )
        except ReadError as error:
            log.info("diagnosis goes without projections: %s", error)
            return {}
        addressed = [
            ((row.saga, row.key), Letter(row.id, row.type, row.reason, row.created_at))
            for row in letters
        ]
        facts = _letters(own, addressed)
        facts["tries"] = {
            row.id: Tries(number=row.attempts, error=row.error or "")
            for row in tries
            if row.attempts
        }
        facts["pace"] = (paces or {}).get((instance.cause.type, instance.status))
        if stop is not None and stop.status == instance.status:
            facts["since"] = stop.status_since
            if stop.status == "paused":
                facts["paused_by"], facts["paused_why"] = stop.by or "", stop.reason or ""
        return facts

    async def _letters_of_log(
        self, addresses: set[tuple[str, str]]
    ) -> list[tuple[tuple[str, str], Letter]]:
        found: list[tuple[tuple[str, str], Letter]] = []
        async for stored in self._backend.log.latest(self._names.dead_letters()):
            one = msgspec.json.decode(stored.data, type=DeadLetter)
            if one.status == "open" and (one.saga, one.key) in addresses:
                letter = Letter(one.id, one.type, one.reason, moment(stored.at_ns))
                found.append(((one.saga, one.key), letter))
        return found


def _job(
    target: str,
    workers: Iterable[WorkerCard],
    cards: Iterable[JobCard],
    queue: QueueState | None,
    pace: Pace | None,
) -> JobFacts:
    card = next((card for card in cards if card.target == target), None)
    return JobFacts(
        workers=sum(target in worker.targets for worker in workers),
        seen=card.seen if card else None,
        enabled=card.enabled if card else True,
        queue=queue,
        pace=pace,
    )


def _able(engines: list[EngineCard] | None, saga: str) -> int | None:
    """How many engines have code for the saga; None when one does not say what it has."""
    if not engines or any(not engine.sagas for engine in engines):
        return None
    return sum(saga in engine.sagas for engine in engines)


def _gates(instance: Instance) -> dict[str, str]:
    """The gates an instance waits at: by command id, under an empty one its own."""
    gates = {
        id: command_gate(command.target, command.concurrency_key)
        for id, command in instance.commands.items()
        if command.gated
    }
    if instance.gate is not None and not instance.gate.held:
        gates[""] = instance.gate.key
    return gates


def _ahead(instance: Instance, names: Names, documents: Mapping[str, Stored]) -> dict[str, int]:
    ahead: dict[str, int] = {}
    for holder, gate in _gates(instance).items():
        stored = documents.get(names.instance(GATE_SAGA, gate))
        if stored is None:
            continue
        queue = msgspec.json.decode(stored.data, type=_Gate).state.queue
        slot = Slot(instance.saga, instance.key, holder)
        if slot in queue:
            ahead[holder] = queue.index(slot)
    return ahead


def _running(instance: Instance) -> list[tuple[str, str]]:
    """Saga and key of the children that have not ended."""
    running = [child for child, status in instance.children.items() if status == "running"]
    addresses = [child.partition("/") for child in running[:CHILDREN_MAX]]
    return [(saga, key) for saga, _, key in addresses if saga and key]


def _children(
    instance: Instance, names: Names, documents: Mapping[str, Stored]
) -> dict[str, ChildFacts]:
    children: dict[str, ChildFacts] = {}
    for saga, key in _running(instance):
        try:
            stored = documents.get(names.instance(saga, key))
        except BadName:
            continue
        child = msgspec.json.decode(stored.data, type=_Child) if stored else None
        if child is None or child.parent != Address(instance.saga, instance.key):
            children[f"{saga}/{key}"] = ChildFacts()  # somebody else's has its name at most
        else:
            children[f"{saga}/{key}"] = ChildFacts(status=child.status, since=child.at)
    return children


def _letters(
    own: tuple[str, str], found: Iterable[tuple[tuple[str, str], Letter]]
) -> dict[str, Any]:
    """Dead letters as facts: those for the instance, and those for its children."""
    mine = tuple(letter for address, letter in found if address == own)
    others = {f"{saga}/{key}": letter for (saga, key), letter in found if (saga, key) != own}
    return {"letters": mine, "lost_children": others}


async def _or_none(answer: Awaitable[T]) -> T | None:
    try:
        return await answer
    except (StoreError, msgspec.DecodeError) as error:
        log.info("diagnosis goes without: %s", error)
        return None


async def _nothing() -> None:
    return None


async def _none_of() -> list[Any]:
    return []
