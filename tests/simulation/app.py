"""What runs in the simulation: the sample sagas, and definitions and jobs made to be judged.

Jobs write what they do to the outside into a ledger, under the idempotency key of their command.
``simulate`` in a payload says how a job shall end, as in the samples.
"""

from __future__ import annotations

from typing import Any

from jobs import JobContext, StepContext, failure, job, success
from jobs.job import AnyJob
from sagas import (
    Effects,
    Message,
    SagaDefinition,
    SagaHandle,
    complete,
    define_saga,
    parallel,
    publish,
    retry,
    schedule,
    send,
    step,
    steps,
)
from tests.simulation.ledger import Ledger
from tests.waiting import busy

RETRY = retry(3, "150ms", delay_max="1s")
QUICK_S = 0.004
CARRIED = ("flight", "hotel", "car")
ROUNDS = {1: "*/4 * * * * *", 2: "*/3 * * * * *"}
RANG = {1: "rang", 2: "nudged"}  # the name of a field in each version of the tally
Handle = SagaHandle[dict[str, Any]]


# --- sagas of our own


def tally(version: int = 1) -> SagaDefinition:
    """Counts what it is told, in order; tells an audit, works under a concurrency key, ends when it
    has heard enough. It raises for a payload that says so, and parks. In version 2 one field of its
    state has another name.
    """
    rang = RANG[version]
    draft = define_saga("Tally").version(version).correlate("tally")
    saga = draft.state({"seen": [], "worked": 0, rang: 0})

    @saga.on("Opened", starts=True)
    def opened(saga: Handle, message: Message[dict[str, Any]]) -> Effects:
        saga.state["wanted"] = message.payload["wanted"]
        return schedule({"type": "Nudge"}, message.payload.get("nudge", 5.0), id="nudge")

    @saga.on("Counted")
    def counted(saga: Handle, message: Message[dict[str, Any]], context: Any) -> Effects:
        if message.payload.get("raises") and context.attempt == 1:
            raise RuntimeError("this payload is bad luck")
        saga.state["seen"] = [*saga.state["seen"], message.payload["n"]]
        told = publish("Noticed", {"tally": saga.key, "n": message.payload["n"]})
        work = {"whom": f"{saga.key}.{message.payload['n']}"}
        return [told, send("stamp", work, concurrency_key="desk"), *_over(saga)]

    @saga.on("Stamped")
    def stamped(saga: Handle) -> Effects:
        saga.state["worked"] += 1
        return _over(saga)

    @saga.on("Nudge")
    def nudge(saga: Handle) -> Effects:
        saga.state[rang] += 1
        return schedule({"type": "Nudge"}, 4.0, id="nudge")

    if version > 1:
        saga.upcast(1, _renamed)
    return saga.build()


def _renamed(old: dict[str, Any]) -> dict[str, Any]:
    return {RANG[2] if name == RANG[1] else name: value for name, value in old.items()}


def _over(saga: Handle) -> list[Any]:
    state = saga.state
    enough = len(state["seen"]) == state["wanted"] == state["worked"]
    return [complete({"seen": state["seen"]})] if enough else []


def audit() -> SagaDefinition:
    """Hears of what tallies publish; one saga to another through a public event."""
    saga = define_saga("Audit").state({"noticed": []}).correlate("tally")

    @saga.on("Noticed", starts=True)
    def noticed(saga: Handle, message: Message[dict[str, Any]]) -> None:
        saga.state["noticed"] = [*saga.state["noticed"], message.payload["n"]]

    return saga.build()


def desk() -> SagaDefinition:
    """One instance at work at once, the others wait at the gate."""
    saga = define_saga("Desk").state({}).correlate("desk").concurrency(1)

    @saga.on("Asked", starts=True)
    def asked(saga: Handle, message: Message[dict[str, Any]]) -> Effects:
        return send("serve", {"whom": saga.key})

    @saga.on("Served")
    def served(saga: Handle) -> Effects:
        return complete()

    return saga.build()


def rounds(version: int = 1) -> SagaDefinition:
    """Begins by the clock; in version 2 at other times."""
    saga = define_saga("Rounds").version(version).schedule(ROUNDS[version]).state({})

    @saga.on("Due")
    def due(saga: Handle, message: Message[dict[str, Any]]) -> Effects:
        return send("ring", {"whom": message.payload["at"]})

    @saga.on("Rung")
    def rung(saga: Handle) -> Effects:
        return complete()

    return saga.build()


