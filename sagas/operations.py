"""What each operator action does to a draft: the steps behind ``sagas.actions``.

Each function gets a fresh draft of an instance whose status allows the action. It changes the draft
and returns None, or a Decision that is final; it raises HandlerFault to refuse, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Literal, TypeAlias, cast

import msgspec
from msgspec import UNSET, Raw, Struct, structs

from sagas import timer_actions
from sagas.bookkeeping import close_command, let_go, release, settle_undo, skip_step
from sagas.decision import Decision, Snapshot
from sagas.draft import DRAIN, Draft
from sagas.effects import Compensate
from sagas.errors import HandlerFault, LimitExceeded, SagaError, error_text
from sagas.handlers import Handler
from sagas.instance import BACKLOG_MAX, Failure, Parked, UndoStatus
from sagas.messages import NULL, Cause, to_raw
from sagas.programs import program
from sagas.programs.run import Run
from sagas.upcasting import upcast
from sagas.work import compensate, conclude

InstanceAction: TypeAlias = Literal[
    "retry", "resume", "pause", "cancel", "compensate", "signal", "patch", "skip"
]
TimerAction: TypeAlias = Literal["fire_timer", "postpone_timer", "cancel_timer"]
Action: TypeAlias = Literal[InstanceAction, TimerAction]


# A request's JSON that was not given. None is not it: msgspec reads ``Raw | None`` as null only.
ABSENT = Raw(b"")


def given(raw: Raw) -> bool:
    """Whether a request carries this JSON."""
    return bytes(raw) != b""


class ActionRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an action carries beside who and why; only the fields that belong to it may be set.

    ``version``: refuse unless the instance stands there. ``plan``: the hash of a plan that must be
    what happens. compensate: ``types`` to undo (default: the only one) with ``payload``. signal:
    ``name`` and ``payload``. patch: ``state`` replaces, ``patch`` merges (RFC 7396). retry:
    ``command`` sends that open command again, ``payload`` replaces the message's. skip: ``by_hand``
    marks a failed undo as done outside. Of the timer actions ``timer`` names it, and ``to`` is when
    it shall fire: a time, or seconds from now. JSON that is not given is ABSENT.
    """

    version: int = 0
    plan: str = ""
    types: tuple[str, ...] = ()
    name: str = ""
    payload: Raw = ABSENT
    state: Raw = ABSENT
    patch: Raw = ABSENT
    command: str = ""
    by_hand: bool = False
    timer: str = ""
    to: datetime | float | None = None


def _pause(draft: Draft, snapshot: Snapshot, request: ActionRequest) -> None:
    draft.paused = draft.status
    draft.status = "paused"


def _resume(draft: Draft, snapshot: Snapshot, request: ActionRequest) -> None:
    draft.status = draft.paused or "running"
    draft.paused = None
    _go_on(draft)


def _cancel(draft: Draft, snapshot: Snapshot, request: ActionRequest) -> None:
    _leave_parking(draft, "the instance was cancelled")
    for id, command in tuple(draft.commands.items()):
        if command.gated:  # not sent yet, and now never
            draft.commands = {name: one for name, one in draft.commands.items() if name != id}
            release(draft, id, command)
    draft.status = "cancelled"
    draft.error = Failure(type="cancelled", message=draft.cause.reason or "by an operator")
    draft.paused = None
    draft.ended = True


def _retry(draft: Draft, snapshot: Snapshot, request: ActionRequest) -> Decision | None:
    parked = draft.parked
    id = request.command or (parked.command if parked else "")
    if parked is not None and id == parked.command:
        _unpark(draft, parked)
    if id:
        _resend(draft, id, request.payload)
        _go_on(draft)
        return None
    if parked is None or parked.cause is None:
        raise HandlerFault(
            "nothing to retry: the instance is not parked; name an open command to send it again"
        )
    failed = parked.cause
    if given(request.payload):
        failed = structs.replace(failed, payload=request.payload)
    return _again(draft, snapshot, failed, parked.attempts + 1)


