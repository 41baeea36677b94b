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
from sagas.handlers import to_message
from sagas.instance import BACKLOG_MAX, PAYLOAD_BYTES_MAX, VALUE_BYTES_MAX, Instance
from sagas.messages import Cause
from sagas.names import parse_command_id
from sagas.parking import remember
from sagas.work import close_command, conclude, note_child, payload_for

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
    if len(bytes(cause.payload)) > PAYLOAD_BYTES_MAX:
        return Undeliverable(
            f"the payload has {len(bytes(cause.payload))} bytes, a saga takes"
            f" {PAYLOAD_BYTES_MAX}; store it elsewhere"
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
    remember(draft, cause)
    if instance.finished:
        return _after_end(draft, snapshot, cause)
    if cause.type == GRANTED and cause.kind == "signal":
        return _granted(draft, snapshot, cause)
    if cause.type == DRAIN and cause.kind == "signal":
        return _drain(draft, snapshot)
    if instance.status in ("paused", "parked") or instance.backlog or _waits_for_gate(instance):
        return _queue(draft, snapshot, cause)
    return conclude(draft, snapshot, cause, payload)


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
            f"it answers the command {cause.answers!r}, which {instance.saga}/{instance.key}"
            " has never sent"
        )
    return Ignored("already_answered", f"command {cause.answers} has been answered before")


# --- the beginning and the end of an instance


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
    remember(draft, cause)
    if definition.concurrency is not None:
        gate.enter(draft, to_message(cause, payload_for(definition, cause, payload)))
        draft.backlog = (cause,)
        return commit(draft, snapshot)
    return conclude(draft, snapshot, cause, payload)


def _after_end(draft: Draft, snapshot: Snapshot, cause: Cause) -> Decision:
    """A finished instance takes note of late answers and children; everything else passes it by."""
    if cause.answers:
        close_command(draft, cause)
        return commit(draft, snapshot)
    if cause.kind == "child" and note_child(draft, cause):
        return commit(draft, snapshot)
    return Ignored(
        "finished", f"the instance is {draft.status}; a finished instance takes no more messages"
    )


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
    if not holder:
        if draft.gate is None or draft.gate.held:
            return Ignored("moot", "the instance waits for no slot")
        draft.gate = structs.replace(draft.gate, held=True)
        return _drain(draft, snapshot)
    command = draft.commands.get(holder)
    if command is None or not command.gated:
        return Ignored("moot", f"the command {holder} waits for no slot")
    draft.resend(holder)
    return commit(draft, snapshot)


def _drain(draft: Draft, snapshot: Snapshot) -> Decision:
    """Take the first message of the backlog that still matters and ask to be called again for the
    next.
    """
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
        decision = conclude(draft, snapshot, first, UNSET)
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
