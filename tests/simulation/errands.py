"""Programs to judge: a workflow with steps, timers, calls of jobs and children; and an entity
that many call at once, from workflows and from outside.

``simulate`` in an input says, by the name of a step or a job, how that shall go.
"""

from __future__ import annotations

import asyncio
from typing import Any

from jobs import PermanentFailure, StepContext
from jobs.step_calls import CallFailed
from sagas import StepFailed, WorkflowFailed, WorkflowSaga, entity, retry, step, workflow
from sagas.programs.steps import AnyStep
from tests.simulation.ledger import Ledger
from tests.waiting import busy

RETRY = retry(3, "150ms", delay_max="1s")
QUICK_S = 0.004
COUNT_S = 0.15  # so that others come meanwhile
SLOW_S = 1.3
PURSE = "Purse"
IN_PURSE = 1000
TOO_MUCH = 1_000_000

Input = dict[str, Any]


# --- steps


async def _ask(ctx: StepContext[Any], whom: str, simulate: str) -> None:
    """Have something weighed, and note what came of it."""
    ledger = await ctx.resolve(Ledger)
    try:
        answer = await ctx.call("weigh", {"whom": whom, "simulate": simulate})
    except CallFailed as failed:
        ledger.hear(ctx.command_id, failed.command, whom, f"no: {failed.reason}")
        raise
    ledger.hear(ctx.command_id, answer["by"], whom, f"yes: {answer['whom']}")


async def _do(ctx: StepContext[Any], name: str, input: Input) -> Input:
    await busy(COUNT_S if name == "count" else QUICK_S)
    simulate, whom = input["simulate"], input["whom"]
    for place in range(input.get("calls", 0)):
        await _ask(ctx, f"{whom}.{place}", simulate.get("weigh", ""))
    if input.get("calls"):
        await ctx.send("jot", {"whom": whom, "simulate": simulate.get("jot", "")})
    how = simulate.get(whom.rpartition(".")[2]) or simulate.get(name)
    if how == "slow":
        await busy(SLOW_S)
    if how == "refuses":
        raise PermanentFailure(f"{name} does not do that")
    if how == "fails" or (how == "flaky" and ctx.attempt == 1):
        raise RuntimeError(f"{name} does not want to")
    (await ctx.resolve(Ledger)).write(name, whom, ctx.idempotency_key)
    return {**input, "by": ctx.command_id}


async def _undo(ctx: StepContext[Any], name: str) -> None:
    await busy(QUICK_S)
    done, whom = ctx.output, ctx.output["whom"]
    if done.get("calls"):
        await _ask(ctx, f"{whom}.undo", "flaky")
    if done["simulate"].get(f"undo-{name}") == "flaky" and ctx.attempt == 1:
        raise RuntimeError(f"the undo of {name} does not want to")
    (await ctx.resolve(Ledger)).write(f"undo-{name}", whom, ctx.idempotency_key)


def _step(name: str) -> AnyStep:
    async def run(ctx: StepContext[Any], input: dict[str, Any]) -> dict[str, Any]:
        return await _do(ctx, name, input)

    async def undo(ctx: StepContext[Any]) -> None:
        await _undo(ctx, name)

    return step(name, run, undo, retry=RETRY, undo_retry=RETRY)


pack, fetch, drive, hand_over, count = map(_step, ("pack", "fetch", "drive", "hand-over", "count"))


# --- an entity


purse = entity(PURSE, initial={"balance": IN_PURSE, "moves": []}, steps=[count])


def _moved(state: Input, ref: str, by: int) -> Input:
    return {"balance": state["balance"] + by, "moves": [*state["moves"], [ref, by]]}


@purse.handler("take")
async def take(saga: WorkflowSaga, input: dict[str, Any]) -> dict[str, Any]:
    """Takes money out, after it was counted; what else is asked meanwhile has to wait."""
    before = saga.state
    await count(saga, {"whom": f"{input['ref']}.count", "simulate": input["simulate"]})
    if input["amount"] > before["balance"]:
        raise WorkflowFailed("so much is not in it")
    saga.state = _moved(before, input["ref"], -input["amount"])
    return {"ref": input["ref"], "left": saga.state["balance"]}


@purse.handler("give")
async def give(saga: WorkflowSaga, input: dict[str, Any]) -> dict[str, Any]:
    """Puts money in."""
    saga.state = _moved(saga.state, input["ref"], input["amount"])
    return {"ref": input["ref"], "left": saga.state["balance"]}


@purse.shared("balance")
def balance(state: dict[str, Any]) -> int:
    """Reads it, while others may be at it."""
    return int(state["balance"])


# --- workflows


@workflow("Leg", steps=[drive])
async def leg(saga: WorkflowSaga, input: dict[str, Any]) -> str:
    """A part of an errand with a run of its own."""
    await saga.sleep(0.05)
    await drive(saga, {"whom": saga.key, "simulate": input["simulate"]})
    return f"{input['whom']} was driven"


@workflow("Errand", steps=[pack, fetch, hand_over])
async def errand(saga: WorkflowSaga, input: dict[str, Any]) -> dict[str, Any]:
    """Packs, fetches what there is at all stops at once, and so on; pays out of a purse."""
    how, key = input["simulate"], saga.key

    def what(name: str, **more: Any) -> Input:
        return {"whom": f"{key}.{name}", "simulate": how, **more}

    async def stop(number: int) -> str:
        done = await fetch(saga, what(f"stop{number}"))
        saga.state.setdefault("ended", []).append(number)
        return str(done["whom"])

    await pack(saga, what("pack", calls=2))
    fetched = await asyncio.gather(*map(stop, range(input["stops"])))
    await saga.sleep(0.02 * input["stops"])
    legs = [saga.child("Leg", what(f"leg{number}")) for number in range(input["legs"])]
    driven = await asyncio.gather(*legs)
    amount = TOO_MUCH if how.get("take") == "too-much" else 3
    paid = await take.call(saga, input["purse"], {"ref": key, "amount": amount, "simulate": how})
    try:
        await hand_over(saga, what("hand-over", calls=1))
    except StepFailed:
        give.tell(saga, input["purse"], {"ref": f"{key}.back", "amount": amount})
        raise
    return {"fetched": fetched, "driven": driven, "paid": paid["ref"]}


PROGRAMS = (errand, leg, purse)
