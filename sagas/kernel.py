"""The decision: what one message does to one instance. Pure: same input, same bytes.

``decide`` takes a definition, what is known of the instance, the message and the time, and answers with a closed
union: a Transition (the next document), Ignored (nothing changes, with the reason), Undeliverable (a dead letter,
with the reason) or Refused (an operator's action that the instance doesn't allow). It never raises for what a
handler or a message does wrong; a handler that raises parks its instance.
"""

from __future__ import annotations

import traceback
from collections.abc import Container
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs

from sagas import gate
from sagas.definition import SagaDefinition
from sagas.draft import DRAIN, GATE_SAGA, GRANTED, RELEASE, Draft, command_gate
from sagas.effects import Compensate
from sagas.errors import HandlerFault, LimitExceeded
from sagas.handlers import Context, Handler, SagaHandle, call, to_message
from sagas.instance import (
    BACKLOG_MAX,
    FINISHED,
    PAYLOAD_BYTES_MAX,
    VALUE_BYTES_MAX,
    Failure,
    Instance,
    Parked,
    Status,
    Undo,
    encode,
)
from sagas.messages import Cause, to_raw
from sagas.names import parse_command_id

TRACEBACK_CHARS_MAX = 8000

IgnoredCode: TypeAlias = Literal[
    "duplicate",
    "finished",
    "timer_moot",
    "already_answered",
    "unknown_instance",
    "no_handler",
    "moot",
]


class Snapshot(Struct, frozen=True):
    """What is known of an instance before a message: its last document and that document's hash, or neither."""

    key: str
    instance: Instance | None = None
    hash: str = ""


class Transition(Struct, frozen=True):
    """The instance changes: ``after`` is its next document, ``document`` the same as it is stored.

    ``ignored`` is what a drained backlog let go, with reasons.
    """

    before: Instance | None
    after: Instance
    document: bytes
    ignored: tuple[tuple[Cause, Ignored], ...] = ()


class Ignored(Struct, frozen=True):
    """The instance stays as it is, for this reason."""

    code: IgnoredCode
    reason: str


class Undeliverable(Struct, frozen=True):
    """The message can make no progress; it is kept as a dead letter with this reason."""

    reason: str


class Refused(Struct, frozen=True):
    """An operator's action that the instance doesn't allow now; ``version`` is where it stands."""

    reason: str
    version: int


Decision: TypeAlias = Transition | Ignored | Undeliverable | Refused


def decide(
    definition: SagaDefinition,
    snapshot: Snapshot,
    cause: Cause,
    now: datetime,
    *,
    payload: object = UNSET,
    handled: Container[str] = (),
) -> Decision:
    """What ``cause`` does to the instance at ``now`` (UTC).

    ``payload`` may bring the payload already decoded for this definition; ``handled`` are message ids found in the
    instance's older history. Operator actions go through ``sagas.actions.act``.
    """
    instance = snapshot.instance
    if len(bytes(cause.payload)) > PAYLOAD_BYTES_MAX:
        return Undeliverable(
            f"the payload has {len(bytes(cause.payload))} bytes, a saga takes {PAYLOAD_BYTES_MAX}; store it elsewhere"
            " and send a reference"
        )
    if instance is not None and cause.id and (cause.id in instance.seen or cause.id in handled):
        return Ignored("duplicate", f"message id {cause.id!r} has changed this instance before")
    if instance is None:
        return _begin(definition, snapshot, cause, now, payload)
    early = _before_work(definition, instance, cause)
    if early is not None:
        return early
    draft = Draft(definition, snapshot.key, instance, cause, now)
    _remember(draft, cause)
    if instance.finished:
        return _after_end(draft, snapshot, cause)
    if cause.type == GRANTED and cause.kind == "signal":
        return _granted(draft, snapshot, cause)
    if cause.type == DRAIN and cause.kind == "signal":
        return drain(draft, snapshot)
    if instance.status in ("paused", "parked") or instance.backlog or _waits_for_gate(instance):
        return _queue(draft, snapshot, cause)
    return _conclude(draft, snapshot, cause, payload)


