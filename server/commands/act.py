"""Operator actions, the same as in the dashboard: each becomes a transition with who and why, or is
refused with the reason. ``--dry-run`` shows the plan and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import rich_click as click
from msgspec import Raw, Struct

from sagas.actions import ABSENT, ACTION_STATUSES, Action, ActionRequest
from sagas.durations import when
from sagas.errors import BadDelay
from server.commands.common import (
    CONNECTION,
    PANEL_CONNECTION,
    USAGE,
    Failed,
    actor,
    by_options,
    json_option,
    json_text,
    origin,
    run,
    settings_options,
)
from server.commands.output import emit, full, say
from server.commands.reach import existing, open_session
from server.settings import Settings

HELP: dict[Action, str] = {
    "retry": "Handle the message again that parked an instance, or send an open command again.",
    "resume": "Go on with a paused instance; what arrived meanwhile is handled in order.",
    "pause": "Stop an instance; messages wait in its backlog.",
    "cancel": "End an instance now; its timers are cancelled and nothing is undone.",
    "compensate": "Undo what an instance has done, by its .compensate handlers.",
    "signal": "Send an instance a signal that its saga declares.",
    "patch": "Change the state of an instance by hand.",
    "skip": "Let a parked instance go on without the message or command that parked it.",
    "fire_timer": "Handle a timer's message now; where messages wait, it waits behind them.",
    "postpone_timer": "Have a timer fire at another time, earlier or later: how long from now"
    " (30s, 2h, 1d), or a time such as 2026-11-21T12:00:00Z.",
    "cancel_timer": "Have a timer not fire at all.",
}
PANEL_ACTION = "This action"
JSON = "JSON"

PAYLOAD = click.option(
    "--payload", default=None, metavar=JSON, panel=PANEL_ACTION, help="Its payload; - is stdin."
)
TIMER = click.argument("timer")
OPTIONS: dict[Action, tuple[Callable[[Any], Any], ...]] = {
    "retry": (
        click.option(
            "--command",
            default=None,
            metavar="ID",
            panel=PANEL_ACTION,
            help="Send this open command again; `snorri show` names them.",
        ),
        PAYLOAD,
    ),
    "compensate": (
        click.option(
            "--type",
            "types",
            multiple=True,
            metavar="TYPE",
            panel=PANEL_ACTION,
            help="What to undo, in this order; not needed when there is only one.",
        ),
        PAYLOAD,
    ),
    "signal": (
        click.option(
            "--name", required=True, panel=PANEL_ACTION, help="The signal's name in the saga."
        ),
        PAYLOAD,
    ),
    "patch": (
        click.option(
            "--state", default=None, metavar=JSON, panel=PANEL_ACTION, help="A whole new state."
        ),
        click.option(
            "--patch",
            default=None,
            metavar=JSON,
            panel=PANEL_ACTION,
            help="Changes to the state, as in RFC 7396: null removes a field.",
        ),
    ),
    "skip": (
        click.option(
            "--by-hand",
            is_flag=True,
            panel=PANEL_ACTION,
            help="The failed undo was done outside; note it as done.",
        ),
    ),
    "fire_timer": (TIMER,),
    "postpone_timer": (TIMER, click.argument("to", metavar="WHEN")),
    "cancel_timer": (TIMER,),
}


class Order(Struct, frozen=True, kw_only=True):
    """What the command line asks for."""

    saga: str
    key: str
    action: Action
    by: str
    reason: str
    request: ActionRequest
    timeout_s: float
    as_json: bool


def make_command(action: Action, name: str = "") -> click.Command:
    """The command of an action, under its own name or another."""

    def command(
        settings: Settings,
        saga: str,
        key: str,
        by: str | None,
        reason: str,
        dry_run: bool,
        plan: str,
        version: int,
        timeout_s: float,
        as_json: bool,
        **own: Any,  # the options of this action
    ) -> None:
        order = Order(
            saga=saga,
            key=key,
            action=action,
            by=actor(by),
            reason=reason,
            request=request_of(version, plan, **own),
            timeout_s=timeout_s,
            as_json=as_json,
        )
        if dry_run:
            # Not at the top: only a plan needs the app's code, and what that needs.
            from server.commands.planning import show_plan

            show_plan(settings, order)
        else:
            run(_act(settings, order))

    decorated: Any = json_option(command)
    decorated = settings_options(*CONNECTION, "app", panel=PANEL_CONNECTION)(decorated)
    for option in reversed((*OPTIONS.get(action, ()), *_common())):
        decorated = option(decorated)
    decorated = by_options(decorated)
    decorated = click.argument("key")(decorated)
    decorated = click.argument("saga")(decorated)
    statuses = ", ".join(sorted(ACTION_STATUSES[action]))
    text = f"{HELP[action]}\n\nPossible while the instance is: {statuses}."
    return click.command(name or action, help=text)(decorated)


def _common() -> tuple[Callable[[Any], Any], ...]:
    return (
        click.option("--dry-run", is_flag=True, help="Show what would happen; change nothing."),
        click.option(
            "--plan",
            default="",
            metavar="HASH",
            help="Do exactly this plan of a dry run, or refuse.",
        ),
        click.option(
            "--version",
            type=click.IntRange(0),
            default=0,
            help="Refuse unless the instance stands at this version; 0: any.",
        ),
        click.option(
            "--timeout",
            "timeout_s",
            type=click.FloatRange(0.1, 3600),
            default=10.0,
            show_default=True,
            metavar="SECONDS",
            help="How long to wait for an engine to do it.",
        ),
    )


def request_of(
    version: int,
    plan: str,
    *,
    command: str | None = None,
    payload: str | None = None,
    types: tuple[str, ...] = (),
    name: str = "",
    state: str | None = None,
    patch: str | None = None,
    by_hand: bool = False,
    timer: str = "",
    to: str | None = None,
) -> ActionRequest:
    """The request these options mean; raises Failed for text that is no JSON or no time."""
    if state is not None and patch is not None:
        raise Failed("--state replaces all that --patch would change; give one of them", USAGE)
    return ActionRequest(
        version=version,
        plan=plan,
        types=types,
        name=name,
        payload=_json(payload, "--payload"),
        state=_json(state, "--state"),
        patch=_json(patch, "--patch"),
        command=command or "",
        by_hand=by_hand,
        timer=timer,
        to=None if to is None else _when(to),
    )


def _when(text: str) -> float | datetime:
    try:
        return when(text)
    except BadDelay as error:
        raise Failed(str(error), USAGE) from None


def _json(text: str | None, what: str) -> Raw:
    found = json_text(text, what)
    return ABSENT if found is None else found


async def _act(settings: Settings, order: Order) -> None:
    async with open_session(settings) as session:
        await existing(session, order.saga, order.key)
        reply = await session.client.act(
            order.saga,
            order.key,
            order.action,
            by=order.by,
            reason=order.reason,
            request=order.request,
            timeout_s=order.timeout_s,
            origin=origin(),
        )
    if order.as_json:
        emit(full(reply))
    if not reply.done:
        raise Failed(reply.reason)
    if not order.as_json:
        say(
            f"{order.action.replace('_', ' ')} done: {order.saga}/{order.key} is {reply.status} "
            f"at version {reply.version}"
        )
    if order.action == "retry" and reply.status == "parked":
        raise Failed(f"it was parked again; see `snorri show {order.saga} {order.key}`")


retry = make_command("retry")
resume = make_command("resume")
pause = make_command("pause")
cancel = make_command("cancel")
compensate = make_command("compensate")
signal = make_command("signal")
patch = make_command("patch")
skip = make_command("skip")
