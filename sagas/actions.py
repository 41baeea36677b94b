"""Operator actions: retry, resume, pause, cancel, compensate, signal, patch, skip, and those on one
timer, as messages to an instance.

An action goes through the same pure path as any message and becomes a transition with who, why and
when, or is Refused with the reason. ``plan`` asks what an action would do without doing it; its
hash can be sent with the action, and then exactly that is committed, or it is refused because the
instance has moved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container
from datetime import datetime, timedelta
from typing import get_args

import msgspec
from msgspec import Raw, Struct, structs

from sagas.bookkeeping import settle
from sagas.decision import (
    Decision,
    Ignored,
    Refused,
    Snapshot,
    Transition,
    Undeliverable,
    commit,
)
from sagas.definition import SagaDefinition
from sagas.draft import GATE_SAGA, Draft
from sagas.effects import Effect, Send
from sagas.errors import SagaError, error_text
from sagas.instance import VALUE_BYTES_MAX, Instance, Status, encode
from sagas.messages import EPOCH, NULL, Cause, unreadable
from sagas.operations import (
    ABSENT,
    STEPS,
    Action,
    ActionRequest,
    InstanceAction,
    TimerAction,
    given,
    merge_patch,
)
from sagas.programs.run import Run
from sagas.upcasting import newer_text

__all__ = (
    "ABSENT",
    "ACTIONS",
    "ACTION_STATUSES",
    "TIMER_ACTIONS",
    "Action",
    "ActionRequest",
    "InstanceAction",
    "Plan",
    "TimerAction",
    "act",
    "allowed",
    "given",
    "merge_patch",
    "plan",
    "plan_hash",
)

PLAN_AGE_MAX = timedelta(hours=1)  # time-outs and timers of a plan count from when it was made
ACTIONS: tuple[InstanceAction, ...] = get_args(InstanceAction)
TIMER_ACTIONS: tuple[TimerAction, ...] = get_args(TimerAction)

# In which status an action is allowed; pages show only these, the kernel refuses the others.
ACTION_STATUSES: dict[Action, frozenset[Status]] = {
    "retry": frozenset({"parked", "running", "compensating"}),
    "resume": frozenset({"paused"}),
    "pause": frozenset({"running", "compensating"}),
    "cancel": frozenset({"running", "compensating", "paused", "parked"}),
    "compensate": frozenset(
        {"running", "paused", "parked", "completed", "failed", "cancelled", "compensating"}
    ),
    "signal": frozenset({"running", "compensating", "paused", "parked"}),
    "patch": frozenset({"running", "compensating", "paused", "parked"}),
    "skip": frozenset({"parked"}),
    **dict.fromkeys(
        TIMER_ACTIONS, frozenset[Status]({"running", "compensating", "paused", "parked"})
    ),
}
BY_CODE = frozenset[Action]({"retry", "compensate", "signal", "patch"})  # what calls the author's


class Plan(Struct, frozen=True, kw_only=True):
    """What an action would do to an instance at ``version``; nothing has been done.

    ``effects`` in the order they would be carried out, ``then`` the commands that follow one at a
    time, each after the answer to the one before, ``cannot_undo`` what stays as it is and why,
    ``in_flight`` the commands without an answer and the children that go on by themselves,
    ``error`` why it would be parked (again). ``hash`` is empty when the action would be
    ``refused``.
    """

    action: str
    saga: str
    key: str
    version: int
    status: Status
    status_after: Status
    state_after: Raw
    effects: tuple[Effect, ...] = ()
    then: tuple[Send, ...] = ()
    cannot_undo: tuple[str, ...] = ()
    in_flight: tuple[str, ...] = ()
    error: str = ""
    refused: str = ""
    hash: str = ""


def allowed(status: Status) -> tuple[InstanceAction, ...]:
    """The actions an instance in this status takes; those on its timers are not among them."""
    return tuple(action for action in ACTIONS if status in ACTION_STATUSES[action])


def act(
    definition: SagaDefinition,
    snapshot: Snapshot,
    cause: Cause,
    now: datetime,
    *,
    handled: Container[str] = (),
) -> Decision:
    """What an operator's action (``cause.type``) does; never raises for bad input.

    ``handled`` are message ids found in the instance's older history.
    """
    instance = snapshot.instance
    if instance is None:
        return Refused(f"{definition.id}/{snapshot.key} does not exist; check saga and key", 0)
    if cause.id and (cause.id in instance.seen or cause.id in handled):
        return Refused("this action has been taken before", instance.version)
    if fault := unreadable(cause.payload):
        return Refused(fault, instance.version)
    try:
        request = msgspec.json.decode(cause.payload, type=ActionRequest | None) or ActionRequest()
    except msgspec.MsgspecError as error:
        return Refused(f"the action can't be read: {error}", instance.version)
    refusal = _refusal(instance, cause.type, request)
    if refusal:
        return Refused(refusal, instance.version)
    if cause.type in BY_CODE and instance.definition_version > definition.version:
        return Refused(newer_text(definition, instance.definition_version), instance.version)
    if not request.plan:
        return _act(definition, snapshot, cause, request, now)
    planned_at = _planned_at(request.plan)
    if planned_at is None:
        return Refused("the plan is none of ours; ask for one with a dry run", instance.version)
    if abs(now - planned_at) > PLAN_AGE_MAX:
        return Refused("the plan is too old; look at a new plan and confirm that", instance.version)
    decision = _act(definition, snapshot, cause, request, planned_at)
    if isinstance(decision, Transition) and plan_hash(decision, planned_at) != request.plan:
        return Refused(
            "the instance has moved since the plan was made; look at a new plan and confirm that",
            instance.version,
        )
    return decision


def _refusal(instance: Instance, action: str, request: ActionRequest) -> str:
    name = f"{instance.saga}/{instance.key}"
    if instance.saga == GATE_SAGA and action != "patch":
        return f"{name} is a gate; patch its state when a slot is stuck, it takes no {action}"
    if action not in ACTION_STATUSES:
        return f"there is no action {action!r}; use one of {', '.join(ACTION_STATUSES)}"
    if request.version and request.version != instance.version:
        return f"{name} is at version {instance.version}, not {request.version}; look again"
        " and decide anew"
    if instance.status not in ACTION_STATUSES[action]:
        can = ", ".join(allowed(instance.status)) or "nothing"
        return f"{name} is {instance.status}; {action} is not allowed then, possible: {can}"
    return ""


def _act(
    definition: SagaDefinition,
    snapshot: Snapshot,
    cause: Cause,
    request: ActionRequest,
    now: datetime,
) -> Decision:
    instance = snapshot.instance
    if instance is None:  # act() has answered this before
        return Refused("no such instance", 0)
    draft = Draft(definition, snapshot.key, instance, cause, now)
    draft.remember(cause.id)
    try:
        decision = STEPS[cause.type](draft, snapshot, request)
    except (SagaError, msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        return Refused(error_text(error), instance.version)
    if decision is not None:
        return _refused_as(decision, instance)
    settle(draft)
    transition = commit(draft, snapshot)
    if len(transition.document) > VALUE_BYTES_MAX:
        return Refused(
            f"the transition would be over {VALUE_BYTES_MAX} bytes; send less", instance.version
        )
    return transition


def _refused_as(decision: Decision, instance: Instance) -> Decision:
    """What a message would be ignored or buried for, an operator is told at once."""
    if isinstance(decision, (Ignored, Undeliverable)):
        return Refused(decision.reason, instance.version)
    return decision


# --- plans


def plan(definition: SagaDefinition, snapshot: Snapshot, cause: Cause, now: datetime) -> Plan:
    """What ``act`` would do with this action now, with the hash that execution can insist on."""
    decision = act(definition, snapshot, cause, now)
    before = snapshot.instance
    if before is None or not isinstance(decision, Transition):
        reason = decision.reason if not isinstance(decision, Transition) else ""
        return Plan(
            action=cause.type,
            saga=definition.id,
            key=snapshot.key,
            version=before.version if before else 0,
            status=before.status if before else "running",
            status_after=before.status if before else "running",
            state_after=before.state if before else NULL,
            refused=reason,
        )
    after = decision.after
    parked = after.error if after.status == "parked" else None
    return Plan(
        action=cause.type,
        saga=definition.id,
        key=snapshot.key,
        version=before.version,
        status=before.status,
        status_after=after.status,
        state_after=after.state,
        effects=after.effects,
        then=_then(definition, decision, cause, now),
        cannot_undo=_cannot_undo(definition, after) if cause.type == "compensate" else (),
        in_flight=_in_flight(before),
        error=f"{parked.type}: {parked.message}" if parked else "",
        hash=plan_hash(decision, now),
    )


def _in_flight(before: Instance) -> tuple[str, ...]:
    commands = [f"{command.target} ({id})" for id, command in before.commands.items()]
    running = [child for child, status in before.children.items() if status == "running"]
    return (*commands, *(f"child {child}: no action on its parent reaches it" for child in running))


def _then(
    definition: SagaDefinition, decision: Transition, cause: Cause, now: datetime
) -> tuple[Send, ...]:
    after = decision.after
    if definition.program is None:
        return ()
    run = Run(Draft(definition, after.key, after, cause, now))
    return tuple(run.undo_send(undo.type) for undo in after.undo if undo.status == "waiting")


def _cannot_undo(definition: SagaDefinition, after: Instance) -> tuple[str, ...]:
    chosen = {undo.type for undo in after.undo}
    if definition.program is not None:
        steps = definition.program.steps
        return tuple(
            f"{id}: {'not chosen' if record.kept else 'it declares no undo'}"
            for id, record in after.steps.items()
            if record.status == "completed"
            and record.kind == "step"
            and id not in chosen
            and not (record.step in steps and steps[record.step].nothing_to_undo)
        )
    return tuple(f"{type}: not chosen" for type in definition.compensations if type not in chosen)


def plan_hash(decision: Transition, now: datetime) -> str:
    """The hash of a plan with the moment it was made for, which its execution takes as its own
    ``now``. Where a step will run is no part of it: only the engine knows.
    """
    after = decision.after
    effects = [
        structs.replace(effect, inline=False) if isinstance(effect, Send) else effect
        for effect in after.effects
    ]
    digest = hashlib.sha256(b"" if decision.before is None else encode(decision.before))
    digest.update(
        msgspec.json.encode((after.definition, after.status, after.state, effects, after.undo))
    )
    return f"{digest.hexdigest()[:32]}.{(now - EPOCH) // timedelta(microseconds=1)}"


def _planned_at(plan: str) -> datetime | None:
    digits = plan.rpartition(".")[2]
    if not digits.isdecimal() or len(digits) > 17:
        return None
    return EPOCH + timedelta(microseconds=int(digits))