def _remember(draft: Draft, cause: Cause) -> None:
    """Keep the ids that publishers and operators give; internal messages come once by their position."""
    if (
        cause.id
        and (cause.kind == "event" or cause.kind == "operator")
        and cause.id not in draft.seen
    ):
        draft.remember(cause.id)


def _before_work(definition: SagaDefinition, instance: Instance, cause: Cause) -> Decision | None:
    """Reasons to leave an existing instance alone, whatever its status."""
    if definition.id == GATE_SAGA:
        return None
    if cause.answers and cause.answers not in instance.commands:
        return _unexpected_answer(instance, cause)
    if cause.answers and any(waiting.answers == cause.answers for waiting in instance.backlog):
        return Ignored(
            "already_answered", f"command {cause.answers} has an answer waiting in the backlog"
        )
    if cause.kind == "timer":
        timer = instance.timers.get(cause.id.rpartition("@")[0])
        if timer is None or timer.version != cause.epoch:
            return Ignored(
                "timer_moot", f"the timer {cause.id!r} was cancelled or set anew before it fired"
            )
    return None


def _unexpected_answer(instance: Instance, cause: Cause) -> Decision:
    origin = parse_command_id(cause.answers)
    if (
        origin is None
        or origin[:2] != (instance.saga, instance.key)
        or origin[2] > instance.version
    ):
        return Undeliverable(
            f"it answers the command {cause.answers!r}, which {instance.saga}/{instance.key} has never sent"
        )
    return Ignored("already_answered", f"command {cause.answers} has been answered before")


def commit(draft: Draft, snapshot: Snapshot) -> Transition:
    """The transition a finished draft stands for."""
    after = draft.finish(snapshot.hash)
    return Transition(snapshot.instance, after, encode(after))


# --- the beginning and the end of an instance ------------------------------------------------------


def _begin(
    definition: SagaDefinition, snapshot: Snapshot, cause: Cause, now: datetime, payload: object
) -> Decision:
    name = f"{definition.id}/{snapshot.key}"
    if definition.id != GATE_SAGA:
        if cause.answers:
            return Undeliverable(
                f"it answers the command {cause.answers!r}, but {name} does not exist"
            )
        if cause.kind in ("child", "signal"):
            return Ignored("unknown_instance", f"{name} does not exist")
        handler = definition.handlers.get(cause.type)
        if handler is None:
            return Ignored("no_handler", f"{definition.id} has no handler for {cause.type!r}")
        if not handler.starts and definition.on_unknown != "start":
            reason = f"{name} does not exist and {cause.type!r} does not start one"
            if definition.on_unknown == "ignore":
                return Ignored("unknown_instance", reason)
            return Undeliverable(f"{reason}; publish its starting message first, then redrive this")
    draft = Draft(definition, snapshot.key, None, cause, now)
    _remember(draft, cause)
    if definition.concurrency is not None:
        gate.enter(draft, to_message(cause, payload_for(definition, cause, payload)))
        draft.backlog = (cause,)
        return commit(draft, snapshot)
    return _conclude(draft, snapshot, cause, payload)


def _after_end(draft: Draft, snapshot: Snapshot, cause: Cause) -> Decision:
    """A finished instance takes note of late answers and children; everything else passes it by."""
    if cause.answers:
        _close_command(draft, cause)
        return commit(draft, snapshot)
    if cause.kind == "child" and _note_child(draft, cause):
        return commit(draft, snapshot)
    return Ignored(
        "finished", f"the instance is {draft.status}; a finished instance takes no more messages"
    )


# --- waiting: backlog and gates --------------------------------------------------------------------


def _waits_for_gate(instance: Instance) -> bool:
    return instance.gate is not None and not instance.gate.held


def _queue(draft: Draft, snapshot: Snapshot, cause: Cause) -> Decision:
    if len(draft.backlog) >= BACKLOG_MAX:
        return Undeliverable(
            f"the instance is {draft.status} and {BACKLOG_MAX} messages wait in its backlog already; retry or resume it,"
            " then redrive this"
        )
    draft.backlog = (*draft.backlog, cause)
    transition = commit(draft, snapshot)
    if len(transition.document) > VALUE_BYTES_MAX:
        return Undeliverable(
            "the backlog of the instance is full (bytes); retry or resume it, then redrive this"
        )
    return transition


