"""The work on one message: what it answers, its handler, its effects and its compensations.

A fault anywhere in it drops all that was done so far and parks the instance as it was before.
"""

from __future__ import annotations

from typing import cast

import msgspec
from msgspec import UNSET, UnsetType, structs

from sagas import gate
from sagas.decision import Decision, Ignored, Snapshot, Undeliverable, commit
from sagas.definition import SagaDefinition
from sagas.draft import DRAIN, GATE_SAGA, RELEASE, Draft
from sagas.effects import Compensate
from sagas.errors import HandlerFault, LimitExceeded
from sagas.handlers import Context, Handler, SagaHandle, call, to_message
from sagas.instance import FINISHED, VALUE_BYTES_MAX, Failure, Parked, Undo, UndoStatus
from sagas.messages import Cause
from sagas.names import command_gate
from sagas.parking import attempts_of, park


def conclude(draft: Draft, snapshot: Snapshot, cause: Cause, payload: object) -> Decision:
    """Run the message through; on any fault drop the draft and park what was there before."""
    backlog = draft.backlog
    try:
        outcome = _work(draft, cause, payload)
    except msgspec.ValidationError as error:
        if cause.kind == "event" and not cause.answers and draft.before is None:
            return Undeliverable(f"the payload of {cause.type!r} does not fit: {error}")
        return park(draft, snapshot, cause, error, backlog)
    except (
        Exception
    ) as error:  # whatever an author's handler raises parks its instance, and only that
        return park(draft, snapshot, cause, error, backlog)
    if outcome is not None:
        return outcome
    draft.settle()
    if draft.backlog and draft.status not in FINISHED and draft.status != "parked":
        draft.signal(draft.address, DRAIN)
    transition = commit(draft, snapshot)
    if len(transition.document) > VALUE_BYTES_MAX:
        fault = LimitExceeded(
            f"the transition would be {len(transition.document)} bytes, the limit is"
            f" {VALUE_BYTES_MAX};"
            " send smaller payloads or fewer effects"
        )
        return park(draft, snapshot, cause, fault, backlog)
    return transition


def _work(draft: Draft, cause: Cause, payload: object) -> Decision | None:
    """Bookkeeping for what the message answers, then its handler; None when the draft holds the
    outcome.
    """
    definition = draft.definition
    if definition.id == GATE_SAGA:
        return gate.work(draft, cause)
    handler = (
        definition.signals.get(cause.type)
        if cause.kind == "signal"
        else definition.handlers.get(cause.type)
    )
    if cause.answers and handler is None and (cause.failed or cause.type == "Snorri-Failed"):
        park_for_command(draft, cause)
        return None
    if cause.answers:
        close_command(draft, cause)
    if cause.kind == "timer" and draft.before is not None:
        timer = cause.id.rpartition("@")[0]
        draft.timers = {id: set_ for id, set_ in draft.timers.items() if id != timer}
    noted = cause.kind == "child" and note_child(draft, cause)
    if handler is None:
        if cause.answers or noted or cause.kind == "timer":
            return None
        return Ignored(
            "no_handler", f"{definition.id} has no handler for the {cause.kind} {cause.type!r}"
        )
    run_handler(draft, handler, cause, payload)
    return None


def run_handler(
    draft: Draft, handler: Handler, cause: Cause, payload: object = UNSET, attempt: int = 0
) -> None:
    """Call a handler, take its state and carry out its effects; compensations follow in the same
    transition.
    """
    if isinstance(payload, UnsetType):
        payload = handler.decode(cause.payload)
    definition = draft.definition
    state = definition.decode_state(draft.state)
    message = to_message(cause, payload)
    handle = SagaHandle(f"{definition.id}/{draft.key}", draft.key, draft.version, state)
    context = Context(
        saga_id=definition.id,
        key=draft.key,
        state=state,
        message=message,
        attempt=attempt or (draft.parked.attempts + 1 if draft.parked else 1),
        now=draft.now,
        version=draft.version,
        traceparent=draft.trace,
    )
    effects = call(handler, handle, message, context)
    draft.set_state(handle.state)
    for wanted in draft.apply(effects):
        compensate(draft, wanted)


