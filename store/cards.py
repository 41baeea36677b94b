"""What the meta bucket holds about the parts of an installation: definitions, jobs, processes.

``saga.<id>`` and ``job.<target>`` stay, ``engine.<id>`` and ``worker.<id>`` expire after their
process died. All are for people and for showing: nothing that must be right depends on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Raw, Struct

from sagas.definition import CorrelationRule
from sagas.programs.entity import EntityProgram
from sagas.programs.program import Program
from sagas.programs.step_list import StepProgram
from sagas.programs.steps import AnyStep, Group, Item
from sagas.retry import RetryPolicy
from store.port import Meta

C = TypeVar("C")

MadeOf: TypeAlias = Literal["handlers", "steps", "workflow", "entity"]


class KeyRule(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a message names its instance: ``field``, with its ``path``, ``function``, or empty where
    the ordering key serves.
    """

    rule: Literal["", "field", "function"] = ""
    path: str = ""


class PartCard(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A step as its author declared it, or a group with its ``parts``, of which a transaction has
    the one that runs it first; times are seconds.

    ``undo`` says whether it has one; nobody waits for a step in the ``background``.
    """

    name: str
    kind: Literal["step", "sequence", "parallel", "transaction"] = "step"
    target: str = ""
    description: str = ""
    undo: bool = False
    background: bool = False
    pivot: bool = False
    retry: RetryPolicy | None = None
    timeout_s: float | None = None
    parts: tuple[PartCard, ...] = ()

    def steps(self) -> Iterator[PartCard]:
        """The step it is, or all steps inside, in the order in which they are declared."""
        if self.kind == "step":
            yield self
        for part in self.parts:
            yield from part.steps()


class SagaCard(Struct, frozen=True, kw_only=True):
    """What the registry in the meta bucket says of a definition.

    ``key_rule`` tells how a starting message names its instance: ``field``, with the path in
    ``key_path``, ``function``, or empty where the ordering key or a new one serves. ``key_rules``
    are those of the other message types, where they differ. ``secrets`` are the names of the secret
    fields of its state and messages, ``schemas`` the JSON Schemas of its messages, as far as known.
    ``concurrency`` is how many instances may be at work at once, 0 for any number. ``parts`` are
    the steps of a list one after the other, or those that a workflow or an entity may call.
    """

    id: str
    name: str
    description: str
    topic: str
    tags: tuple[str, ...]
    types: tuple[str, ...]
    starting: tuple[str, ...]
    signals: tuple[str, ...]
    queries: tuple[str, ...]
    compensations: tuple[str, ...]
    durability: str
    hash: str
    cron: str = ""
    enabled: bool = True
    key_rule: Literal["", "field", "function"] = ""
    key_path: str = ""
    key_rules: dict[str, KeyRule] = {}
    secrets: tuple[str, ...] = ()
    time_zone: str = ""
    retention: str = ""
    on_unknown: str = ""
    concurrency: int = 0
    schemas: dict[str, Raw] = {}
    made_of: MadeOf = "handlers"
    parts: tuple[PartCard, ...] = ()
    version: int = 1

    def rule_of(self, type: str) -> KeyRule:
        """How a message of this type names its instance."""
        rule = self.key_rules.get(type)
        return KeyRule(rule=self.key_rule, path=self.key_path) if rule is None else rule


class JobCard(Struct, frozen=True, kw_only=True):
    """A job as its author declared it; times are seconds.

    ``seen`` is when a worker that serves it last said so (to half a minute), UTC. ``secrets`` are
    the names of the secret fields of its payload.
    """

    target: str
    description: str
    retry: RetryPolicy
    timeout_s: float | None
    heartbeat_s: float | None
    concurrency: int
    concurrency_total: int | None
    on_success: str | None
    on_failure: str | None
    enabled: bool
    seen: datetime | None = None
    secrets: tuple[str, ...] = ()
    v: int = 1


class EngineCard(Struct, frozen=True, kw_only=True):
    """What an engine says of itself while it is alive; ``sagas`` are the ids it has code for,
    ``versions`` those that are above 1, ``since`` when it took each of its partitions, ``of`` how
    many there are in all, as it knows.
    """

    id: str
    host: str
    pid: int
    started: datetime
    partitions: tuple[int, ...] = ()
    sagas: tuple[str, ...] = ()
    versions: dict[str, int] = {}
    since: dict[str, datetime] = {}
    of: int = 0


class WorkerCard(Struct, frozen=True, kw_only=True):
    """A worker that is alive; ``running`` counts attempts at the moment of writing."""

    id: str
    host: str
    pid: int
    started: datetime
    targets: tuple[str, ...]
    running: int = 0
    v: int = 1


def key_rule_of(rule: CorrelationRule | None) -> KeyRule:
    """A definition's rule as its card tells it."""
    if isinstance(rule, str):
        return KeyRule(rule="field", path=rule)
    return KeyRule() if rule is None else KeyRule(rule="function")


def parts_of(program: Program | None) -> tuple[PartCard, ...]:
    """The steps of a definition's program as its card tells them."""
    if isinstance(program, StepProgram):
        return tuple(map(_part, program.root.items))
    return tuple(map(_part, program.steps.values())) if program else ()


def made_of(program: Program | None) -> MadeOf:
    """Which kind of definition has this program."""
    if program is None:
        return "handlers"
    if isinstance(program, StepProgram):
        return "steps"
    return "entity" if isinstance(program, EntityProgram) else "workflow"


def _part(item: Item) -> PartCard:
    if isinstance(item, Group):
        return PartCard(name=item.name, kind=item.kind, parts=tuple(map(_part, item.items)))
    if item.parts:
        parts = (_step(item), *map(_step, item.parts))
        return PartCard(name=item.name, kind="transaction", parts=parts)
    return _step(item)


def _step(item: AnyStep) -> PartCard:
    return PartCard(
        name=item.name,
        target=item.target,
        description=item.description,
        undo=item.compensate is not None,
        background=item.background,
        pivot=item.pivot,
        retry=item.retry,
        timeout_s=item.timeout_s,
    )


async def saga_cards(meta: Meta) -> list[SagaCard]:
    """The definitions that engines have registered, by id; raises Unreachable."""
    return sorted(await _all(meta, "saga.", SagaCard), key=lambda card: card.id)


async def job_cards(meta: Meta) -> list[JobCard]:
    """The jobs that workers have registered, by target; raises Unreachable."""
    return sorted(await _all(meta, "job.", JobCard), key=lambda card: card.target)


async def engine_cards(meta: Meta) -> list[EngineCard]:
    """The engines that are alive, by id; raises Unreachable."""
    return sorted(await _all(meta, "engine.", EngineCard), key=lambda card: card.id)


async def worker_cards(meta: Meta) -> list[WorkerCard]:
    """The workers that are alive, by id; raises Unreachable."""
    return sorted(await _all(meta, "worker.", WorkerCard), key=lambda card: card.id)


async def _all(meta: Meta, prefix: str, kind: type[C]) -> list[C]:
    entries = await meta.entries(prefix)
    return [msgspec.json.decode(e.data, type=kind) for e in entries if e.data is not None]