def _granted(draft: Draft, snapshot: Snapshot, cause: Cause) -> Decision:
    """A gate lets in this instance or one of its commands."""
    holder = msgspec.json.decode(cause.payload, type=gate.Slot).holder
    if not holder:
        if draft.gate is None or draft.gate.held:
            return Ignored("moot", "the instance waits for no slot")
        draft.gate = structs.replace(draft.gate, held=True)
        return drain(draft, snapshot)
    command = draft.commands.get(holder)
    if command is None or not command.gated:
        return Ignored("moot", f"the command {holder} waits for no slot")
    draft.resend(holder)
    return commit(draft, snapshot)


def drain(draft: Draft, snapshot: Snapshot) -> Decision:
    """Take the first message of the backlog that still matters and ask to be called again for the next."""
    if draft.status in ("paused", "parked") or (draft.gate is not None and not draft.gate.held):
        return Ignored("moot", f"the instance is {draft.status}; its backlog waits")
    ignored: list[tuple[Cause, Ignored]] = []
    while draft.backlog:
        first, draft.backlog = draft.backlog[0], draft.backlog[1:]
        before = snapshot.instance
        moot = _before_work_of(draft, first) if before is not None else None
        if moot is not None:
            ignored.append((first, moot))
            continue
        draft.cause = first
        decision = _conclude(draft, snapshot, first, UNSET)
        if isinstance(decision, Transition):
            return structs.replace(decision, ignored=tuple(ignored))
        return decision
    if not ignored:
        return Ignored("moot", "the backlog is empty")
    draft.settle()
    return structs.replace(commit(draft, snapshot), ignored=tuple(ignored))


def _before_work_of(draft: Draft, cause: Cause) -> Ignored | None:
    """Whether a message that waited in the backlog has become moot meanwhile."""
    if cause.answers and cause.answers not in draft.commands:
        return Ignored("already_answered", f"command {cause.answers} has been answered before")
    if cause.kind == "timer" and draft.before is not None and draft.before.version >= 1:
        timer = draft.timers.get(cause.id.rpartition("@")[0])
        if timer is None or timer.version != cause.epoch:
            return Ignored("timer_moot", f"the timer {cause.id!r} was cancelled while it waited")
    return None


# --- the work: bookkeeping, handler, effects -------------------------------------------------------


def _conclude(draft: Draft, snapshot: Snapshot, cause: Cause, payload: object) -> Decision:
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
            f"the transition would be {len(transition.document)} bytes, the limit is {VALUE_BYTES_MAX};"
            " send smaller payloads or fewer effects"
        )
        return park(draft, snapshot, cause, fault, backlog)
    return transition


def _work(draft: Draft, cause: Cause, payload: object) -> Decision | None:
    """Bookkeeping for what the message answers, then its handler; None when the draft holds the outcome."""
    definition = draft.definition
    if definition.id == GATE_SAGA:
        return gate.work(draft, cause)
    handler = (
        definition.signals.get(cause.type)
        if cause.kind == "signal"
        else definition.handlers.get(cause.type)
    )
    if cause.answers and handler is None and (cause.failed or cause.type == "Snorri-Failed"):
        _park_for_command(draft, cause)
        return None
    if cause.answers:
        _close_command(draft, cause)
    if cause.kind == "timer" and draft.before is not None:
        timer = cause.id.rpartition("@")[0]
        draft.timers = {id: set_ for id, set_ in draft.timers.items() if id != timer}
    noted = cause.kind == "child" and _note_child(draft, cause)
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
    """Call a handler, take its state and carry out its effects; compensations follow in the same transition."""
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
    """Run the undo handler of a type, once for each type in the life of an instance; raises HandlerFault."""
    handler = draft.definition.compensations.get(wanted.type)
    if handler is None:
        known = ", ".join(sorted(draft.definition.compensations)) or "none"
        raise HandlerFault(
            f"compensate({wanted.type!r}): {draft.definition.id} has no .compensate handler for it; it has: {known}"
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
    status: Literal["running", "done", "failed", "skipped", "by_hand"],
    error: str = "",
) -> None:
    """Change the status of one undo."""
    draft.undo = tuple(
        structs.replace(undo, status=status, error=error) if undo.type == type else undo
        for undo in draft.undo
    )


