"""What came to an instance and what followed, in words: the story that the pages tell. Pure.

Answers are told by the step, the undo or the job they are of, since their own types often say no
more than "completed"; everything else is told by its type.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from msgspec import Raw, Struct, structs

from sagas.bookkeeping import COMPLETED, FAILED
from sagas.effects import Effect, Publish, Schedule, Send, Signal, Spawn, Unschedule
from sagas.instance import Instance, OpenCommand
from sagas.messages import Cause
from sagas.programs.run import WAKE
from sagas.programs.steps import UNDO

Commands: TypeAlias = Mapping[str, OpenCommand]
_OWN = {COMPLETED: "work done", FAILED: "work failed", WAKE: "time is over"}


class Told(Struct, frozen=True):
    """One effect in words: what kind, of what, and its payload where there is one."""

    kind: str
    name: str
    note: str
    payload: Raw | None


def commands_of(history: Iterable[Instance]) -> dict[str, OpenCommand]:
    """All commands that were open at some version of a history, by id."""
    found: dict[str, OpenCommand] = {}
    for instance in history:
        found |= instance.commands
    return found


def came(instance: Instance, commands: Commands) -> str:
    """The message that made this version."""
    cause = instance.cause
    if cause.kind == "timer" and cause.type == WAKE:
        return _woke(instance, cause)
    command = commands.get(cause.answers)
    if command is None or not (command.step or cause.type in (COMPLETED, FAILED)):
        return cause.type or cause.kind
    end = "failed" if cause.failed or cause.type == FAILED else "done"
    return f"{worked(command, command.target)} {end}"


def arrived(type: str) -> str:
    """A type of message where nothing else of it is known: names of our own in words."""
    return _OWN.get(type, type)


def worked(command: OpenCommand | None, target: str) -> str:
    """What a command does: a step or the undo of one, else the job ``target``."""
    if command is None or not command.step:
        return target
    return f"undo of {command.step}" if command.undo else command.step


def _woke(instance: Instance, cause: Cause) -> str:
    id = cause.id.rpartition("@")[0]
    record = instance.steps.get(id)
    if record is None:  # begins what had no room in the transition before
        return "goes on"
    return f"{id} is over" if record.kind == "sleep" else f"{id} did not come in time"


def told(effect: Effect) -> Told:
    """An effect of a transition."""
    match effect:
        case Send():
            note = "waits for its concurrency key" if effect.gated else effect.id
            kind = "undo" if effect.target.endswith(UNDO) else "step"
            name = effect.step or effect.target
            return Told(kind if effect.step else "command", name, note, effect.payload)
        case Publish():
            return Told("event", effect.type, f"key {effect.key}", effect.payload)
        case Schedule():
            due = f"{effect.id}, due {effect.at:%Y-%m-%d %H:%M:%S} UTC"
            return Told("timer", effect.type, due, effect.payload)
        case Unschedule():
            return Told("timer off", effect.id, "", None)
        case Spawn():
            return Told("child", effect.saga, effect.key, effect.payload)
        case Signal():
            return Told("signal", effect.cause.type, str(effect.to), None)
        case _:
            return _ending(effect)


def _ending(effect: Effect) -> Told:
    fields = structs.asdict(effect)
    kind = type(effect).__name__.lower()
    name = str(fields.get("type") or "")
    result = fields.get("result") or fields.get("payload")
    return Told(
        kind, name, str(fields.get("reason") or ""), result if name or kind == "complete" else None
    )
