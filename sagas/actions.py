"""Operator actions: retry, resume, pause, cancel, compensate, signal, patch, skip, as messages to an instance.

An action goes through the same pure path as any message and becomes a transition with who, why and when, or is
Refused with the reason. ``plan`` asks what an action would do without doing it; its hash can be sent with the
action, and then exactly that is committed, or it is refused because the instance has moved.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias, get_args

import msgspec
from msgspec import Raw, Struct, structs

from sagas.definition import SagaDefinition
from sagas.draft import DRAIN, RELEASE, Draft, command_gate
from sagas.effects import Compensate, Effect
from sagas.errors import HandlerFault, LimitExceeded
from sagas.instance import VALUE_BYTES_MAX, Instance, Status, encode
from sagas.kernel import (
    Decision,
    Refused,
    Snapshot,
    Transition,
    commit,
    compensate,
    park,
    run_handler,
    set_undo,
)
from sagas.messages import EPOCH, NULL, Cause, to_raw

Action: TypeAlias = Literal[
    "retry", "resume", "pause", "cancel", "compensate", "signal", "patch", "skip"
]
ACTIONS: tuple[Action, ...] = get_args(Action)

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
}


class ActionRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an action carries beside who and why; only the fields that belong to it may be set.

    ``version``: refuse unless the instance stands there. ``plan``: the hash of a plan that must be what happens.
    compensate: ``types`` to undo (default: the only one) with ``payload``. signal: ``name`` and ``payload``.
    patch: ``state`` replaces, ``patch`` merges (RFC 7396). retry: ``command`` sends that open command again,
    ``payload`` replaces the message's. skip: ``by_hand`` marks a failed undo as done outside.
    """

    version: int = 0
    plan: str = ""
    types: tuple[str, ...] = ()
    name: str = ""
    payload: Raw | None = None
    state: Raw | None = None
    patch: Raw | None = None
    command: str = ""
    by_hand: bool = False


class Plan(Struct, frozen=True, kw_only=True):
    """What an action would do to an instance at ``version``; nothing has been done.

    ``effects`` in the order they would be carried out, ``cannot_undo`` what stays as it is and why, ``in_flight``
    the commands without an answer. ``hash`` is empty when the action would be ``refused``.
    """

    action: str
    saga: str
    key: str
    version: int
    status: Status
    status_after: Status
    state_after: Raw
    effects: tuple[Effect, ...] = ()
    cannot_undo: tuple[str, ...] = ()
    in_flight: tuple[str, ...] = ()
    refused: str = ""
    hash: str = ""


def allowed(status: Status) -> tuple[Action, ...]:
    """The actions an instance in this status takes."""
    return tuple(action for action in ACTIONS if status in ACTION_STATUSES[action])


def act(definition: SagaDefinition, snapshot: Snapshot, cause: Cause, now: datetime) -> Decision:
    """What an operator's action (``cause.type``) does to the instance; never raises for bad input."""
    instance = snapshot.instance
    if instance is None:
        return Refused(f"{definition.id}/{snapshot.key} does not exist; check saga and key", 0)
    if cause.id and cause.id in instance.seen:
        return Refused("this action has been taken before", instance.version)
    try:
        request = msgspec.json.decode(cause.payload, type=ActionRequest | None) or ActionRequest()
    except msgspec.DecodeError as error:
        return Refused(f"the action can't be read: {error}", instance.version)
    refusal = _refusal(instance, cause.type, request)
    if refusal:
        return Refused(refusal, instance.version)
    if not request.plan:
        return _act(definition, snapshot, cause, request, now)
    planned_at = _planned_at(request.plan)
    if planned_at is None:
        return Refused("the plan is none of ours; ask for one with a dry run", instance.version)
    decision = _act(definition, snapshot, cause, request, planned_at)
    if isinstance(decision, Transition) and plan_hash(decision, planned_at) != request.plan:
        return Refused(
            "the instance has moved since the plan was made; look at a new plan and confirm that",
            instance.version,
        )
    return decision


def _refusal(instance: Instance, action: str, request: ActionRequest) -> str:
    name = f"{instance.saga}/{instance.key}"
    if action not in ACTIONS:
        return f"there is no action {action!r}; use one of {', '.join(ACTIONS)}"
    if request.version and request.version != instance.version:
        return f"{name} is at version {instance.version}, not {request.version}; look again and decide anew"
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
        decision = _DO[cause.type](draft, snapshot, request)
    except (HandlerFault, LimitExceeded, msgspec.ValidationError, TypeError) as error:
        return Refused(str(error), instance.version)
    if decision is not None:
        return decision
    draft.settle()
    transition = commit(draft, snapshot)
    if len(transition.document) > VALUE_BYTES_MAX:
        return Refused(
            f"the transition would be over {VALUE_BYTES_MAX} bytes; send less", instance.version
        )
    return transition