def _close_command(draft: Draft, cause: Cause) -> None:
    command = draft.commands[cause.answers]
    draft.commands = {id: open for id, open in draft.commands.items() if id != cause.answers}
    if command.concurrency_key:
        draft.ask_gate(
            RELEASE, command_gate(command.target, command.concurrency_key), cause.answers
        )
    if command.undo and cause.failed:
        set_undo(draft, command.undo, "failed", _failure_text(cause))
    elif command.undo:
        finish_undo(draft, command.undo)


def _park_for_command(draft: Draft, cause: Cause) -> None:
    command = draft.commands[cause.answers]
    text = _failure_text(cause)
    if command.undo:
        set_undo(draft, command.undo, "failed", text)
    draft.park(
        Failure(
            type="CommandFailed", message=f"the job {command.target!r} failed for good: {text}"
        ),
        Parked(command=cause.answers, status=draft.status, attempts=_attempts(draft)),
    )


def _failure_text(cause: Cause) -> str:
    try:
        reason = msgspec.json.decode(cause.payload)
    except msgspec.DecodeError:
        return "no reason given"
    return str(reason.get("reason", reason)) if isinstance(reason, dict) else str(reason)


def _note_child(draft: Draft, cause: Cause) -> bool:
    try:
        told = msgspec.json.decode(cause.payload, type=gate.ChildEnd)
    except msgspec.ValidationError:
        return False
    child = f"{told.saga}/{told.key}"
    if draft.children.get(child) != "running":
        return False
    draft.children = {**draft.children, child: cause.type.rpartition(".")[2]}
    return True


# --- parking ---------------------------------------------------------------------------------------


def park(
    draft: Draft, snapshot: Snapshot, cause: Cause, error: Exception, backlog: tuple[Cause, ...]
) -> Decision:
    """The instance as it was, stopped with this message and the traceback, waiting for an operator."""
    parked = Draft(draft.definition, snapshot.key, snapshot.instance, cause, draft.now)
    _remember(parked, cause)
    parked.backlog = backlog
    if parked.gate is not None and draft.gate is not None:
        parked.gate = draft.gate
    status: Status = parked.status if parked.parked is None else parked.parked.status
    parked.park(
        Failure(type=type(error).__name__, message=str(error)[:2000], traceback=_traceback(error)),
        Parked(cause=cause, status=status, attempts=_attempts(draft)),
    )
    # The message is kept in ``parked``; a second copy in ``cause`` could make a large one too large.
    parked.cause = (
        structs.replace(cause, payload=to_raw(None))
        if len(bytes(cause.payload)) > 10_000
        else cause
    )
    return commit(parked, snapshot)


def _attempts(draft: Draft) -> int:
    return draft.parked.attempts + 1 if draft.parked else 1


def _traceback(error: Exception) -> str:
    """The traceback from the author's handler on, with file names instead of a machine's paths."""
    if isinstance(error, (HandlerFault, LimitExceeded, msgspec.ValidationError)):
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    own = [i for i, frame in enumerate(frames) if frame.filename.endswith("sagas/handlers.py")]
    theirs = frames[own[-1] + 1 :] if own else frames
    lines = [
        f'  File "{frame.filename.replace(chr(92), "/").rsplit("/", 1)[-1]}", line {frame.lineno}, in {frame.name}\n'
        f"    {frame.line}\n"
        for frame in theirs
    ]
    last = "".join(traceback.format_exception_only(error))
    return ("Traceback (most recent call last):\n" + "".join(lines) + last)[-TRACEBACK_CHARS_MAX:]


def payload_for(definition: SagaDefinition, cause: Cause, payload: object) -> object:
    """The payload decoded for a definition's handler, or as plain JSON where it has none."""
    if not isinstance(payload, UnsetType):
        return payload
    handler = definition.handlers.get(cause.type)
    return handler.decode(cause.payload) if handler else msgspec.json.decode(cause.payload)
