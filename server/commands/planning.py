"""``--dry-run`` of an action: its plan, made with the code that is here; nothing is changed."""

from __future__ import annotations

from sagas.actions import Plan
from server.commands.act import Order
from server.commands.common import USAGE, Failed, run
from server.commands.output import effect_text, emit, full, note, pretty, say
from server.commands.reach import existing, open_session
from server.loading import app_of
from server.settings import Settings


def show_plan(settings: Settings, order: Order) -> None:
    """Print what the action would do now; raises Failed."""
    app = app_of(settings)
    definition = app.registry.get(order.saga)
    if definition is None:
        raise Failed(
            f"a dry run needs the code of {order.saga}, and it is not in "
            f"{', '.join(app.modules)}; name its module with --app",
            USAGE,
        )

    async def work() -> tuple[Plan, str]:
        async with open_session(settings) as session:
            current = await existing(session, order.saga, order.key)
            plan = await session.client.plan(
                definition,
                order.key,
                order.action,
                by=order.by,
                reason=order.reason,
                request=order.request,
            )
            return plan, current.instance.definition

    plan, recorded = run(work())
    if recorded != definition.hash:
        note(
            f"the instance was last changed by definition {recorded}, the code here is "
            f"{definition.hash}; the engine may run other code than this plan is made with"
        )
    if order.as_json:
        emit(full(plan))
    if plan.refused:
        raise Failed(plan.refused)
    if not order.as_json:
        _show(plan)


def _show(plan: Plan) -> None:
    what = f"{plan.action.replace('_', ' ')} of {plan.saga}/{plan.key}"
    say(f"{what} at version {plan.version}, if done now:")
    say(f"status  {plan.status} -> {plan.status_after}")
    if plan.error:
        say(f"parked  {plan.error}", style="red")
    say("state after", style="bold")
    say(pretty(plan.state_after))
    _list("in this order", [effect_text(effect) for effect in plan.effects], "nothing is sent")
    _list("then, each after the answer to the one before", [effect_text(e) for e in plan.then], "")
    _list("can't be undone", plan.cannot_undo, "")
    _list("in flight, what comes of them may still come", plan.in_flight, "")
    say(f"hash    {plan.hash}")
    say("nothing was changed; to do exactly this, repeat the command with --plan and the hash")


def _list(title: str, lines: tuple[str, ...] | list[str], none: str) -> None:
    if lines:
        say(title, style="bold")
        for number, line in enumerate(lines, 1):
            say(f"  {number}. {line}")
    elif none:
        say(none)
