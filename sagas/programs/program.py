"""Programs: what steps and workflows put in the place of handlers.

A program says what a run may do next, given what has been done: it is called after each message and
after each action of an operator, and starts what can start now. What is on its way, how each step
ended and what is left to undo are bookkeeping here, the same for all programs. Undoing goes one
step at a time, in the reverse order in which the steps ended well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import msgspec
from msgspec import Raw, Struct

from sagas.bookkeeping import (
    FAILED,
    ChildEnd,
    close_command,
    failure_text,
    note_child,
    park_for_command,
    settle_undo,
)
from sagas.decision import Decision, Ignored
from sagas.definition import find, text
from sagas.draft import Draft
from sagas.instance import OpenCommand
from sagas.messages import Cause
from sagas.programs.run import Run
from sagas.programs.steps import AnyStep, StepFailure, StepResult
from sagas.programs.transactions import (
    OUTCOME_UNKNOWN,
    commit_parts,
    fail_step,
    roll_back_parts,
)

# Where the tenant stands in the input of a run: a path of field names, or a function of the input.
TenantRule: TypeAlias = str | Callable[[Any], object]
OnFailure: TypeAlias = Literal["compensate", "park"]
OnUndoFailure: TypeAlias = Literal["park", "continue", "stop"]


class _Tried(Struct):
    attempts: int = 1  # of a step's answer, good or bad


_read_attempts = msgspec.json.Decoder(_Tried).decode


class Program(Protocol):
    """What a definition of steps, a workflow or an entity provides. Pure, like a handler."""

    @property
    def steps(self) -> Mapping[str, AnyStep]:
        """Every step that a run may ask for, by name."""
        ...

    @property
    def callbacks(self) -> Mapping[str, str]:
        """The targets of its callbacks (``step_completed``, ``compensating``, ``failed``)."""
        ...

    @property
    def parts(self) -> Sequence[object]:
        """What the hash of its definition covers: functions and values, in order."""
        ...

    @property
    def on_failure(self) -> OnFailure:
        """What a failed step means for its run."""
        ...

    @property
    def on_undo_failure(self) -> OnUndoFailure:
        """What a failed undo means for those behind it."""
        ...

    def begin(self, run: Run, cause: Cause) -> None:
        """Take the first message; ``advance`` follows."""
        ...

    def completed(self, run: Run, id: str, result: StepResult) -> None:
        """A step of the run has ended well and is on record."""
        ...

    def told(self, run: Run, cause: Cause) -> bool:
        """A message that answers nothing; False when the program takes no such message now."""
        ...

    def undo_context(self, run: Run, id: str) -> Raw:
        """The context that the undo of a step is given, JSON."""
        ...

    def tenant(self, run: Run) -> str:
        """Whose run it is, for the providers of its steps; empty where nobody says."""
        ...

    def unpatchable(self, run: Run, state: Raw) -> str:
        """Why an operator can't put ``state`` (JSON) in the place of the run's; empty if so."""
        ...

    def advance(self, run: Run) -> None:
        """Start what can start now, end the run, or have it compensated."""
        ...


def tenant_of(rule: TenantRule | None, input: object) -> str:
    """Whose an input is, or empty; raises what a rule that is a function raises."""
    if rule is None:
        return ""
    return (find(rule, input) if isinstance(rule, str) else text(rule(input))) or ""


def work(draft: Draft, cause: Cause, attempt: int) -> Decision | None:
    """What a message does to a run; None when the draft holds the outcome."""
    run = Run(draft, attempt)
    if not run.begun:
        run.program.begin(run, cause)
    elif cause.answers:
        _answered(run, cause)
    elif cause.kind == "timer" and cause.epoch:
        _fired(run, cause)
    elif not ((cause.kind == "child" and _child_ended(run, cause)) or run.program.told(run, cause)):
        what = f"the {cause.kind} {cause.type!r}"
        reason = f"{draft.definition.id}/{draft.key} has begun and waits for no such message"
        return Ignored("no_handler", f"{what}: {reason}; nothing is to be done")
    go_on(draft, attempt)
    return None


def go_on(draft: Draft, attempt: int = 1) -> None:
    """Do what can be done now: after a message, or after an operator has cleared the way."""
    run = Run(draft, attempt)
    if not run.begun:
        return
    if draft.status == "running" and not draft.ended:
        run.program.advance(run)
    if draft.status == "compensating" and not draft.ended:
        run.unwind()


def after_end(draft: Draft, cause: Cause) -> None:
    """The answer of a step that nobody waited for, after the end of its run: put on record."""
    command = draft.commands[cause.answers]
    if command.step in draft.steps and not command.undo:
        _record(Run(draft), command.step, cause)


def _answered(run: Run, cause: Cause) -> None:
    draft, id = run.draft, cause.answers
    command = draft.commands[id]
    failed = cause.failed or cause.type == FAILED
    if command.undo:
        _undone(run, cause, failure_text(cause) if failed else "")
        return
    if command.step not in draft.steps:
        close_command(draft, id)
        return
    _note_attempts(run, command, cause)
    if failed and (run.parks(command.step) or _outcome_unknown(run, command.step, cause)):
        roll_back_parts(run, command.step, _failure(cause).parts)
        park_for_command(draft, id, failure_text(cause))
    else:
        _record(run, command.step, cause)
        close_command(draft, id)


def _note_attempts(run: Run, command: OpenCommand, cause: Cause) -> None:
    """How often the step's function was tried, over all that its command was sent."""
    record = run.records[command.step]
    try:
        attempts = _read_attempts(cause.payload).attempts
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return
    if command.sends > 1:
        attempts += record.attempts
    if attempts != record.attempts:
        run.put(command.step, msgspec.structs.replace(record, attempts=attempts))