# --- steps


async def _do(ctx: StepContext[Any], name: str) -> dict[str, Any]:
    await busy(QUICK_S)
    simulate = (ctx.input or {}).get("simulate", {}).get(name, "")
    if simulate == "fails" or (simulate == "flaky" and ctx.attempt == 1):
        raise RuntimeError(f"{name} does not want to")
    (await ctx.resolve(Ledger)).write(name, ctx.key, ctx.idempotency_key)
    return {f"{name}Id": ctx.idempotency_key}


async def _undo(ctx: StepContext[Any], name: str) -> None:
    await busy(QUICK_S)
    simulate = (ctx.input or {}).get("simulate", {}).get(f"undo-{name}", "")
    if simulate == "flaky" and ctx.attempt == 1:
        raise RuntimeError(f"the undo of {name} does not want to")
    (await ctx.resolve(Ledger)).write(f"undo-{name}", ctx.key, ctx.idempotency_key)


def _functions(name: str) -> tuple[Any, Any]:
    async def run(ctx: StepContext[Any]) -> dict[str, Any]:
        return await _do(ctx, name)

    async def undo(ctx: StepContext[Any]) -> None:
        await _undo(ctx, name)

    return run, undo


def moving() -> SagaDefinition:
    """A list of steps with a group that runs in parallel; every step can be undone."""

    def one(name: str) -> Any:
        run, undo = _functions(name)
        return step(name, run, undo, retry=RETRY, undo_retry=RETRY)

    group = parallel("carry", [one("sofa"), one("table"), one("lamp")])
    return steps("moving", [one("van"), group, one("unload"), one("pay")])


# --- jobs


def _job(target: str, well: str | None, badly: str | None, **made: str) -> AnyJob:
    """A job that does its work in the ledger; its answer has the fields ``made`` names."""

    @job(target, on_success=well, on_failure=badly, retry=RETRY, timeout="20s", concurrency=4)
    async def work(ctx: JobContext[dict[str, Any]], payload: dict[str, Any]) -> Any:
        simulate = payload.get("simulate", "")
        if simulate == "moody" and ctx.attempt == 1:
            return failure(f"{target} is in no mood", payload)
        await busy(2.5 if simulate == "slow" else QUICK_S)
        if simulate == "broken" or (simulate == "flaky" and ctx.attempt == 1):
            raise RuntimeError(f"{target} does not work")
        if simulate in REFUSALS.get(target, ()):
            return failure(f"{target} says no: {simulate}", payload)
        whom = next((str(payload[name]) for name in WHOM if name in payload), "?")
        (await ctx.resolve(Ledger)).write(target, whom, ctx.idempotency_key)
        return success(
            {
                **payload,
                "by": ctx.command_id,
                **{name: f"{what}-{whom}" for name, what in made.items()},
            }
        )

    return work


WHOM = ("orderId", "tripId", "cartId", "whom")
REFUSALS = {
    "process-payment": ("decline",),
    "capture-payment": ("decline",),
    "reserve-inventory": ("no-stock",),
    "create-shipment": ("no-carrier",),
    "weigh": ("refuse",),
    "book-flight": ("sold-out",),
    "book-hotel": ("sold-out",),
    "book-car": ("sold-out",),
}


JOBS: dict[str, AnyJob] = {
    one.target: one
    for one in (
        _job("process-payment", "PaymentCompleted", "PaymentFailed", transactionId="tx"),
        _job("capture-payment", "PaymentCaptured", "PaymentFailed", transactionId="cap"),
        _job("refund-payment", "PaymentRefunded", "RefundFailed", refundId="re"),
        _job("reserve-inventory", "InventoryReserved", "InventoryUnavailable", reservationId="rsv"),
        _job("create-shipment", "ShipmentCreated", "ShipmentFailed", trackingNumber="trk"),
        _job("send-reminder", "ReminderSent", None, mailId="mail"),
        *(
            _job(f"book-{one}", f"{one.title()}Booked", f"{one.title()}Failed", bookingId=one)
            for one in CARRIED
        ),
        *(_job(f"cancel-{one}", f"{one.title()}Cancelled", None) for one in CARRIED),
        _job("stamp", "Stamped", None),
        _job("serve", "Served", None),
        _job("ring", "Rung", None),
        _job("weigh", None, None),
        _job("jot", None, None),
    )
}
