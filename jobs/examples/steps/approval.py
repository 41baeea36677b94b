"""An approval that waits for a person, for days if need be, and does not wait for ever.

The run sleeps in the log; nothing of it is in memory. A signal lets it go on; when none comes in
time, the boss is asked, and when nobody answers at all, what was set aside is given back.

    snorri start ExpenseApproval '{"what":"a ticket","amount":120,"patience":"1h"}' --key e-1
    snorri signal ExpenseApproval e-1 --name decision --payload '{"approved":true,"by":"ada"}'
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from jobs import StepContext
from jobs.examples.simulation import stable_id
from sagas import WaitTimedOut, WorkflowFailed, WorkflowSaga, step, workflow


class Expense(Struct):
    """What somebody wants to spend, and how long each of those asked may think about it."""

    what: str
    amount: int
    patience: str = "2d"


class Decision(Struct):
    """A person's word."""

    approved: bool
    by: str = ""
    comment: str = ""


class Request(Struct):
    """Whom to ask."""

    whom: str
    what: str


async def give_back(ctx: StepContext[Expense], budget: dict[str, str]) -> None:
    """Give the money back to the budget."""
    ctx.log.info("given back", budget=budget["budgetId"])


@step("SetAside", compensate=give_back)
async def set_aside(ctx: StepContext[Expense], expense: Expense) -> dict[str, str]:
    """Set the money aside while people think."""
    return {"budgetId": stable_id("bud", ctx)}


@step("AskPerson", nothing_to_undo=True)
async def ask(ctx: StepContext[Request], request: Request) -> None:
    """Send somebody a mail with a link to the decision."""
    ctx.log.info("asked for a decision", whom=request.whom, what=request.what)


@step("PayExpense", nothing_to_undo=True)
async def pay(ctx: StepContext[Expense], expense: Expense) -> dict[str, str]:
    """Pay it."""
    return {"paymentId": stable_id("pay", ctx)}


@workflow("ExpenseApproval", signals={"decision": Decision})
async def approval(saga: WorkflowSaga, expense: Expense) -> dict[str, Any]:
    """Spend money when a person has agreed."""
    await set_aside(saga, expense)
    decision = await _decided(saga, expense)
    if not decision.approved:
        raise WorkflowFailed(f"{decision.by or 'somebody'} said no", code="REJECTED")
    saga.state = {"waitsFor": None}
    return {**await pay(saga, expense), "approvedBy": decision.by}


async def _decided(saga: WorkflowSaga, expense: Expense) -> Decision:
    for whom in ("the manager", "the boss"):
        await ask(saga, Request(whom, expense.what))
        saga.state = {"waitsFor": whom}
        try:
            return await saga.wait_for_signal("decision", Decision, timeout=expense.patience)
        except WaitTimedOut:
            continue
    raise WorkflowFailed("nobody has decided in time", code="NO_DECISION")


@approval.on_query("waits-for")
def waits_for(state: dict[str, Any]) -> str | None:
    """Whose turn it is."""
    return state.get("waitsFor")