def _undone(run: Run, cause: Cause, failure: str) -> None:
    draft, policy = run.draft, run.program.on_undo_failure
    if failure and policy == "park":
        park_for_command(draft, cause.answers, failure)
        return
    undo = close_command(draft, cause.answers)
    settle_undo(draft, undo, failure)
    if failure and policy == "stop":
        run.stop_undoing(f"{undo} could not be undone: {failure}")


def _record(run: Run, id: str, cause: Cause) -> None:
    """How a step ended, on record; the program hears of the good ends."""
    if cause.failed or cause.type == FAILED:
        fail_step(run, id, _failure(cause))
        return
    called = run.records[id].kind == "call"  # of a job that is no step: all of it is the output
    result = StepResult(output=cause.payload) if called else _result(cause)
    run.complete_step(id, result)
    for part, gave in commit_parts(run, id, result.parts):
        _merged(run, part, gave)
    if not run.records[id].background:
        _merged(run, id, result)


def _merged(run: Run, id: str, result: StepResult) -> None:
    run.program.completed(run, id, result)
    run.call_back("step_completed", {"step": id, "index": run.records[id].order})


def _outcome_unknown(run: Run, id: str, cause: Cause) -> bool:
    """Whether nobody knows if a transaction was committed: an operator has to have it looked up."""
    return _failure(cause).code == OUTCOME_UNKNOWN and not run.records[id].background


def _failure(cause: Cause) -> StepFailure:
    try:
        told = msgspec.json.decode(cause.payload, type=StepFailure)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return StepFailure(reason=failure_text(cause))
    return told if told.reason else msgspec.structs.replace(told, reason=failure_text(cause))


def _result(cause: Cause) -> StepResult:
    """What a step returned; the answer of a program of somebody else's may be any JSON."""
    try:
        return msgspec.json.decode(cause.payload, type=StepResult)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return StepResult(output=cause.payload)


def _fired(run: Run, cause: Cause) -> None:
    id = cause.id.rpartition("@")[0]
    draft = run.draft
    draft.timers = {name: timer for name, timer in draft.timers.items() if name != id}
    record = run.records.get(id)
    if record is None or record.status != "running":
        return
    if record.kind == "sleep":
        run.complete_step(id, StepResult())
    else:
        run.fail_step(id, StepFailure(reason="it did not come in time", code="TimedOut"))


def _child_ended(run: Run, cause: Cause) -> bool:
    if not note_child(run.draft, cause):
        return False
    told = msgspec.json.decode(cause.payload, type=ChildEnd)
    id = run.waiting_for_child(f"{told.saga}/{told.key}")
    if id and cause.type.endswith(".completed"):
        run.complete_step(id, StepResult(output=told.result))
    elif id:
        status = cause.type.rpartition(".")[2]
        run.fail_step(id, StepFailure(reason=told.reason or status, code=f"child_{status}"))
    return True
