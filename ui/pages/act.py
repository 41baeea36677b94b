"""Acting on one instance: say what, see exactly what it would do, then do precisely that.

The preview is made by the same pure function that decides the real thing. What is confirmed carries
the preview's hash, so either this plan happens or nothing does. Without script it is three plain
pages: form, preview, result.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import FormMultiDict, State
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Raw, Struct

from sagas.actions import ACTION_STATUSES, ACTIONS, Action, ActionRequest, Plan, allowed
from sagas.definition import SagaDefinition
from sagas.draft import Draft
from sagas.durations import when
from sagas.effects import Effect
from sagas.errors import BadDelay
from sagas.instance import Instance, OpenCommand
from sagas.programs.run import Run
from store.differences import Difference, differences
from ui.addresses import Addresses
from ui.desk import Desk, Who
from ui.editing import BadField, edited, parsed, to_edit
from ui.render import missing, page
from ui.told import Told, told

# What each action does, in one sentence, before anybody has chosen anything.
ABOUT: dict[Action, str] = {
    "retry": "Handles again what it is parked with, or sends an open command again.",
    "resume": "Lets a paused instance go on, with the messages that have come meanwhile.",
    "pause": "Holds the instance: messages wait until it is resumed.",
    "cancel": "Ends the instance here. Nothing is undone; open commands are no longer waited for.",
    "compensate": "Undoes what was done, by the compensations the saga declares.",
    "signal": "Gives the instance a message that its code declares for people.",
    "patch": "Changes the state by hand. The code sees the new state from the next message on.",
    "skip": "Leaves out what it is parked with, and goes on.",
    "fire_timer": "Handles the timer's message now. Where messages wait, it waits behind them.",
    "postpone_timer": "Has the timer fire at another time, later or earlier.",
    "cancel_timer": "Has the timer not fire at all. Whatever waits for it waits on.",
}


class Fields(Struct, frozen=True, kw_only=True):
    """What was filled in, as text."""

    reason: str = ""
    types: tuple[str, ...] = ()
    name: str = ""
    payload: str = ""
    state: str = ""
    command: str = ""
    by_hand: bool = False
    timer: str = ""
    to: str = ""


class Preview(Struct, frozen=True):
    """A plan for people: what changes, and what would be sent in which order."""

    plan: Plan
    effects: tuple[Told, ...]
    then: tuple[Told, ...]
    changes: list[Difference]


class ActPage(Struct, frozen=True, kw_only=True):
    """The context of ``act.html``. ``code_here`` is False when this process can't make previews."""

    action: Action
    about: str
    saga: str
    key: str
    instance: Instance
    allowed: bool
    possible: tuple[str, ...]
    fields: Fields
    fault: str
    code_here: bool
    compensations: tuple[str, ...]
    signals: tuple[str, ...]
    commands: dict[str, OpenCommand]
    preview: Preview | None


@get("/instances/{saga:str}/{key:str}/act/{action:str}", opt={"role": "operator"})
async def act_form(
    request: Request[Who, Any, State],
    desk: NamedDependency[Desk],
    saga: FromPath[str],
    key: FromPath[str],
    action: FromPath[str],
) -> Response[str]:
    """The form of an action; its fields may be filled by the address (``command``, ``types``)."""
    revision = await desk.client.latest(saga, key)
    chosen = _action(action)
    if revision is None or chosen is None:
        return _missing(request, desk, saga, key, action)
    asked = request.query_params
    instance = _masked(revision.instance, desk)
    fields = Fields(
        command=asked.get("command", ""),
        types=tuple(asked.getall("types", _undone_by_default(desk, chosen, revision.instance))),
        by_hand=asked.get("by_hand", "") == "1",
        timer=asked.get("timer", ""),
        state=to_edit(bytes(revision.instance.state), desk.mask) if chosen == "patch" else "",
        payload=to_edit(
            _known_payload(revision.instance, chosen, asked.get("command", "")), desk.mask
        ),
    )
    gone = fields.timer and fields.timer not in instance.timers
    fault = f"the timer {fields.timer!r} is not set any more, it may have fired" if gone else ""
    return _answer(request, desk, instance, chosen, fields, fault=fault)


