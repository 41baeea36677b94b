"""The app that the chaos tests run: orders whose outcome their number decides, and a ledger.

Each job appends one line for each time it runs to a file opened with O_APPEND, named by
SNORRI_CHAOS_LEDGER: what was done in the outside world, told by the outside world, so that nothing
the system says of itself has to be believed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jobs import JobContext, failure, job, success
from sagas import compensate, complete, define_saga, fail, schedule, send, unschedule
from sagas.handlers import SagaHandle
from sagas.messages import Message
from tests.waiting import busy

LEDGER = "SNORRI_CHAOS_LEDGER"
OUT_OF_STOCK, DECLINED, GOOD = "out_of_stock", "declined", "good"


def fate(number: int) -> str:
    """How an order ends: a tenth is declined, a tenth finds no stock."""
    return {3: DECLINED, 7: OUT_OF_STOCK}.get(number % 10, GOOD)


ENDS = {GOOD: "completed", OUT_OF_STOCK: "failed", DECLINED: "compensated"}  # statuses by fate


def _once(saga: SagaHandle[Any], step: str) -> bool:
    """Whether the order reaches this step for the first time; a publisher may have lost its id."""
    first = step not in saga.state["steps"]
    if first:
        saga.state["steps"].append(step)
    return first


order = define_saga("ChaosOrder").state({"steps": []}).correlate("order").on_unknown("start")


@order.on("OrderCreated")
def created(saga: SagaHandle[Any], message: Message[Any]) -> object:
    """Reserve the goods."""
    saga.state["fate"] = message.payload["fate"]
    if _once(saga, "created"):
        return send("reserve", {"order": saga.key, "fate": saga.state["fate"]})
    return None


@order.on("Reserved", starts=False)
def reserved(saga: SagaHandle[Any], message: Message[Any]) -> object:
    """Charge the customer."""
    if _once(saga, "reserved"):
        return send("charge", {"order": saga.key, "fate": saga.state["fate"]})
    return None


@order.on("OutOfStock", starts=False)
def out_of_stock(saga: SagaHandle[Any], message: Message[Any]) -> object:
    """Nothing to sell."""
    return fail("out of stock")


@order.on("Charged", starts=False)
def charged(saga: SagaHandle[Any], message: Message[Any]) -> object:
    """Done."""
    return complete({"order": saga.key})


@order.on("Declined", starts=False)
def declined(saga: SagaHandle[Any], message: Message[Any]) -> object:
    """Give the goods back."""
    if _once(saga, "declined"):
        return compensate({"type": "Reserved"}, "declined")
    return None


@order.compensate("Reserved")
def release(saga: SagaHandle[Any], message: Message[Any]) -> object:
    """The undo of a reservation."""
    return send("release", {"order": saga.key})


@order.on("Released", starts=False)
def released(saga: SagaHandle[Any], message: Message[Any]) -> object:
    """The goods are back."""
    return None


@order.on("Viewed", starts=False)
def viewed(saga: SagaHandle[Any], message: Message[Any]) -> None:
    """An event that only counts."""
    saga.state["views"] = saga.state.get("views", 0) + 1


bell = define_saga("Bell").state({"rang": 0}).correlate("bell")


@bell.on("BellSet")
def bell_set(saga: SagaHandle[Any], message: Message[Any]) -> object:
    """Ring after so many seconds."""
    return schedule({"type": "BellRang", "payload": {}}, message.payload["after_s"], id="ring")


@bell.on("BellStopped", starts=False)
def bell_stopped(saga: SagaHandle[Any], message: Message[Any]) -> object:
    """Ring no more."""
    saga.state["stopped_after"] = saga.state["rang"]
    return unschedule("ring")


@bell.on("BellRang", starts=False)
def bell_rang(saga: SagaHandle[Any], message: Message[Any]) -> None:
    """Count the rings."""
    saga.state["rang"] += 1


sagas = [order.build(), bell.build()]


async def _do(ctx: JobContext[Any], what: str) -> None:
    """The effect, then a moment in which a kill leaves it done and unreported."""
    _write(ctx, what)
    await busy(0.05)


def _write(ctx: JobContext[Any], what: str) -> None:
    """One line of the ledger; a line is written whole or not at all."""
    path = os.environ.get(LEDGER)
    if path is None:
        return
    descriptor = os.open(Path(path), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, f"{what} {ctx.key} {ctx.command_id}\n".encode())
    finally:
        os.close(descriptor)


@job("reserve", on_success="Reserved", on_failure="OutOfStock")
async def reserve(ctx: JobContext[Any], payload: dict[str, Any]) -> object:
    """Reserve, unless there is nothing left."""
    await _do(ctx, "reserve")
    if payload["fate"] == OUT_OF_STOCK:
        return failure("nothing left")
    return success({"order": payload["order"]})


@job("charge", on_success="Charged", on_failure="Declined")
async def charge(ctx: JobContext[Any], payload: dict[str, Any]) -> object:
    """Charge, unless the bank declines."""
    await _do(ctx, "charge")
    if payload["fate"] == DECLINED:
        return failure("declined")
    return success({"order": payload["order"]})


@job("release", on_success="Released")
async def give_back(ctx: JobContext[Any], payload: dict[str, Any]) -> object:
    """Give the goods back."""
    await _do(ctx, "release")
    return success({"order": payload["order"]})
