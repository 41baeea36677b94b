"""What each operator action does to a draft: the steps behind ``sagas.actions``.

Each function gets a fresh draft of an instance whose status allows the action. It changes the draft
and returns None, or a Decision that is final; it raises HandlerFault to refuse, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, cast

import msgspec
from msgspec import Raw, Struct, structs

from sagas.decision import Decision, Snapshot
from sagas.draft import DRAIN, RELEASE, Draft
from sagas.effects import Compensate
from sagas.errors import HandlerFault, LimitExceeded
from sagas.instance import Status
from sagas.messages import NULL, Cause, to_raw
from sagas.names import command_gate
from sagas.parking import park
from sagas.work import compensate, run_handler, set_undo

Action: TypeAlias = Literal[
    "retry", "resume", "pause", "cancel", "compensate", "signal", "patch", "skip"
]


class ActionRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an action carries beside who and why; only the fields that belong to it may be set.

    ``version``: refuse unless the instance stands there. ``plan``: the hash of a plan that must be
    what happens. compensate: ``types`` to undo (default: the only one) with ``payload``. signal:
    ``name`` and ``payload``. patch: ``state`` replaces, ``patch`` merges (RFC 7396). retry:
    ``command`` sends that open command again, ``payload`` replaces the message's. skip: ``by_hand``
    marks a failed undo as done outside.
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
        for name in types:
            payload = request.payload if request.payload is not None else NULL
            wanted = Compensate(type=name, payload=payload, reason=draft.cause.reason)
            draft.effects.append(wanted)
            compensate(draft, wanted)
    except (HandlerFault, LimitExceeded, msgspec.ValidationError):
        raise
    except Exception as error:  # the author's undo handler: nothing is sent, the operator is told
        raise HandlerFault(f"the undo handler raised {type(error).__name__}: {error}") from error
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


STEPS: dict[str, Callable[[Draft, Snapshot, ActionRequest], Decision | None]] = {
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
    """``patch`` applied to ``target`` (RFC 7396): null removes, objects merge, others replace."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(cast("dict[str, object]", target)) if isinstance(target, dict) else {}
    for name, value in cast("dict[str, object]", patch).items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged
