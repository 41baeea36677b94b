"""Acting on the open failures of one cause, chosen ones or all: first what it would do, then it."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from sagas.messages import Address
from store.projection.failures import Group, failure_members
from ui.addresses import Addresses
from ui.bulk import BulkFault, Outlook, Wish
from ui.desk import Desk, Who
from ui.origins import origin_of
from ui.pages.failures import actions_on, group_of, no_group
from ui.render import page
from ui.waves import STOP_AFTER, WATCH_S, WATCH_S_MAX, Wave

TARGETS_MAX = 10_000
SHOWN = 10

GroupAction: TypeAlias = Literal["retry", "skip", "cancel", "redrive", "discard"]
ABOUT: dict[GroupAction, str] = {
    "retry": "Each handles again what it is parked with.",
    "skip": "Each leaves out what it is parked with, and goes on.",
    "cancel": "Each ends here. Nothing is undone.",
    "redrive": "Each message is sent again as it was to the saga that could not take it.",
    "discard": "Each leaves the list of open ones; the messages stay stored and can be put back.",
}
# What may fail again a moment later; the job waits to see that.
WATCHED: frozenset[GroupAction] = frozenset({"retry", "skip", "redrive"})
ENDS: frozenset[GroupAction] = frozenset({"skip", "cancel", "discard"})


class Fields(Struct, frozen=True, kw_only=True):
    """What was filled in; ``picks`` are targets as ``name_of`` writes them, none for all."""

    picks: tuple[str, ...] = ()
    reason: str = ""
    stop_after: int = STOP_AFTER
    watch_s: int = WATCH_S
    typed: str = ""


class GroupActPage(Struct, frozen=True, kw_only=True):
    """The context of ``failure_act.html``; ``outlook`` is None for dead letters."""

    group: Group
    action: GroupAction
    about: str
    targets: tuple[Address, ...]
    more: bool
    fields: Fields
    outlook: Outlook | None
    typing: bool
    watched: bool
    fault: str
    shown: int = SHOWN


@get("/failures/{fingerprint:str}/act/{action:str}", opt={"role": "operator"})
async def failure_act_form(
    request: Request[Who, Any, State],
    desk: NamedDependency[Desk],
    fingerprint: FromPath[str],
    action: FromPath[str],
) -> Response[str]:
    """What would happen to those that the address names as ``pick``, or to all that are open."""
    group = await group_of(desk, fingerprint)
    chosen = _action(action)
    if group is None or chosen is None:
        return no_group(request, desk, fingerprint)
    fields = Fields(picks=tuple(request.query_params.getall("pick", [])))
    return await _answer(request, desk, group, chosen, fields)


@post("/failures/{fingerprint:str}/act/{action:str}", opt={"role": "operator"}, status_code=200)
async def failure_act(
    request: Request[Who, Any, State],
    desk: NamedDependency[Desk],
    fingerprint: FromPath[str],
    action: FromPath[str],
) -> Response[str]:
    """Begin it as a job that reports its progress, once the number is confirmed where it must."""
    group = await group_of(desk, fingerprint)
    chosen = _action(action)
    if group is None or chosen is None:
        return no_group(request, desk, fingerprint)
    form = await request.form()
    fields = Fields(
        picks=tuple(str(one) for one in form.getall("pick", [])),
        reason=str(form.get("reason", "")).strip(),
        stop_after=_number(form.get("stop_after"), STOP_AFTER, TARGETS_MAX),
        watch_s=_number(form.get("watch_s"), WATCH_S, WATCH_S_MAX),
        typed=str(form.get("typed", "")).strip(),
    )
    targets, _ = await _targets(desk, group, fields)
    if not targets:
        return await _answer(request, desk, group, chosen, fields)
    if _must_type(chosen, fields) and fields.typed != str(len(targets)):
        fault = f"type {len(targets)} to confirm: so many are meant now"
        return await _answer(request, desk, group, chosen, fields, fault=fault)
    wave = Wave(
        action=chosen,
        targets=targets,
        reason=fields.reason,
        stop_after=fields.stop_after,
        watch_s=float(fields.watch_s) if chosen in WATCHED else 0.0,
    )
    id = await desk.waves.begin(wave, request.user.name, origin_of(request))
    to = Addresses(desk.base).page(f"/bulk/{id}")
    return Response("", status_code=303, headers={"Location": to})


async def _answer(
    request: Request[Who, Any, State],
    desk: Desk,
    group: Group,
    action: GroupAction,
    fields: Fields,
    fault: str = "",
) -> Response[str]:
    targets, more = await _targets(desk, group, fields)
    outlook = None
    if action not in actions_on(group):
        fault = fault or f"{action} is not possible: nothing of this kind waits in this group"
    elif action != "redrive" and action != "discard" and targets:
        wish = Wish(action=action, reason=fields.reason, picks=targets)
        try:
            outlook = await desk.bulk.preview(wish, request.user.name)
        except BulkFault as error:
            fault = fault or str(error)
    context = GroupActPage(
        group=group,
        action=action,
        about=ABOUT[action],
        targets=targets,
        more=more,
        fields=fields,
        outlook=outlook,
        typing=_must_type(action, fields),
        watched=action in WATCHED,
        fault=fault,
    )
    title, code = f"{action.capitalize()} failures", 409 if fault else 200
    return page(request, desk, "failure_act.html", context, title=title, status=code)


async def _targets(desk: Desk, group: Group, fields: Fields) -> tuple[tuple[Address, ...], bool]:
    """Those that are open now, oldest first, of the picked ones if any are; and whether there are
    more than one job may have.
    """
    members = await failure_members(
        desk.read, group.fingerprint, limit=TARGETS_MAX + 1, only_open=True
    )
    found = [
        Address("", one.id) if one.kind == "dead_letter" else Address(one.saga, one.key)
        for one in reversed(members)
    ]
    picked = set(fields.picks)
    chosen = [one for one in dict.fromkeys(found) if not picked or name_of(one) in picked]
    return tuple(chosen[:TARGETS_MAX]), len(members) > TARGETS_MAX


def name_of(target: Address) -> str:
    """A target as forms write it; a dead letter by its id."""
    return f"{target.saga}/{target.key}" if target.saga else target.key


def _number(value: object, default: int, most: int) -> int:
    text = str(value)
    return min(int(text), most) if text.isascii() and text.isdigit() and len(text) < 9 else default


def _must_type(action: GroupAction, fields: Fields) -> bool:
    return not fields.picks or action in ENDS


def _action(text: str) -> GroupAction | None:
    return next((one for one in ABOUT if one == text), None)


ROUTES = (failure_act_form, failure_act)
