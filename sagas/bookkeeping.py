"""Bookkeeping of an instance: its open commands, undos and children, and how it comes to an end.

Nothing here runs an author's code or can fail; it changes a Draft by what a message means, whoever
handles it.
"""

from __future__ import annotations

from typing import Literal, cast

import msgspec
from msgspec import Raw, Struct, structs

from sagas.draft import ACQUIRE, RELEASE, Draft
from sagas.effects import Send
from sagas.instance import FINISHED, Failure, OpenCommand, Parked, UndoStatus
from sagas.messages import NULL, Cause
from sagas.names import command_gate
from sagas.programs.called import give_up

# The types of answers of jobs that name none of their own.
COMPLETED = "Snorri-Completed"
FAILED = "Snorri-Failed"


class ChildEnd(Struct, frozen=True):
    """What a child tells its parent at its end."""

    saga: str
    key: str
    result: Raw = NULL
    reason: str = ""


def close_command(draft: Draft, id: str) -> str:
    """Note that a command has its answer and free its concurrency key; the undo it belongs to."""
    command = draft.commands[id]
    draft.commands = {name: open for name, open in draft.commands.items() if name != id}
    release(draft, id, command)
    return command.undo


def release(draft: Draft, id: str, command: OpenCommand) -> None:
    """Give back the slot of a command's concurrency key, or its place in the queue."""
    if command.concurrency_key:
        draft.ask_gate(RELEASE, command_gate(command.target, command.concurrency_key), id)


def acquire(draft: Draft, id: str, command: OpenCommand) -> None:
    """Ask for the slot of a command's concurrency key."""
    draft.ask_gate(ACQUIRE, command_gate(command.target, command.concurrency_key), id)


def settle_undo(draft: Draft, type: str, failure: str = "", status: UndoStatus = "done") -> None:
    """Say how an undo stands after one of its commands was answered, or after its handler ran.

    With a ``failure`` it has failed, unless a new command of it was sent in this very transition:
    that is another attempt. Without one it is done (or ``status``) when nothing of it is open.
    """
    commands = [command for command in draft.commands.values() if command.undo == type]
    sent = {effect.id for effect in draft.effects if isinstance(effect, Send)}
    again = any(one.undo == type and id in sent for id, one in draft.commands.items())
    undos = list(draft.undo)
    for place, undo in enumerate(undos):
        if undo.type != type:
            continue
        if failure and again:
            undos[place] = structs.replace(
                undo, status="running", attempts=undo.attempts + 1, error=""
            )
        elif failure:
            undos[place] = structs.replace(undo, status="failed", error=failure)
        elif undo.status != "failed" or status != "done":
            undos[place] = structs.replace(undo, status="running" if commands else status)
    draft.undo = tuple(undos)


def park_for_command(draft: Draft, id: str, failure: str) -> None:
    """Park for a command that failed for good while no handler wants to hear of it."""
    command = draft.commands[id]
    if command.undo:
        settle_undo(draft, command.undo, failure)
    text = f"the job {command.target!r} failed for good: {failure}"
    draft.park(
        Failure(type="CommandFailed", message=text),
        Parked(command=id, status=draft.status, error=draft.error),
    )


def failure_text(cause: Cause) -> str:
    """The reason that a failed result carries, in its payload or its field ``reason``."""
    try:
        told: object = msgspec.json.decode(cause.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "no reason given"
    if isinstance(told, dict):
        fields = cast("dict[str, object]", told)
        told = fields.get("reason", fields)
    return str(told) if told else "no reason given"


def note_child(draft: Draft, cause: Cause) -> bool:
    """Note how a child ended; False when it is none of ours or has told so before."""
    try:
        told = msgspec.json.decode(cause.payload, type=ChildEnd)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    child = f"{told.saga}/{told.key}"
    if draft.children.get(child) != "running":
        return False
    draft.children = {**draft.children, child: cause.type.rpartition(".")[2]}
    return True


def skip_step(draft: Draft, id: str) -> None:
    """A step of a run that is on its way is given up: the run goes on without it."""
    record = draft.steps.get(id)
    if record is not None and record.status == "running":
        skipped = structs.replace(record, status="skipped", ended=draft.now)
        draft.steps = {**draft.steps, id: skipped}


def let_go(draft: Draft, cause: Cause, code: Literal["finished", "moot"], reason: str) -> None:
    """Give up a message that had waited: what it answers is answered, and the reason is noted."""
    if cause.answers and cause.answers in draft.commands:
        skip_step(draft, draft.commands[cause.answers].step)
        undo = close_command(draft, cause.answers)
        if undo:
            settle_undo(draft, undo, failure_text(cause) if cause.failed else "")
    elif cause.kind == "timer":
        fired = cause.id.rpartition("@")[0]
        draft.timers = {id: timer for id, timer in draft.timers.items() if id != fired}
    elif cause.kind == "child":
        note_child(draft, cause)
    draft.dropped.append((cause, code, reason))


def settle(draft: Draft) -> None:
    """After all effects: a compensation with nothing open is over, and an end takes with it what
    still waits.
    """
    by_itself = draft.definition.program is None  # a program says itself when it is through
    if by_itself and draft.status == "compensating" and not _busy(draft):
        draft.ended = True
        failed = [f"{undo.type}: {undo.error}" for undo in draft.undo if undo.status == "failed"]
        draft.status = "failed" if failed else "compensated"
        if failed:
            text = f"not everything could be undone ({'; '.join(failed)}); see to it by hand"
            draft.error = Failure(type="UndoFailed", message=text)
    if draft.ended and draft.status in FINISHED:
        give_up(draft)
        for cause in draft.backlog:
            let_go(draft, cause, "finished", f"the instance was {draft.status} while it waited")
        draft.backlog = ()
        draft.end()


def _busy(draft: Draft) -> bool:
    waiting = draft.commands or draft.timers or draft.backlog
    return bool(waiting) or "running" in draft.children.values()
