"""Steps as a flow: which there are, how each stands in a run, what came of it. Pure.

A list has its steps as they were declared, in groups; a run of a workflow has what its function
asked for so far, and what it asked for at once stands side by side. A long stretch of steps that
stand alike is told by its ends, so that a thousand steps can be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Literal, TypeAlias

from msgspec import Raw, Struct, structs

from sagas.instance import Instance, StepRecord, Undo
from sagas.messages import NULL
from sagas.programs.steps import UNDO
from store.cards import PartCard
from store.projection.jobs import AtStep
from ui.timeline import Attempt
from ui.told import commands_of

LONG = 120  # steps; a flow with more is shortened
ENDS = 4  # steps that are left at each end of a shortened run

Word: TypeAlias = Literal[
    "waiting", "not reached", "running", "parked", "done", "rolled back", "failed", "skipped"
]
PartKind: TypeAlias = Literal["step", "sequence", "parallel", "transaction", "left out"]

TONES: Mapping[str, str] = {
    "done": "completed",
    "rolled back": "compensated",
    "skipped": "cancelled",
}
UNDO_WORDS: Mapping[str, str] = {
    "waiting": "to be undone",
    "running": "being undone",
    "done": "undone",
    "failed": "undo failed",
    "skipped": "undo skipped",
    "by_hand": "undone by hand",
}
UNDO_TONES: Mapping[str, str] = {
    "waiting": "paused",
    "running": "compensating",
    "done": "compensated",
    "failed": "failed",
    "skipped": "cancelled",
    "by_hand": "compensated",
}


class StepState(Struct, frozen=True, kw_only=True):
    """How a step stands. ``tone`` and ``undo_tone`` are statuses, for the looks; ``undo`` is empty
    unless it is undone or will be, ``undo_place`` its place in that, from 1. ``attempts`` is None
    where they are not known, ``began`` the version that started it, None when that is not here.
    """

    id: str
    kind: str = "step"
    word: Word
    background: bool = False
    started: datetime | None = None
    took_s: float | None = None
    attempts: int | None = None
    began: int | None = None
    output: Raw | None = None
    error: str = ""
    undo: str = ""
    undo_tone: str = ""
    undo_place: int = 0
    undo_error: str = ""

    @property
    def tone(self) -> str:
        """The status that looks like its word."""
        return TONES.get(self.word, self.word)

    @property
    def went(self) -> bool:
        """Whether the run has come here."""
        return self.word not in ("waiting", "not reached")

    @property
    def looks(self) -> tuple[str, ...]:
        """What neighbours that may be told as one have in common."""
        return (self.word, self.undo)


class Crowd(Struct, frozen=True, kw_only=True):
    """A declared step with how many instances are at it: at work, stopped for a person, undoing."""

    card: PartCard
    running: int = 0
    parked: int = 0
    undoing: int = 0

    @property
    def any(self) -> bool:
        """Whether any instance is here."""
        return bool(self.running or self.parked or self.undoing)

    @property
    def looks(self) -> tuple[str, ...]:
        """What neighbours that may be told as one have in common."""
        return (self.card.name,) if self.any else ()


class Part(Struct, frozen=True, kw_only=True):
    """A step with what its ``box`` shows, a group with its ``parts``, or ``left`` steps left out,
    with their word as ``name``.
    """

    kind: PartKind
    name: str = ""
    box: StepState | Crowd | None = None
    parts: tuple[Part, ...] = ()
    left: int = 0

    @property
    def went(self) -> bool:
        """Whether the run has come here."""
        return any(state.went for state in self.states())

    def states(self) -> Iterator[StepState]:
        """The steps of a run inside, in order."""
        if isinstance(self.box, StepState):
            yield self.box
        for part in self.parts:
            yield from part.states()


class Flow(Struct, frozen=True):
    """The whole flow; ``others`` are steps on record that the definition has no more."""

    parts: tuple[Part, ...]
    others: tuple[Part, ...] = ()

    @property
    def states(self) -> list[StepState]:
        """The steps of a run that are told, in order."""
        return [state for part in (*self.parts, *self.others) for state in part.states()]


def crowd(declared: Sequence[PartCard], here: Sequence[AtStep]) -> Flow:
    """The steps of a definition with how many instances stand where."""
    counts = {one.target: one for one in here}

    def part(card: PartCard) -> Part:
        if card.kind != "step":
            return Part(kind=card.kind, name=card.name, parts=tuple(map(part, card.parts)))
        at = counts.get(card.target, AtStep("", 0, 0))
        undo = counts.get(f"{card.target}{UNDO}", AtStep("", 0, 0))
        parked = at.parked + undo.parked
        box = Crowd(card=card, running=at.waiting, parked=parked, undoing=undo.waiting)
        return Part(kind="step", name=card.name, box=box)

    parts = tuple(map(part, declared))
    long = sum(1 for card in declared for _ in card.steps()) > LONG
    return Flow(_shortened(parts) if long else parts)


def flow(
    declared: Sequence[PartCard],
    history: Sequence[Instance],
    version: int,
    attempts: Sequence[Attempt],
) -> Flow:
    """The steps of an instance as they stood at a ``version`` of its ``history`` (in order, maybe a
    part of it). ``declared`` is what its list says, empty for a workflow or an entity;
    ``attempts`` are those of its jobs.
    """
    past = [one for one in history if one.version <= version] or list(history[:1])
    now = past[-1]
    tries = _tries(past, attempts if now is history[-1] else _until(now.at, attempts))
    states = {id: _state(past, id, record, tries.get(id)) for id, record in now.steps.items()}
    parts = tuple(_part(part, states, now) for part in declared)
    known = {state.id for part in parts for state in part.states()}
    others = _asked([(id, now.steps[id]) for id in states if id not in known], states)
    if len(known | states.keys()) > LONG:
        parts, others = _shortened(parts), _shortened(others)
    return Flow(parts, others) if declared else Flow(others)


def _until(at: datetime, attempts: Sequence[Attempt]) -> list[Attempt]:
    return [one for one in attempts if one.started_at <= at]


def _state(
    past: Sequence[Instance], id: str, record: StepRecord, attempts: int | None
) -> StepState:
    now = past[-1]
    began = next(one.version for one in past if id in one.steps)
    undo = next((one for one in now.undo if one.type == id), None)
    took = (record.ended - record.started).total_seconds() if record.ended else None
    return StepState(
        id=id,
        kind=record.kind,
        word=_word(now, id, record),
        background=record.background,
        started=record.started,
        took_s=took,
        attempts=attempts,
        began=began if began == 1 or began > past[0].version else None,
        output=record.output if bytes(record.output) != bytes(NULL) else None,
        error=record.error,
        undo=UNDO_WORDS[undo.status] if undo else "",
        undo_tone=UNDO_TONES[undo.status] if undo else "",
        undo_place=_place(now.undo, id),
        undo_error=undo.error if undo else "",
    )


def _word(now: Instance, id: str, record: StepRecord) -> Word:
    if record.status == "running":
        parked = now.commands.get(now.parked.command) if now.parked else None
        return "parked" if parked and parked.step == id and not parked.undo else "running"
    if record.status == "completed":
        return "rolled back" if record.rolled_back else "done"
    return record.status


def _place(undos: Sequence[Undo], id: str) -> int:
    return next((place for place, one in enumerate(undos, 1) if one.type == id), 0)


def _tries(past: Sequence[Instance], attempts: Sequence[Attempt]) -> dict[str, int]:
    """How many attempts each step took, undos left aside."""
    commands = commands_of(past)
    found: dict[str, int] = {}
    for one in attempts:
        command = commands.get(one.command)
        if command and command.step and not command.undo:
            found[command.step] = max(found.get(command.step, 0), one.attempt)
    return found


def _part(card: PartCard, states: Mapping[str, StepState], now: Instance) -> Part:
    if card.kind != "step":
        parts = tuple(_part(one, states, now) for one in card.parts)
        return Part(kind=card.kind, name=card.name, parts=parts)
    standing = now.paused or (now.parked.status if now.parked else now.status)
    missing = StepState(
        id=card.name,
        word="waiting" if standing == "running" else "not reached",
        background=card.background,
    )
    return Part(kind="step", name=card.name, box=states.get(card.name, missing))


def _asked(
    records: Sequence[tuple[str, StepRecord]], states: Mapping[str, StepState]
) -> tuple[Part, ...]:
    """Steps in the order asked for; those of one moment were asked for at once."""
    ordered = sorted(records, key=lambda one: (one[1].started, one[1].place))
    found: list[Part] = []
    for _, together in groupby(ordered, key=lambda one: one[1].started):
        parts = tuple(Part(kind="step", name=id, box=states[id]) for id, _ in together)
        found.append(parts[0] if len(parts) == 1 else Part(kind="parallel", parts=parts))
    return tuple(found)


def _shortened(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    found: list[Part] = []
    for looks, alike in groupby(parts, key=lambda part: part.box.looks if part.box else None):
        run = [structs.replace(one, parts=_shortened(one.parts)) for one in alike]
        left = len(run) - 2 * ENDS
        if looks is not None and left > 1:
            more = Part(kind="left out", name=" ".join(looks), left=left)
            run = [*run[:ENDS], more, *run[-ENDS:]]
        found += run
    return tuple(found)