@post("/instances/{saga:str}/{key:str}/act/{action:str}", opt={"role": "operator"}, status_code=200)
async def act(
    request: Request[Who, Any, State],
    desk: NamedDependency[Desk],
    saga: FromPath[str],
    key: FromPath[str],
    action: FromPath[str],
) -> Response[str]:
    """Preview, or with ``plan`` (or ``confirm`` where no preview can be made) the action itself."""
    revision = await desk.client.latest(saga, key)
    chosen = _action(action)
    if revision is None or chosen is None:
        return _missing(request, desk, saga, key, action)
    form = await request.form()
    fields = _fields(form)
    instance = _masked(revision.instance, desk)
    try:
        asked = _request(chosen, fields, revision.instance, desk, str(form.get("plan", "")))
    except BadField as error:
        return _answer(request, desk, instance, chosen, fields, fault=str(error), status=400)
    definition = _definition(desk, saga)
    if form.get("plan") or (definition is None and form.get("confirm")):
        return await _carry_out(request, desk, instance, chosen, fields, asked)
    plan = None
    if definition is not None:
        who = request.user.name
        plan = await desk.client.plan(
            definition, key, chosen, by=who, reason=fields.reason, request=asked
        )
    return _answer(
        request,
        desk,
        instance,
        chosen,
        fields,
        fault=plan.refused if plan else "",
        preview=_preview(plan, instance, desk) if plan and not plan.refused else None,
        status=409 if plan and plan.refused else 200,
    )


async def _carry_out(
    request: Request[Who, Any, State],
    desk: Desk,
    instance: Instance,
    action: Action,
    fields: Fields,
    asked: ActionRequest,
) -> Response[str]:
    reply = await desk.client.act(
        instance.saga,
        instance.key,
        action,
        by=request.user.name,
        reason=fields.reason,
        request=asked,
        origin=f"dashboard {request.client.host if request.client else ''}".strip(),
    )
    if not reply.done:
        return _answer(request, desk, instance, action, fields, fault=reply.reason, status=409)
    query = {"version": reply.version, "done": action}
    to = Addresses(desk.base).instance(instance.saga, instance.key, "", query)
    return Response("", status_code=303, headers={"Location": to})


def _answer(
    request: Request[Who, Any, State],
    desk: Desk,
    instance: Instance,
    action: Action,
    fields: Fields,
    *,
    fault: str = "",
    preview: Preview | None = None,
    status: int = 200,
) -> Response[str]:
    definition = _definition(desk, instance.saga)
    possible = allowed(instance.status)
    context = ActPage(
        action=action,
        about=ABOUT[action],
        saga=instance.saga,
        key=instance.key,
        instance=instance,
        allowed=instance.status in ACTION_STATUSES[action],
        possible=possible,
        fields=fields,
        fault=fault,
        code_here=definition is not None,
        compensations=_compensations(definition, instance) if definition else (),
        signals=tuple(definition.signals) if definition else (),
        commands=instance.commands,
        preview=preview,
    )
    title = f"{action.replace('_', ' ').capitalize()} {instance.key}"
    return page(request, desk, "act.html", context, title=title, status=status)


def _preview(plan: Plan, instance: Instance, desk: Desk) -> Preview:
    effects = _told(plan.effects, desk)
    then = _told(plan.then, desk)
    after = desk.mask(bytes(plan.state_after))
    changes, _ = differences(bytes(instance.state), after)
    return Preview(plan, effects, then, changes)


def _told(effects: Sequence[Effect], desk: Desk) -> tuple[Told, ...]:
    found = map(told, effects)
    return tuple(msgspec.structs.replace(one, payload=_hidden(one.payload, desk)) for one in found)


def _hidden(payload: Raw | None, desk: Desk) -> Raw | None:
    return None if payload is None else Raw(desk.mask(bytes(payload)))


