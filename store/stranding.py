"""How many instances changed code would strand: asked before an engine decides with that code.

Reads the last document of each instance of the sagas in question from the log, once, and of what is
ended nothing but its status. The registry tells what the code before had: a saga whose hash is the
same needs no look. A look writes nothing; ``retire`` marks sagas whose code is gone and that have
no open instance left, so that they are not looked at again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

import msgspec
from msgspec import Struct, structs

from sagas.definition import Registry, SagaDefinition
from sagas.draft import GATE_SAGA
from sagas.errors import IllegalTransition
from sagas.instance import FINISHED, Instance, Status, decode
from sagas.names import escape
from sagas.stranding import lost_types, strands
from store.cards import SagaCard, saga_cards, worker_cards
from store.cards import job_cards as read_job_cards
from store.closing import closing
from store.port import Backend, Meta
from store.subjects import Names

BREATH = 500  # documents read before others of this process have their turn

Tell = Callable[[str, int], None]  # the saga that is looked at, and how many of its instances were


class Stranded(Struct, frozen=True, kw_only=True):
    """Instances of a saga that could not go on, for one reason; ``example`` is the key of one."""

    saga: str
    reason: str
    instances: int
    example: str = ""


class Survey(Struct, frozen=True, kw_only=True):
    """What a look at the open instances found; ``looked`` of them, of ``sagas`` sagas.

    ``jobs`` are targets without code that have commands waiting, with how many; ``idle`` are sagas
    without code that have no open instance.
    """

    sagas: int
    looked: int
    stranded: tuple[Stranded, ...]
    jobs: Mapping[str, int]
    idle: tuple[str, ...] = ()

    @property
    def instances(self) -> int:
        """How many instances are stranded, at least: those of one saga may share reasons."""
        most: dict[str, int] = {}
        for one in self.stranded:
            most[one.saga] = max(most.get(one.saga, 0), one.instances)
        return sum(most.values())


class _Head(Struct):
    status: Status


class _Count:
    """Reasons of one saga, each with how often it was found."""

    def __init__(self, saga: str) -> None:
        self.saga = saga
        self.open = 0
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, reason: str, key: str, count: int = 1) -> None:
        before, first = self._found.get(reason, (0, key))
        self._found[reason] = (before + count, first)

    def stranded(self) -> Iterator[Stranded]:
        for reason, (count, key) in self._found.items():
            yield Stranded(saga=self.saga, reason=reason, instances=count, example=key)


async def survey(
    backend: Backend,
    names: Names,
    registry: Registry,
    jobs: Iterable[str],
    *,
    changed_only: bool = False,
    tell: Tell = lambda saga, looked: None,
) -> Survey:
    """Look at the open instances of all sagas that have any; raises Unreachable.

    ``jobs`` are the targets with code. With ``changed_only`` sagas are left out whose code is that
    of the registry: nothing has become of their instances that was not so before.
    """
    cards = {card.id: card for card in await saga_cards(backend.meta)}
    counts: list[_Count] = []
    idle: list[str] = []
    looked = 0
    for saga in sorted({*cards, *(definition.id for definition in registry)} - {GATE_SAGA}):
        definition, card = registry.get(saga), cards.get(saga)
        if changed_only and not _is_changed(definition, card):
            continue
        count = _Count(saga)
        looked += await _look(backend, names, registry, definition, count, partial(tell, saga))
        if definition is None and not count.open:
            idle.append(saga)
        if definition is not None and card is not None and count.open:
            for reason in lost_types(definition, card.types, card.signals, card.compensations):
                count.add(reason, "", count.open)
        counts.append(count)
    return Survey(
        sagas=len(counts),
        looked=looked,
        stranded=tuple(one for count in counts for one in count.stranded()),
        jobs=await _jobs_gone(backend, set(jobs)),
        idle=tuple(idle),
    )


async def retire(meta: Meta, sagas: Iterable[str]) -> None:
    """Mark sagas in the registry as having no code any more; raises Unreachable."""
    gone = set(sagas)
    for card in await saga_cards(meta):
        if card.id in gone and card.enabled:
            marked = msgspec.json.encode(structs.replace(card, enabled=False))
            await meta.put(f"saga.{escape(card.id)}", marked)


def _is_changed(definition: SagaDefinition | None, card: SagaCard | None) -> bool:
    if card is None:
        return definition is not None  # by the first engine, or the registry was lost
    return card.enabled if definition is None else card.hash != definition.hash


async def _look(
    backend: Backend,
    names: Names,
    registry: Registry,
    definition: SagaDefinition | None,
    count: _Count,
    tell: Callable[[int], None],
) -> int:
    """Count what is open and what of it is stranded; how many instances were looked at."""
    known = [one.id for one in registry]
    looked = 0
    async with closing(backend.log.latest(names.instances(count.saga))) as found:
        async for stored in found:
            looked += 1
            if looked % BREATH == 0:
                tell(looked)
                await asyncio.sleep(0)
            if not stored.data:
                continue
            try:
                head = _head.decode(stored.data)
                if head.status in FINISHED:
                    continue
                instance = decode(stored.data)
            except (msgspec.MsgspecError, UnicodeDecodeError, IllegalTransition) as error:
                count.add(f"its document can't be read: {error}", stored.subject)
                continue
            count.open += 1
            for reason in _reasons(definition, instance, known):
                count.add(reason, instance.key)
    tell(looked)
    return looked


def _reasons(definition: SagaDefinition | None, instance: Instance, known: list[str]) -> list[str]:
    if definition is None:
        return ["the app has no code for it"]
    return strands(definition, instance, known)


async def _jobs_gone(backend: Backend, known: set[str]) -> dict[str, int]:
    """Targets that workers of ours have served, that nobody serves now and that have no code, with
    the commands that wait there. Jobs in other languages leave no card and are not judged.
    """
    alive = {target for worker in await worker_cards(backend.meta) for target in worker.targets}
    found: dict[str, int] = {}
    for card in await read_job_cards(backend.meta):
        if card.target in known or card.target in alive:
            continue
        state = await backend.queues.state(card.target)
        if state is not None and state.waiting + state.in_flight:
            found[card.target] = state.waiting + state.in_flight
    return found


_head = msgspec.json.Decoder(_Head)