# --- the actions, each on a fresh draft; a Decision they return is final ---------------------------


def _pause(draft: Draft, snapshot: Snapshot, request: ActionRequest) -> None:
    draft.paused = draft.status
    draft.status = "paused"


def _resume(draft: Draft, snapshot: Snapshot, request: ActionRequest) -> None:
    draft.status = draft.paused or "running"
    draft.paused = None
    if draft.backlog:
        draft.signal(draft.address, DRAIN)


def _cancel(draft: Draft, snapshot: Snapshot, request: ActionRequest) -> None:
    draft.status = "cancelled"
    draft.error = None
    draft.parked = None
    draft.paused = None
    draft.backlog = ()


def _retry(draft: Draft, snapshot: Snapshot, request: ActionRequest) -> Decision | None:
    if request.command:
        if request.command not in draft.commands:
            raise HandlerFault(
                f"no open command {request.command!r}; open: {', '.join(draft.commands) or 'none'}"
            )
        return _resend(draft, request.command, request)
    parked = draft.parked
    if parked is None:
        raise HandlerFault(
            "nothing to retry: the instance is not parked; name an open command to send it again"
        )
    _unpark(draft, parked.status)
    if parked.command:
        return _resend(draft, parked.command, request)
    failed = parked.cause
    if failed is None:
        raise HandlerFault("nothing to retry")
    if request.payload is not None:
        failed = structs.replace(failed, payload=request.payload)
    return _again(draft, snapshot, failed, parked.attempts + 1)


def _again(draft: Draft, snapshot: Snapshot, failed: Cause, attempt: int) -> Decision | None:
    """Handle the failed message again in this transition; its fault parks the instance anew."""
    definition = draft.definition
    group = definition.signals if failed.kind == "signal" else definition.handlers
    handler = group.get(failed.type)
    backlog = draft.backlog
    try:
        if failed.answers and failed.answers in draft.commands:
            draft.commands = {id: c for id, c in draft.commands.items() if id != failed.answers}
        if handler is not None:
            run_handler(draft, handler, failed, attempt=attempt)
    except Exception as error:  # the author's handler again
        return park(draft, snapshot, failed, error, backlog)
    if draft.backlog:
        draft.signal(draft.address, DRAIN)
    return None


def _resend(draft: Draft, id: str, request: ActionRequest) -> None:
    command = draft.commands.get(id)
    if command is None:
        raise HandlerFault(f"the command {id} is not open any more")
    if request.payload is not None:
        draft.commands = {**draft.commands, id: structs.replace(command, payload=request.payload)}
    if command.undo:
        draft.undo = tuple(
            structs.replace(undo, status="running", attempts=undo.attempts + 1, error="")
            if undo.type == command.undo
            else undo
            for undo in draft.undo
        )
    draft.resend(id)
    if draft.backlog:
        draft.signal(draft.address, DRAIN)


def _unpark(draft: Draft, status: Status) -> None:
    draft.status = status
    draft.parked = None
    draft.error = None


def _skip(draft: Draft, snapshot: Snapshot, request: ActionRequest) -> None:
    parked = draft.parked
    if parked is None:
        raise HandlerFault("nothing to skip")
    _unpark(draft, parked.status)
    command = draft.commands.get(parked.command)
    if command is not None:
        draft.commands = {id: c for id, c in draft.commands.items() if id != parked.command}
        if command.undo:
            set_undo(
                draft, command.undo, "by_hand" if request.by_hand else "skipped", draft.cause.reason
            )
        if command.concurrency_key:
            draft.ask_gate(
                RELEASE, command_gate(command.target, command.concurrency_key), parked.command
            )
    if draft.backlog:
        draft.signal(draft.address, DRAIN)


def _signal(draft: Draft, snapshot: Snapshot, request: ActionRequest) -> Decision | None:
    handler = draft.definition.signals.get(request.name)
    if handler is None:
        known = ", ".join(sorted(draft.definition.signals)) or "none"
        raise HandlerFault(
            f"{draft.definition.id} has no signal {request.name!r}; it declares: {known}"
        )
    payload = request.payload if request.payload is not None else NULL
    cause = structs.replace(draft.cause, kind="signal", type=request.name, payload=payload)
    handler.decode(payload)
    if draft.status in ("paused", "parked") or draft.backlog:
        draft.backlog = (*draft.backlog, cause)
        return None
    try:
        run_handler(draft, handler, cause)
    except Exception as error:  # the author's handler
        return park(draft, snapshot, cause, error, draft.backlog)
    return None


def _patch(draft: Draft, snapshot: Snapshot, request: ActionRequest) -> None:
    if request.state is not None:
        wanted: object = msgspec.json.decode(request.state)
    elif request.patch is not None:
        wanted = merge_patch(msgspec.json.decode(draft.state), msgspec.json.decode(request.patch))
    else:
        raise HandlerFault("give a whole new state or a patch (RFC 7396)")
    raw = to_raw(wanted)
    draft.set_state(draft.definition.decode_state(raw))


def _compensate(draft: Draft, snapshot: Snapshot, request: ActionRequest) -> Decision | None:
    types = request.types or _only_type(draft)
    unknown = [type for type in types if type not in draft.definition.compensations]
    if unknown:
        known = ", ".join(sorted(draft.definition.compensations)) or "none"
        raise HandlerFault(
            f"no .compensate handler for {', '.join(unknown)}; {draft.definition.id} has: {known}"
        )
    done = [undo.type for undo in draft.undo if undo.type in types]
    if done:
        raise HandlerFault(
            f"{', '.join(done)} has been compensated before; a compensation runs once"
        )
    draft.parked = None
    draft.paused = None
    draft.error = None
    try:
        for type in types:
            payload = request.payload if request.payload is not None else NULL
            draft.effects.append(Compensate(type=type, payload=payload, reason=draft.cause.reason))
            compensate(draft, Compensate(type=type, payload=payload, reason=draft.cause.reason))
    except (HandlerFault, LimitExceeded, msgspec.ValidationError):
        raise
    except Exception as error:  # the author's undo handler: nothing is sent, the operator is told
        raise HandlerFault(f"the undo handler raised {type_name(error)}: {error}") from error
    if draft.backlog and draft.status == "compensating":
        draft.signal(draft.address, DRAIN)
    return None


def _only_type(draft: Draft) -> tuple[str, ...]:
    done = {undo.type for undo in draft.undo}
    open = tuple(type for type in draft.definition.compensations if type not in done)
    if len(open) == 1:
        return open
    if not open:
        raise HandlerFault(
            f"nothing is left to compensate: {draft.definition.id} has no undo that has not run"
        )
    raise HandlerFault(f"say what to compensate; {draft.definition.id} can undo: {', '.join(open)}")


def type_name(error: BaseException) -> str:
    """An exception's class name."""
    return type(error).__name__


_DO: dict[str, Any] = {  # one signature for all: (draft, snapshot, request) -> Decision | None
    "retry": _retry,
    "resume": _resume,
    "pause": _pause,
    "cancel": _cancel,
    "compensate": _compensate,
    "signal": _signal,
    "patch": _patch,
    "skip": _skip,
}


def merge_patch(target: object, patch: object) -> object:
    """``patch`` applied to ``target`` by the rules of RFC 7396: null removes, objects merge, the rest replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


# --- plans -----------------------------------------------------------------------------------------


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
    return Plan(
        action=cause.type,
        saga=definition.id,
        key=snapshot.key,
        version=before.version,
        status=before.status,
        status_after=after.status,
        state_after=after.state,
        effects=after.effects,
        cannot_undo=_cannot_undo(definition, after) if cause.type == "compensate" else (),
        in_flight=tuple(f"{command.target} ({id})" for id, command in before.commands.items()),
        hash=plan_hash(decision, now),
    )


def _cannot_undo(definition: SagaDefinition, after: Instance) -> tuple[str, ...]:
    chosen = {undo.type for undo in after.undo}
    return tuple(f"{type}: not chosen" for type in definition.compensations if type not in chosen)


def plan_hash(decision: Transition, now: datetime) -> str:
    """The hash of a plan with the moment it was made for, which its execution takes as its own ``now``."""
    after = decision.after
    digest = hashlib.sha256(b"" if decision.before is None else encode(decision.before))
    digest.update(
        msgspec.json.encode(
            (after.definition, after.status, after.state, after.effects, after.undo)
        )
    )
    return f"{digest.hexdigest()[:32]}.{(now - EPOCH) // timedelta(microseconds=1)}"


def _planned_at(plan: str) -> datetime | None:
    digits = plan.rpartition(".")[2]
    if not digits.isdecimal() or len(digits) > 17:
        return None
    return EPOCH + timedelta(microseconds=int(digits))
