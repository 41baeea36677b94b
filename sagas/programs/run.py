"""A run: one instance of steps, a workflow or an entity in the hands of its program.

Programs read records and call ``start``, ``sleep``, ``finish`` …; everything they do goes through
the Draft of this transition and is stored with it or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import msgspec
from msgspec import Raw, structs

from sagas.bookkeeping import skip_step
from sagas.draft import Draft
from sagas.effects import Complete, Effect, Schedule, Send, Spawn
from sagas.errors import HandlerFault
from sagas.instance import COMMANDS_MAX, Failure, StepRecord, Undo
from sagas.messages import NULL, to_raw
from sagas.programs.room import Room
from sagas.programs.steps import AnyStep, StepCall, StepFailure, StepResult
from sagas.programs.transactions import TRANSACTION, failed_step

if TYPE_CHECKING:
    from sagas.programs.program import Program

WAKE = "Snorri-Wake"
ON_THEIR_WAY = ("step", TRANSACTION, "call", "child")  # kinds of records that are waited for


class Run:
    """The view that a program has of its instance; made anew for each message."""

    __slots__ = ("attempt", "draft", "room")

    def __init__(self, draft: Draft, attempt: int = 1) -> None:
        self.draft = draft
        self.attempt = attempt
        self.room = Room(draft)

    @property
    def program(self) -> Program:
        """The program of its definition."""
        return cast("Program", self.draft.definition.program)

    @property
    def begun(self) -> bool:
        """Whether the first message has been taken; the state is null before."""
        return bytes(self.draft.state) != bytes(NULL)

    @property
    def records(self) -> Mapping[str, StepRecord]:
        """The steps on record, by id, in the order in which they were started."""
        return self.draft.steps

    @property
    def state(self) -> dict[str, Any]:
        """The state as plain data; a copy of its own for each call."""
        return cast("dict[str, Any]", msgspec.json.decode(self.draft.state))

    @state.setter
    def state(self, state: object) -> None:
        self.draft.set_state(state)

    # --- steps

    @property
    def open(self) -> list[str]:
        """The steps that have been started, have not ended, and are waited for."""
        return [
            id
            for id, record in self.records.items()
            if record.status == "running" and not record.background
        ]

    @property
    def failure(self) -> Failure | None:
        """Why the run has failed: its first step that did, or None."""
        id = failed_step(self.records)
        if not id:
            return None
        record = self.records[id]
        return Failure(type=record.code or "StepFailed", message=f"{id}: {record.error}")

    @property
    def has_room(self) -> bool:
        """Whether another step can be started in this transition; it starts in a later one else."""
        return self.room.is_left

    def start(self, id: str, step: AnyStep, call: StepCall, *, place: int = 0) -> None:
        """Send the command of a step and put it on record as running.

        It has no deadline: the time-out of a step is for each of its attempts, and a step may wait
        for a worker as long as it takes.
        """
        begun = self._begun_for(step)
        told = to_raw(structs.replace(call, tenant=self.program.tenant(self), begun=begun))
        self._send(Send(target=step.target, payload=told, retry=step.retry, step=id))
        kind = TRANSACTION if step.parts else "step"
        self.put(id, self.record(step.name, kind=kind, background=step.background, place=place))

    def send(self, id: str, effect: Send, kind: str, *, place: int = 0) -> None:
        """Send a command to a job that is no step; ``kind`` "call" waits for its answer."""
        self._send(structs.replace(effect, step=id))
        self.put(id, self.record(effect.target, kind=kind, background=kind != "call", place=place))

    def _send(self, effect: Send) -> None:
        self.draft.apply([effect])
        self.room.take(effect)

    def sleep(self, id: str, delay_s: float, *, place: int = 0) -> None:
        """Put a pause on record; its timer completes it."""
        self.wake(id, delay_s)
        self.put(id, self.record(id.partition("#")[0], kind="sleep", place=place))

    def wake(self, id: str, delay_s: float) -> None:
        """Set the timer that ends a pause, or the wait of a record of another kind."""
        self.draft.apply([Schedule(type=WAKE, id=id, delay_s=delay_s)])

    def spawn(self, id: str, child: Spawn, *, wait: bool, place: int = 0) -> None:
        """Start a child; with ``wait`` its end completes or fails the record."""
        self.draft.apply([child])
        made = self.draft.effects[-1]
        if not isinstance(made, Spawn):  # apply() has just added it
            raise TypeError(f"{made!r} is no spawn")
        record = self.record(child.saga, kind="child", background=not wait, place=place)
        self.put(id, structs.replace(record, output=to_raw(f"{made.saga}/{made.key}")))

    def emit(self, effects: list[Effect]) -> None:
        """Other effects: events, timers."""
        self.draft.apply(effects)

    def record(
        self, step: str, *, kind: str = "step", background: bool = False, place: int = 0
    ) -> StepRecord:
        """A record of something that begins now."""
        return StepRecord(
            step=step,
            status="running",
            started=self.draft.now,
            kind=kind,
            background=background,
            place=place,
        )

    def put(self, id: str, record: StepRecord) -> None:
        """Keep a record, new or changed."""
        self.draft.steps = {**self.draft.steps, id: record}

    def complete_step(self, id: str, result: StepResult) -> None:
        """A step has ended well, as the next in order."""
        record = structs.replace(
            self.records[id],
            status="completed",
            ended=self.draft.now,
            order=self._next_order(),
            output=result.output,
            data=result.data,
        )
        self.put(id, record)

    def fail_step(self, id: str, failure: StepFailure) -> None:
        """A step has failed for good; one whose work was done has its place in the order."""
        order = self._next_order() if failure.done else self.records[id].order
        record = structs.replace(
            self.records[id],
            status="failed",
            ended=self.draft.now,
            order=order,
            data=failure.data,
            error=failure.reason,
            code=failure.code,
        )
        self.put(id, record)

    def _next_order(self) -> int:
        return max((record.order for record in self.records.values()), default=0) + 1

    def keep(self, ids: list[str]) -> None:
        """Leave these steps as they are when the others are undone."""
        for id in ids:
            self.put(id, structs.replace(self.records[id], kept=True))

    def waiting_for_child(self, child: str) -> str:
        """The id of the record that waits for a child, or an empty text."""
        name = to_raw(child)
        return next(
            (
                id
                for id, record in self.records.items()
                if record.kind == "child"
                and record.status == "running"
                and bytes(record.output) == bytes(name)
            ),
            "",
        )

    def parks(self, id: str) -> bool:
        """Whether the failure of a step stops its run for an operator: the run is declared so, or
        it has passed a pivot, after which it only goes forward.
        """
        if self.records[id].background:
            return False
        steps = self.program.steps
        passed = any(
            record.status == "completed"
            and not record.rolled_back
            and record.step in steps
            and steps[record.step].pivot
            for record in self.records.values()
        )
        return passed or self.program.on_failure == "park"

    # --- ends

    def finish(self, result: object) -> None:
        """The run has ended well."""
        self.draft.apply([Complete(result=to_raw(result))])

    def compensate(self, failure: Failure) -> None:
        """Undo what was done, the last first; what is on its way is waited for."""
        self.draft.status = "compensating"
        self.draft.error = failure
        self.stop_waiting()
        self.call_back("compensating", {"failure": failure})

    def stop_waiting(self) -> None:
        """Give up pauses and waits; steps, jobs and children that are on their way go on."""
        for id, timer in tuple(self.draft.timers.items()):
            if timer.type == WAKE:
                self.draft.unschedule(id)
        for id, record in self.records.items():
            if record.status == "running" and record.kind not in ON_THEIR_WAY:
                skip_step(self.draft, id)

    def forget(self) -> None:
        """Drop all records; answers that still come for them mean nothing any more."""
        draft = self.draft
        self.stop_waiting()
        draft.commands = {
            id: structs.replace(command, step="") if command.step in draft.steps else command
            for id, command in draft.commands.items()
        }
        draft.steps = {}
        draft.undo = ()

    def unwind(self) -> None:
        """Take the next step of undoing; the run ends when nothing is left."""
        if not self.undo_next():
            self._end_undone()

    def undo_next(self) -> bool:
        """Undo the next step, when nothing is on its way; False when nothing is left to undo.

        Raises HandlerFault when a step that was done is not declared any more: its undo must not be
        left out unseen.
        """
        self._check_declared()
        self._queue_undos()
        if self.open or any(undo.status == "running" for undo in self.draft.undo):
            return True
        waiting = next((undo for undo in self.draft.undo if undo.status == "waiting"), None)
        if waiting is None:
            return False
        self.draft.undo = tuple(
            structs.replace(undo, status="running", version=self.draft.version)
            if undo is waiting
            else undo
            for undo in self.draft.undo
        )
        self.draft.compensation = waiting.type
        self.draft.apply([self.undo_send(waiting.type)])
        self.draft.compensation = ""
        return True

    def stop_undoing(self, reason: str) -> None:
        """End as failed with what is left to undo still waiting."""
        self._end("failed", Failure(type="UndoFailed", message=f"{reason}; see to it by hand"))

    def call_back(self, name: str, payload: object) -> None:
        """Tell a callback of the program, if it has one, in the background."""
        target = self.program.callbacks.get(name)
        if target:
            self.draft.apply([Send(target=target, payload=to_raw(payload))])

    def undoable(self) -> list[str]:
        """The ids of the steps that can be undone and have not been, the last one done first."""
        begun = {undo.type for undo in self.draft.undo}
        found = [
            (self._rank(record), id)
            for id, record in self.records.items()
            if id not in begun and self._has_undo(record)
        ]
        return [id for _, id in sorted(found, reverse=True)]

    def _rank(self, record: StepRecord) -> float:
        """Where a step stands among those that ended well; one that failed is behind them."""
        if record.order or not record.heard:
            return record.order or COMMANDS_MAX * 1000
        # A workflow went on after this failure: it stands before what was heard of later.
        before = (r.order for r in self.records.values() if 0 < r.heard < record.heard)
        return max(before, default=0) + 0.5

    def _has_undo(self, record: StepRecord) -> bool:
        step = self.program.steps.get(record.step) if record.kind == "step" else None
        if step is None or step.compensate is None or record.background or record.kept:
            return False
        if record.rolled_back and step.data_only:
            return False
        if record.status == "failed":
            return bool(record.order) or not step.strict  # with an order it had ended well before
        return record.status == "completed"

    def _check_declared(self) -> None:
        known = {part.name for step in self.program.steps.values() for part in (step, *step.parts)}
        begun = {undo.type for undo in self.draft.undo}
        for id, record in self.records.items():
            done = record.kind == "step" and record.status == "completed" and id not in begun
            spared = record.kept or record.rolled_back or record.background
            if done and not spared and record.step not in known:
                raise HandlerFault(
                    f"the step {record.step!r} was done and is not declared any more, so nobody"
                    " knows how it is undone; bring it back and retry, or cancel the run"
                )

    def _queue_undos(self) -> None:
        """Put what can be undone in line, before what was done earlier."""
        version = self.draft.version
        new = tuple(Undo(type=id, status="waiting", version=version) for id in self.undoable())
        if new:
            waiting = [undo for undo in self.draft.undo if undo.status == "waiting"]
            begun = [undo for undo in self.draft.undo if undo.status != "waiting"]
            self.draft.undo = (*begun, *new, *waiting)

    def undo_send(self, id: str) -> Send:
        """The command that undoes a step."""
        step = self.program.steps[self.records[id].step]
        return Send(
            target=step.undo_target,
            payload=self._undo_call(id),
            retry=step.undo_retry,
            step=id,
        )

    def _undo_call(self, id: str) -> Raw:
        record = self.records[id]
        call = StepCall(
            step=id,
            undo=True,
            output=record.output,
            data=record.data,
            failed=record.status == "failed",
            error=record.error,
            rolled_back=record.rolled_back,
            context=self.program.undo_context(self, id),
            tenant=self.program.tenant(self),
            begun=self._begun_for(self.program.steps[record.step]),
        )
        return to_raw(call)

    def _begun_for(self, step: AnyStep) -> datetime | None:
        """Databases outlive runs: what they record tells a run from a later one of the same key."""
        return self.draft.started if step.transactional is not None else None

    def _end_undone(self) -> None:
        undone = self.draft.undo
        failed = [f"{undo.type}: {undo.error}" for undo in undone if undo.status == "failed"]
        if failed:
            self.stop_undoing(f"not everything could be undone ({'; '.join(failed)})")
        else:
            self._end("compensated" if undone else "failed", self.draft.error)

    def _end(self, status: Any, failure: Failure | None) -> None:
        self.draft.status = status
        self.draft.error = failure
        self.draft.ended = True
        self.call_back("failed", {"failure": failure})