def _again(draft: Draft, snapshot: Snapshot, failed: Cause, attempt: int) -> Decision:
    """Handle the failed message again in this transition; its fault parks the instance anew."""
    definition = draft.definition
    group = definition.signals if failed.kind == "signal" else definition.handlers
    handler = group.get(failed.type)
    if handler is None and not failed.answers and definition.program is None:
        raise HandlerFault(f"{definition.id} has no handler for {failed.type!r} any more; skip it")
    payload = UNSET if handler is None else _decoded(handler, failed.payload)
    return conclude(draft, snapshot, failed, payload, attempt)


def _decoded(handler: Handler, payload: Raw) -> object:
    try:
        return handler.decode(payload)
    except msgspec.MsgspecError as error:
        raise HandlerFault(
            f"the payload does not fit the handler of {handler.type!r}: {error}; give one that does"
        ) from None


def _resend(draft: Draft, id: str, payload: Raw) -> None:
    command = draft.commands.get(id)
    if command is None:
        known = ", ".join(draft.commands) or "none"
        raise HandlerFault(f"the command {id!r} is not open; open: {known}")
    if command.gated:
        raise HandlerFault(f"the command {id} was not sent yet; it waits for its concurrency key")
    payload = payload if given(payload) else command.payload
    again = structs.replace(command, payload=payload, sends=command.sends + 1)
    draft.commands = {**draft.commands, id: again}
    if command.undo:
        draft.undo = tuple(
            structs.replace(undo, status="running", attempts=undo.attempts + 1, error="")
            if undo.type == command.undo
            else undo
            for undo in draft.undo
        )
    draft.resend(id)


def _skip(draft: Draft, snapshot: Snapshot, request: ActionRequest) -> None:
    parked = draft.parked
    if parked is None:
        raise HandlerFault("nothing to skip")
    _leave_parking(draft, "an operator skipped it", "by_hand" if request.by_hand else "skipped")
    _go_on(draft)


def _leave_parking(draft: Draft, why: str, undo_status: UndoStatus = "failed") -> None:
    """Give up what the instance was parked with: the message is noted, the command is closed."""
    parked = draft.parked
    if parked is None:
        return
    _unpark(draft, parked)
    if parked.cause is not None:
        let_go(draft, parked.cause, "moot", why)
    if parked.command in draft.commands:
        skip_step(draft, draft.commands[parked.command].step)
        undo = close_command(draft, parked.command)
        if undo and undo_status != "failed":
            settle_undo(draft, undo, status=undo_status)


def _unpark(draft: Draft, parked: Parked) -> None:
    draft.status = parked.status
    draft.error = parked.error
    draft.parked = None


def _go_on(draft: Draft) -> None:
    """Have the backlog drained, unless the instance still has to wait."""
    waits = draft.gate is not None and not draft.gate.held
    if draft.definition.program is not None and not waits:
        _run_on(draft)
    if draft.backlog and not waits and draft.status not in ("paused", "parked"):
        draft.signal(draft.address, DRAIN)


def _run_on(draft: Draft) -> None:
    try:
        program.go_on(draft)
    except SagaError:
        raise
    except Exception as error:  # a workflow's function: nothing is done, all are told
        text = f"{type(error).__name__}: {error_text(error)}"
        raise HandlerFault(f"the run can't go on, its function raised {text}") from error


def _signal(draft: Draft, snapshot: Snapshot, request: ActionRequest) -> Decision | None:
    handler = draft.definition.signals.get(request.name)
    if handler is None:
        known = ", ".join(sorted(draft.definition.signals)) or "none"
        raise HandlerFault(
            f"{draft.definition.id} has no signal {request.name!r}; it declares: {known}"
        )
    raw = request.payload if given(request.payload) else NULL
    payload = _decoded(handler, raw)
    cause = structs.replace(draft.cause, kind="signal", type=request.name, payload=raw)
    waits = draft.gate is not None and not draft.gate.held
    if draft.backlog or waits or draft.status in ("paused", "parked"):
        if len(draft.backlog) >= BACKLOG_MAX:
            raise HandlerFault(f"{BACKLOG_MAX} messages wait already; retry or resume it first")
        draft.backlog = (*draft.backlog, cause)
        return None
    return conclude(draft, snapshot, cause, payload)


