"""The work on one message: what it answers, its handler, its effects and its compensations.

A fault anywhere in it drops all that was done so far and parks the instance as it was before.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType, structs

from sagas import gate
from sagas.bookkeeping import (
    FAILED,
    close_command,
    failure_text,
    note_child,
    park_for_command,
    settle,
    settle_undo,
)
from sagas.decision import Decision, Ignored, Snapshot, Transition, Undeliverable, commit
from sagas.draft import DRAIN, GATE_SAGA, Draft
from sagas.effects import Compensate
from sagas.errors import HandlerFault, LimitExceeded
from sagas.handlers import Context, Handler, SagaHandle, call, to_message
from sagas.instance import FINISHED, VALUE_BYTES_MAX, Undo
from sagas.messages import Cause, Message
from sagas.parking import park
from sagas.programs import program
from sagas.upcasting import check_known, current_state

# The parts of a document that may grow large; so many of them are told when it is too large.
PARTS = ("state", "cause", "effects", "commands", "steps", "backlog", "timers", "undo", "result")
PARTS_TOLD = 3


def conclude(
    draft: Draft, snapshot: Snapshot, cause: Cause, payload: object = UNSET, attempt: int = 1
) -> Decision:
    """Run the message through; on any fault drop the draft and park what was there before."""
    backlog = draft.backlog
    handler = _handler_of(draft, cause)
    if handler is not None and isinstance(payload, UnsetType):
        try:
            payload = handler.decode(cause.payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            if cause.kind == "event" and draft.before is None:
                reason = f"the payload of {cause.type!r} does not fit: {error}"
                return Undeliverable(f"{reason}; correct it, then redrive this")
            return park(draft, snapshot, cause, error, backlog, attempt)
    try:
        check_known(draft.definition, draft.definition_version)
        if draft.definition.program is not None:  # its state is what its code makes of history
            draft.definition_version = draft.definition.version
        outcome = _work(draft, cause, handler, payload, attempt)
        if outcome is not None:
            return outcome
        settle(draft)
        if draft.backlog and draft.status not in FINISHED and draft.status != "parked":
            draft.signal(draft.address, DRAIN)
        transition = commit(draft, snapshot)
        if len(transition.document) <= VALUE_BYTES_MAX:
            return transition
        fault: Exception = _too_large(transition)
    except Exception as error:  # whatever an author's handler raises parks its instance only
        fault = error
    return park(draft, snapshot, cause, fault, backlog, attempt)


def _too_large(transition: Transition) -> LimitExceeded:
    """What a document over the limit is made of, the largest parts first."""
    after = transition.after
    sizes = {name: len(msgspec.json.encode(getattr(after, name))) for name in PARTS}
    largest = sorted(sizes.items(), key=lambda part: -part[1])[:PARTS_TOLD]
    told = ", ".join(f"{name} {size}" for name, size in largest)
    return LimitExceeded(
        f"the transition would be {len(transition.document)} bytes, the limit is {VALUE_BYTES_MAX}"
        f" ({told}); keep large data elsewhere and pass references, or send less at a time"
    )


def _handler_of(draft: Draft, cause: Cause) -> Handler | None:
    definition = draft.definition
    group = definition.signals if cause.kind == "signal" else definition.handlers
    return group.get(cause.type)


def _work(
    draft: Draft, cause: Cause, handler: Handler | None, payload: object, attempt: int
) -> Decision | None:
    """Bookkeeping for what the message answers, then its handler; None when the draft holds the
    outcome.
    """
    if draft.definition.id == GATE_SAGA:
        return gate.work(draft, cause)
    if draft.definition.program is not None:
        return program.work(draft, cause, attempt)
    undo, failure = "", ""
    if cause.answers:
        failure = failure_text(cause) if cause.failed or cause.type == FAILED else ""
        if handler is None and failure:
            park_for_command(draft, cause.answers, failure)
            return None
        undo = close_command(draft, cause.answers)
    elif cause.kind == "timer" and cause.epoch:
        fired = cause.id.rpartition("@")[0]
        draft.timers = {id: timer for id, timer in draft.timers.items() if id != fired}
    noted = cause.kind == "child" and note_child(draft, cause)
    if handler is not None:
        draft.compensation = undo  # what follows up an undo's command belongs to that undo
        run_handler(draft, handler, cause, payload, attempt)
        draft.compensation = ""
    elif not (cause.answers or noted or cause.kind == "timer"):
        what = f"the {cause.kind} {cause.type!r}"
        reason = f"{draft.definition.id} has no handler for {what}"
        return Ignored("no_handler", f"{reason}; give it one if it should take it")
    if undo:
        settle_undo(draft, undo, failure)
    return None


def run_handler(
    draft: Draft, handler: Handler, cause: Cause, payload: object, attempt: int = 1
) -> None:
    """Call a handler, take its state and carry out its effects; compensations follow in the same
    transition.
    """
    definition = draft.definition
    state = current_state(definition, draft.state, draft.definition_version)
    message = to_message(cause, payload)
    handle = SagaHandle(f"{definition.id}/{draft.key}", draft.key, draft.version, state)
    context = _context(draft, state, message, attempt) if handler.arguments == 3 else None
    effects = call(handler, handle, message, context)
    draft.set_state(handle.state)
    for wanted in draft.apply(effects):
        compensate(draft, wanted)


def _context(draft: Draft, state: Any, message: Message[Any], attempt: int) -> Context[Any]:
    return Context(
        saga_id=draft.definition.id,
        key=draft.key,
        state=state,
        message=message,
        attempt=attempt,
        now=draft.now,
        version=draft.version,
        traceparent=draft.trace,
    )


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
    if draft.undoing:
        raise HandlerFault(
            "a .compensate handler can't ask for another compensation; return its effects instead"
        )
    if not draft.ended:  # an end beside compensate() stays where the instance ends
        draft.status = "compensating"
    for id, timer in tuple(draft.timers.items()):
        if timer.version != draft.version:
            draft.unschedule(id)
    undo = Undo(type=wanted.type, status="running", version=draft.version, payload=wanted.payload)
    draft.undo = (*draft.undo, undo)
    cause = structs.replace(
        draft.cause, type=wanted.type, payload=wanted.payload, reason=wanted.reason
    )
    outer, draft.compensation, draft.undoing = draft.compensation, wanted.type, True
    run_handler(draft, handler, cause, handler.decode(cause.payload))
    draft.compensation, draft.undoing = outer, False
    settle_undo(draft, wanted.type)
