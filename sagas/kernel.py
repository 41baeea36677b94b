"""The decision: what one message does to one instance. Pure: same input, same bytes.

``decide`` takes a definition, what is known of the instance, the message and the time, and answers
with a closed union: a Transition (the next document), Ignored (nothing changes, with the reason),
Undeliverable (a dead letter, with the reason) or Refused (an operator's action that the instance
doesn't allow). It never raises for what a handler or a message does wrong; a handler that raises
parks its instance.
"""

from __future__ import annotations

from collections.abc import Container
from datetime import datetime

import msgspec
from msgspec import UNSET, structs

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
from sagas.decision import (
    Decision,
    Ignored,
    IgnoredCode,
    Refused,
    Snapshot,
    Transition,
    Undeliverable,
    commit,
)
from sagas.definition import SagaDefinition
from sagas.draft import DRAIN, GATE_SAGA, GRANTED, Draft
from sagas.errors import error_text
from sagas.handlers import to_message
from sagas.instance import (
    BACKLOG_MAX,
    PAYLOAD_BYTES_MAX,
    VALUE_BYTES_MAX,
    Instance,
)
from sagas.messages import Cause, unreadable
from sagas.names import is_command_of, parse_command_id
from sagas.parking import remember
from sagas.programs import program
from sagas.programs.called import turn_away
from sagas.requeue import REQUEUE, park_too_large, requeue
from sagas.work import conclude

__all__ = (
    "Decision",
    "Ignored",
    "IgnoredCode",
    "Refused",
    "Snapshot",
    "Transition",
    "Undeliverable",
    "decide",
)


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

    ``payload`` may bring the payload already decoded for this definition; ``handled`` are message
    ids found in the instance's older history. Operator actions go through ``sagas.actions.act``.
    """
    instance = snapshot.instance
    if len(cause.payload) > PAYLOAD_BYTES_MAX:
        return Undeliverable(
            f"the payload has {len(cause.payload)} bytes, a saga takes"
            f" {PAYLOAD_BYTES_MAX}; store it elsewhere"
            " and send a reference"
        )
    # Payloads that came decoded were read whole when the event was routed.
    if cause.kind == "event" and payload is UNSET and (fault := unreadable(cause.payload)):
        return Undeliverable(fault)
    by_hand = cause.kind == "spawn" and cause.parent is None
    if by_hand and (fault := _unfit(definition, cause)):
        return Refused(fault, instance.version if instance else 0)
    known = instance is not None and (cause.id in instance.seen or cause.id in handled)
    if known and cause.id and cause.from_outside:
        reason = f"message id {cause.id!r} has changed this instance before"
        return Ignored("duplicate", f"{reason}; an event meant anew needs an id of its own")
    if cause.answers and not is_command_of(cause.answers, definition.id, snapshot.key):
        if instance is None and not _starts(definition, cause):
            reason = "it answers another saga's command, and no instance here waits for it"
            return Ignored("unknown_instance", f"{reason}; nothing is to be done")
        cause = structs.replace(cause, answers="", failed=False)
    if instance is None:
        begun = _begin(definition, snapshot, cause, now, payload)
        return _fitting(begun) if by_hand else begun
    early = _before_work(definition, instance, cause)
    if early is not None:
        return early
    draft = Draft(definition, snapshot.key, instance, cause, now)
    draft.standing = snapshot.standing
    if cause.id:
        remember(draft, cause)
    if cause.type == REQUEUE and cause.kind == "signal":
        return requeue(draft, snapshot)
    if instance.finished:
        return _after_end(draft, snapshot, cause)
    if cause.type == GRANTED and cause.kind == "signal":
        return _granted(draft, snapshot, cause)
    if cause.type == DRAIN and cause.kind == "signal":
        return _drain(draft, snapshot)
    if instance.status in ("paused", "parked") or instance.backlog or _waits_for_gate(instance):
        return _queue(draft, snapshot, cause)
    return conclude(draft, snapshot, cause, payload)


def _unfit(definition: SagaDefinition, cause: Cause) -> str:
    """Why a start by hand is refused, as its event would be, before an instance is made of it."""
    handler = definition.handlers.get(cause.type)
    try:
        if handler is not None:
            handler.decode(cause.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return f"the input does not fit {definition.id}: {error}; correct it and start again"
    return ""


def _fitting(begun: Decision) -> Decision:
    """Refuse a start by hand that is too large to go on, before an instance is made of it."""
    error = begun.after.error if isinstance(begun, Transition) else None
    if error is None or error.type != "LimitExceeded":
        return begun
    return Refused(f"it can't start: {error.message}", 0)


def _starts(definition: SagaDefinition, cause: Cause) -> bool:
    handler = definition.handlers.get(cause.type)
    return handler is not None and handler.starts


def _before_work(definition: SagaDefinition, instance: Instance, cause: Cause) -> Decision | None:
    """Reasons to leave an existing instance alone, whatever its status."""
    if definition.id == GATE_SAGA:
        return None
    if cause.answers and cause.answers not in instance.commands:
        return _unexpected_answer(instance, cause)
    if cause.answers and _answer_waits(instance, cause.answers):
        reason = f"command {cause.answers} has an answer that waits"
        return Ignored("already_answered", f"{reason}; the first answer counts")
    if cause.kind == "spawn" and cause.parent is not None:
        return Undeliverable(
            f"{instance.saga}/{instance.key} is there already, so it can't be started as a child;"
            " give each child a key of its own"
        )
    if cause.kind == "timer":
        timer = instance.timers.get(cause.id.rpartition("@")[0])
        if timer is None or timer.version != cause.epoch:
            return Ignored(
                "timer_moot",
                f"the timer {cause.id!r} was cancelled or set anew before it fired; nothing is to"
                " be done",
            )
    return None


def _answer_waits(instance: Instance, id: str) -> bool:
    parked = instance.parked.cause if instance.parked else None
    return any(cause.answers == id for cause in instance.backlog) or (
        parked is not None and parked.answers == id
    )


def _unexpected_answer(instance: Instance, cause: Cause) -> Decision:
    origin = parse_command_id(cause.answers)
    if (
        origin is None
        or origin[:2] != (instance.saga, instance.key)
        or origin[2] > instance.version
    ):
        return Undeliverable(
            f"it answers the command {cause.answers!r}, which {instance.saga}/{instance.key}"
            " has never sent; correct its header Snorri-Cause or discard this"
        )
    return _answered(cause)


def _answered(cause: Cause) -> Ignored:
    reason = f"command {cause.answers} has been answered before"
    return Ignored("already_answered", f"{reason}; the first answer counts")


# --- the beginning and the end of an instance


def _begin(
    definition: SagaDefinition, snapshot: Snapshot, cause: Cause, now: datetime, payload: object
) -> Decision:
    refusal = _not_begun(definition, snapshot.key, cause)
    if refusal is not None:
        return refusal
    draft = Draft(definition, snapshot.key, None, cause, now)
    if cause.id:
        remember(draft, cause)
    if definition.concurrency is not None:
        return _wait_at_gate(draft, snapshot, cause, payload)
    return conclude(draft, snapshot, cause, payload)


def _not_begun(definition: SagaDefinition, key: str, cause: Cause) -> Decision | None:
    """Why a message for an instance that does not exist begins none."""
    if definition.id == GATE_SAGA:
        return None
    if cause.answers:
        reason = f"it answers the command {cause.answers!r}"
        reason = f"{reason}, but {definition.id}/{key} does not exist"
        return Undeliverable(f"{reason}; correct its header Snorri-Cause or discard this")
    if cause.kind in ("child", "signal") or (cause.kind == "timer" and cause.epoch):
        reason = f"{definition.id}/{key} does not exist, so nobody waits for this {cause.kind}"
        return Ignored("unknown_instance", f"{reason}; nothing is to be done")
    handler = definition.handlers.get(cause.type)
    if handler is None:
        reason = f"{definition.id} has no handler for {cause.type!r}"
        return Ignored("no_handler", f"{reason}; give it one if it should take it")
    if handler.starts or definition.on_unknown == "start":
        return None
    reason = f"{definition.id}/{key} does not exist and {cause.type!r} does not start one"
    if definition.on_unknown == "ignore":
        return Ignored("unknown_instance", f"{reason}; attach it to an instance if it matters")
    return Undeliverable(f"{reason}; publish its starting message first, then redrive this")


def _wait_at_gate(draft: Draft, snapshot: Snapshot, cause: Cause, payload: object) -> Decision:
    """A new instance of a saga with a concurrency limit: its first message waits for a slot."""
    if payload is UNSET:
        try:
            payload = draft.definition.handlers[cause.type].decode(cause.payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            reason = f"the payload of {cause.type!r} does not fit: {error}"
            return Undeliverable(f"{reason}; correct it, then redrive this")
    try:
        gate.enter(draft, to_message(cause, payload))
    except Exception as error:  # the author's rule may raise anything
        text = f"{type(error).__name__}: {error_text(error)}"
        reason = f"the key of the concurrency limit can't be found: {text}"
        return Undeliverable(f"{reason}; correct the payload or the rule, then redrive this")
    draft.backlog = (cause,)
    transition = commit(draft, snapshot)
    if len(transition.document) > VALUE_BYTES_MAX:
        reason = "state and message together are too large to wait for a slot"
        return Undeliverable(f"{reason}; send a smaller message")
    return transition


def _after_end(draft: Draft, snapshot: Snapshot, cause: Cause) -> Decision:
    """A finished instance takes note of late answers and children, and turns away who calls it;
    everything else passes it by.

    What it sent before its end is still carried out: a command that waits for its concurrency key
    is let in, and an undo that fails parks the instance, or nobody would learn of it.
    """
    if cause.kind == "signal" and cause.type == GRANTED:
        return _granted(draft, snapshot, cause)
    if cause.kind == "signal" and cause.type == DRAIN and draft.backlog:
        return _drain_after_end(draft, snapshot)
    return _note_after_end(draft, cause) or commit(draft, snapshot)


def _note_after_end(draft: Draft, cause: Cause) -> Ignored | None:
    """Take note of a message that came late; the reason when it means nothing any more."""
    if cause.answers:
        command = draft.commands[cause.answers]
        failed = cause.failed or cause.type == FAILED
        program.after_end(draft, cause)
        if command.undo and failed:
            park_for_command(draft, cause.answers, failure_text(cause))
        elif undo := close_command(draft, cause.answers):
            settle_undo(draft, undo)
        return None
    if (cause.kind == "child" and note_child(draft, cause)) or turn_away(draft, cause):
        return None
    reason = f"the instance is {draft.status} and takes no more messages"
    return Ignored("finished", f"{reason}; begin another under a key of its own if it matters")


def _drain_after_end(draft: Draft, snapshot: Snapshot) -> Decision:
    """What waited while a finished instance was parked; it may park again for another undo."""
    ignored: list[tuple[Cause, Ignored]] = []
    while draft.backlog and draft.status != "parked":
        first, draft.backlog = draft.backlog[0], draft.backlog[1:]
        if reason := _moot(draft, first) or _note_after_end(draft, first):
            ignored.append((first, reason))
    return structs.replace(commit(draft, snapshot), ignored=tuple(ignored))


# --- waiting: backlog and gates


def _waits_for_gate(instance: Instance) -> bool:
    return instance.gate is not None and not instance.gate.held


def _queue(draft: Draft, snapshot: Snapshot, cause: Cause) -> Decision:
    if len(draft.backlog) >= BACKLOG_MAX:
        return Undeliverable(
            f"the instance is {draft.status} and {BACKLOG_MAX} messages wait in its backlog"
            " already; retry or resume it,"
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
    if holder:
        return _let_in(draft, snapshot, holder)
    if draft.gate is None or draft.gate.held:
        return Ignored("moot", "the instance waits for no slot")
    draft.gate = structs.replace(draft.gate, held=True)
    decision = _drain(draft, snapshot)
    # Paused, parked or nothing to do: the slot is held all the same.
    return commit(draft, snapshot) if isinstance(decision, Ignored) else decision


def _let_in(draft: Draft, snapshot: Snapshot, id: str) -> Decision:
    command = draft.commands.get(id)
    if command is None or not command.gated:
        return Ignored("moot", f"the command {id} waits for no slot")
    draft.resend(id)
    transition = commit(draft, snapshot)
    if len(transition.document) <= VALUE_BYTES_MAX or draft.status == "parked":
        return transition
    return park_too_large(draft, snapshot, id)


def _drain(draft: Draft, snapshot: Snapshot) -> Decision:
    """Take the first message of the backlog that still matters and ask to be called again for the
    next.
    """
    if draft.status in ("paused", "parked") or (draft.gate is not None and not draft.gate.held):
        return Ignored("moot", f"the instance is {draft.status}; its backlog waits")
    asked = draft.cause
    ignored: list[tuple[Cause, Ignored]] = []
    while draft.backlog:
        first, draft.backlog = draft.backlog[0], draft.backlog[1:]
        draft.cause = first
        decision = _moot(draft, first) or conclude(draft, snapshot, first)
        if isinstance(decision, Ignored):
            ignored.append((first, decision))
        elif isinstance(decision, Transition):
            return structs.replace(decision, ignored=(*ignored, *decision.ignored))
        else:
            return decision
    if not ignored:
        return Ignored("moot", "the backlog is empty")
    draft.cause = asked
    settle(draft)
    transition = commit(draft, snapshot)
    return structs.replace(transition, ignored=(*ignored, *transition.ignored))


def _moot(draft: Draft, cause: Cause) -> Ignored | None:
    """Whether a message that waited in the backlog has become moot meanwhile."""
    if cause.answers and cause.answers not in draft.commands:
        return _answered(cause)
    if cause.kind == "timer" and cause.epoch:
        timer = draft.timers.get(cause.id.rpartition("@")[0])
        if timer is None or timer.version != cause.epoch:
            reason = f"the timer {cause.id!r} was cancelled while it waited"
            return Ignored("timer_moot", f"{reason}; nothing is to be done")
    return None