def _patch(draft: Draft, snapshot: Snapshot, request: ActionRequest) -> None:
    if given(request.state):
        wanted: object = msgspec.json.decode(request.state)
    elif given(request.patch):
        wanted = merge_patch(
            msgspec.json.decode(_present(draft)), msgspec.json.decode(request.patch)
        )
    else:
        raise HandlerFault("give a whole new state or a patch (RFC 7396)")
    raw = to_raw(wanted)
    try:
        state = draft.definition.decode_state(raw)
    except msgspec.ValidationError as error:
        raise HandlerFault(
            f"the state would not fit {draft.definition.id}: {error}; correct that field"
        ) from None
    if draft.definition.program is not None:
        run = Run(draft)
        reason = run.program.unpatchable(run, raw) if run.begun else "it has not begun; retry it"
        if reason:
            raise HandlerFault(reason)
    draft.set_state(state)


def _present(draft: Draft) -> Raw:
    """The state as this version of the code would have left it."""
    try:
        return upcast(draft.definition, draft.state, draft.definition_version)
    except Exception as error:  # an upcaster is the author's
        raise HandlerFault(
            f"the state of version {draft.definition_version} can't be brought to this version:"
            f" {error_text(error)}; give a whole new state, or mend the upcaster"
        ) from error


def _compensate(draft: Draft, snapshot: Snapshot, request: ActionRequest) -> None:
    if draft.definition.program is not None:
        _compensate_run(draft, request.types)
        return
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
    _leave_parking(draft, "the instance was compensated")
    draft.paused = None
    draft.error = None
    payload = request.payload if given(request.payload) else NULL
    for name in types:
        _decoded(draft.definition.compensations[name], payload)
        wanted = Compensate(type=name, payload=payload, reason=draft.cause.reason)
        draft.effects.append(wanted)
        try:
            compensate(draft, wanted)
        except (HandlerFault, LimitExceeded):
            raise
        except Exception as error:  # the author's undo handler: nothing is sent, all are told
            text = f"{type(error).__name__}: {error_text(error)}"
            raise HandlerFault(f"the undo handler of {name!r} raised {text}") from error
    _go_on(draft)


def _compensate_run(draft: Draft, chosen: tuple[str, ...]) -> None:
    """Undo the steps of a run, all or those chosen, the last one done first."""
    run = Run(draft)
    possible = run.undoable()
    unknown = [id for id in chosen if id not in possible]
    if unknown or not possible:
        known = ", ".join(possible) or "nothing"
        what = ", ".join(unknown) or "the run"
        raise HandlerFault(f"{what} can't be undone; what can be: {known}")
    _leave_parking(draft, "the instance was compensated")
    draft.paused = None
    run.keep([id for id in possible if chosen and id not in chosen])
    reason = draft.cause.reason or "by an operator"
    run.compensate(Failure(type="Compensated", message=reason))
    _go_on(draft)


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


def _fire_timer(draft: Draft, snapshot: Snapshot, request: ActionRequest) -> Decision | None:
    return timer_actions.fire(draft, snapshot, request.timer)


def _postpone_timer(draft: Draft, snapshot: Snapshot, request: ActionRequest) -> None:
    timer_actions.postpone(draft, request.timer, request.to)


def _cancel_timer(draft: Draft, snapshot: Snapshot, request: ActionRequest) -> None:
    timer_actions.cancel(draft, request.timer)


STEPS: dict[str, Callable[[Draft, Snapshot, ActionRequest], Decision | None]] = {
    "retry": _retry,
    "resume": _resume,
    "pause": _pause,
    "cancel": _cancel,
    "compensate": _compensate,
    "signal": _signal,
    "patch": _patch,
    "skip": _skip,
    "fire_timer": _fire_timer,
    "postpone_timer": _postpone_timer,
    "cancel_timer": _cancel_timer,
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