def compensate(draft: Draft, wanted: Compensate) -> None:
    """Run the undo handler of a type, once for each type in the life of an instance; raises
    HandlerFault.
    """
    handler = draft.definition.compensations.get(wanted.type)
    if handler is None:
        known = ", ".join(sorted(draft.definition.compensations)) or "none"
        raise HandlerFault(
            f"compensate({wanted.type!r}): {draft.definition.id} has no .compensate handler"
            f" for it; it has: {known}"
        )
    if any(undo.type == wanted.type for undo in draft.undo):
        return
    if draft.compensation:
        raise HandlerFault(
            "a .compensate handler can't ask for another compensation; return its effects instead"
        )
    draft.status = "compensating"
    for id in tuple(draft.timers):
        draft.unschedule(id)
    draft.compensation = wanted.type
    draft.undo = (
        *draft.undo,
        Undo(type=wanted.type, status="running", version=draft.version, payload=wanted.payload),
    )
    cause = structs.replace(
        draft.cause, type=wanted.type, payload=wanted.payload, reason=wanted.reason
    )
    run_handler(draft, handler, cause)
    draft.compensation = ""
    finish_undo(draft, wanted.type)


def finish_undo(draft: Draft, type: str) -> None:
    """Mark an undo done when none of its commands is open any more."""
    if any(command.undo == type for command in draft.commands.values()):
        return
    set_undo(draft, type, "done")


def set_undo(
    draft: Draft,
    type: str,
    status: UndoStatus,
    error: str = "",
) -> None:
    """Change the status of one undo."""
    draft.undo = tuple(
        structs.replace(undo, status=status, error=error) if undo.type == type else undo
        for undo in draft.undo
    )


def close_command(draft: Draft, cause: Cause) -> None:
    """Note that a command has its answer, for its gate and for the undo it belongs to."""
    command = draft.commands[cause.answers]
    draft.commands = {id: open for id, open in draft.commands.items() if id != cause.answers}
    if command.concurrency_key:
        draft.ask_gate(
            RELEASE, command_gate(command.target, command.concurrency_key), cause.answers
        )
    if command.undo and cause.failed:
        set_undo(draft, command.undo, "failed", failure_text(cause))
    elif command.undo:
        finish_undo(draft, command.undo)


def park_for_command(draft: Draft, cause: Cause) -> None:
    """Park for a command that failed for good while no handler wants to hear of it."""
    command = draft.commands[cause.answers]
    text = failure_text(cause)
    if command.undo:
        set_undo(draft, command.undo, "failed", text)
    draft.park(
        Failure(
            type="CommandFailed", message=f"the job {command.target!r} failed for good: {text}"
        ),
        Parked(command=cause.answers, status=draft.status, attempts=attempts_of(draft)),
    )


def failure_text(cause: Cause) -> str:
    """The reason that a failed result carries, in its payload or its field ``reason``."""
    try:
        told: object = msgspec.json.decode(cause.payload)
    except msgspec.DecodeError:
        return "no reason given"
    if isinstance(told, dict):
        fields = cast("dict[str, object]", told)
        return str(fields.get("reason", fields))
    return str(told)


def note_child(draft: Draft, cause: Cause) -> bool:
    """Note how a child ended; False when it is none of ours or has told so before."""
    try:
        told = msgspec.json.decode(cause.payload, type=gate.ChildEnd)
    except msgspec.ValidationError:
        return False
    child = f"{told.saga}/{told.key}"
    if draft.children.get(child) != "running":
        return False
    draft.children = {**draft.children, child: cause.type.rpartition(".")[2]}
    return True


def payload_for(definition: SagaDefinition, cause: Cause, payload: object) -> object:
    """The payload decoded for a definition's handler, or as plain JSON where it has none."""
    if not isinstance(payload, UnsetType):
        return payload
    handler = definition.handlers.get(cause.type)
    return handler.decode(cause.payload) if handler else msgspec.json.decode(cause.payload)