def _masked(instance: Instance, desk: Desk) -> Instance:
    return msgspec.json.decode(desk.mask(msgspec.json.encode(instance)), type=Instance)


def _compensations(definition: SagaDefinition, instance: Instance) -> tuple[str, ...]:
    """What may be undone: declared compensations, of a run its steps with the last one first."""
    if definition.program is None:
        return tuple(definition.compensations)
    draft = Draft(definition, instance.key, instance, instance.cause, instance.at)
    return tuple(Run(draft).undoable())


def _undone_by_default(desk: Desk, action: Action, instance: Instance) -> list[str]:
    """A run is undone as a whole unless somebody chooses; compensations are always chosen."""
    definition = _definition(desk, instance.saga) if action == "compensate" else None
    if definition is None or definition.program is None:
        return []
    return list(_compensations(definition, instance))


def _definition(desk: Desk, saga: str) -> SagaDefinition | None:
    return next((one for one in desk.registry if one.id == saga), None)


def _action(text: str) -> Action | None:
    return next((one for one in ACTION_STATUSES if one == text), None)


def _missing(
    request: Request[Who, Any, State], desk: Desk, saga: str, key: str, action: str
) -> Response[str]:
    return missing(
        request,
        desk,
        f"Nothing to {action} at {saga}/{key}",
        f"Either the instance does not exist, or there is no such action: {', '.join(ACTIONS)}.",
        ("/instances", {"saga": saga}),
    )


# --- fields and their JSON


def _fields(form: FormMultiDict) -> Fields:
    return Fields(
        reason=str(form.get("reason", "")).strip(),
        types=tuple(str(one) for one in form.getall("types", [])),
        name=str(form.get("name", "")),
        payload=str(form.get("payload", "")).strip(),
        state=str(form.get("state", "")).strip(),
        command=str(form.get("command", "")),
        by_hand=form.get("by_hand") is not None,
        timer=str(form.get("timer", "")),
        to=str(form.get("to", "")).strip(),
    )


def _request(
    action: Action, fields: Fields, instance: Instance, desk: Desk, plan: str
) -> ActionRequest:
    """What is sent: only the fields that belong to the action; raises BadField.

    What was shown masked and left so goes out as ``instance`` has it.
    """
    payload = _json("payload", fields.payload)
    base = ActionRequest(plan=plan)
    match action:
        case "compensate":
            if not fields.types:
                raise BadField("choose what to undo")
            changed = {"types": fields.types, **payload}
        case "signal":
            changed = {"name": fields.name, **payload}
        case "patch":
            state = edited(fields.state, bytes(instance.state), desk.mask, "state")
            changed = {"state": instance.state if state is None else state}
        case "retry":
            known = _known_payload(instance, action, fields.command)
            other = edited(fields.payload, known, desk.mask) if fields.payload else None
            changed = {"command": fields.command, **({} if other is None else {"payload": other})}
        case "skip":
            changed = {"by_hand": fields.by_hand}
        case "fire_timer" | "cancel_timer":
            changed = {"timer": fields.timer}
        case "postpone_timer":
            changed = {"timer": fields.timer, "to": _when(fields.to)}
        case _:
            changed = {}
    return msgspec.structs.replace(base, **changed)


def _when(text: str) -> float | datetime:
    try:
        return when(text)
    except BadDelay as error:
        raise BadField(str(error)) from None


def _json(name: str, text: str) -> dict[str, Raw]:
    """The JSON of a field, or nothing when it was left empty; raises BadField."""
    if not text:
        return {}
    parsed(text, name)
    return {name: Raw(text.encode())}


def _known_payload(instance: Instance, action: Action, command: str) -> bytes:
    """What a retry would repeat, to be edited: the command's payload or the parked message's."""
    if action != "retry":
        return b""
    parked = instance.parked
    id = command or (parked.command if parked else "")
    if id in instance.commands:
        return bytes(instance.commands[id].payload)
    if parked is not None and parked.cause is not None:
        return bytes(parked.cause.payload)
    return b""


ROUTES = (act_form, act)
