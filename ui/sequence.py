"""Who sent what to whom: an instance's history as a sequence diagram. Pure.

One column for each party (the publisher, operators, the saga, its jobs, its children, its clock),
one row for each message, in the order of the history. Solid lines are commands and spawns, dashed
ones are events and answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from msgspec import Struct

from sagas.effects import Effect, Publish, Schedule, Send, Spawn
from sagas.instance import Instance
from ui.told import Commands, came, commands_of, worked

LineKind: TypeAlias = Literal["command", "event", "timer", "operator", "failed"]

COLUMN, ROW, TOP, MARGIN = 190, 34, 56, 100
PUBLISHER, CLOCK, EVERYONE = "publisher", "clock", "subscribers"


class Party(Struct, frozen=True):
    """A column; ``x`` is its line."""

    name: str
    x: float


class Arrow(Struct, frozen=True):
    """A message from ``x1`` to ``x2`` at height ``y``; ``version`` is its transition."""

    x1: float
    x2: float
    y: float
    label: str
    kind: LineKind
    version: int

    @property
    def middle(self) -> float:
        """Where the label stands."""
        return (self.x1 + self.x2) / 2


class Diagram(Struct, frozen=True):
    """The whole diagram."""

    width: float
    height: float
    parties: tuple[Party, ...]
    arrows: tuple[Arrow, ...]


Step: TypeAlias = tuple[str, str, str, LineKind, int]  # from, to, label, kind, version


def sequence(history: Sequence[Instance]) -> Diagram:
    """Lay out a history of at least one document."""
    saga = history[0].saga
    commands = commands_of(history)
    steps: list[Step] = []
    for instance in history:
        steps.append(_cause(instance, commands))
        for effect in instance.effects:
            steps += _effect(effect, instance, commands)
    names = list(dict.fromkeys(_in_order(steps, saga)))
    x = {name: MARGIN + index * COLUMN for index, name in enumerate(names)}
    arrows = tuple(
        Arrow(x[start], x[end], TOP + (row + 1) * ROW, label, kind, version)
        for row, (start, end, label, kind, version) in enumerate(steps)
    )
    width = MARGIN * 2 + (len(names) - 1) * COLUMN
    height = TOP + (len(steps) + 1) * ROW
    return Diagram(width, height, tuple(Party(name, x[name]) for name in names), arrows)


def _in_order(steps: Sequence[Step], saga: str) -> list[str]:
    """The parties from left to right: who starts, the saga, then whoever it meets."""
    first = steps[0][0]
    parties = [party for step in steps for party in step[:2]]
    return [first, saga, *parties]


def _cause(instance: Instance, commands: Commands) -> Step:
    cause, saga, version = instance.cause, instance.saga, instance.version
    what = came(instance, commands)
    if cause.kind == "operator":
        return (cause.by or "operator", saga, what, "operator", version)
    if cause.kind == "timer":
        return (CLOCK, saga, what, "timer", version)
    if cause.kind == "child":
        return (cause.type.rpartition(".")[0] or "child", saga, what, "event", version)
    if cause.kind == "spawn":
        parent = str(cause.parent) if cause.parent else "start"
        return (parent, saga, cause.type or "start", "command", version)
    if cause.answers:
        kind: LineKind = "failed" if cause.failed else "event"
        command = commands.get(cause.answers)
        return (command.target if command else "job", saga, what, kind, version)
    return (PUBLISHER, saga, what, "event", version)


def _effect(effect: Effect, instance: Instance, commands: Commands) -> list[Step]:
    saga, version = instance.saga, instance.version
    match effect:
        case Send():
            what = worked(commands.get(effect.id), effect.target)
            return [(saga, effect.target, what, "command", version)]
        case Publish():
            return [(saga, EVERYONE, effect.type, "event", version)]
        case Schedule():
            return [(saga, CLOCK, effect.type, "timer", version)]
        case Spawn():
            return [(saga, effect.saga, f"start {effect.key}".strip(), "command", version)]
        case _:
            return []
