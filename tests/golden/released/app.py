"""The app whose instances the kept data hold. Frozen: only Snorri changes around it."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from jobs import JobContext, PermanentFailure, StepContext, job
from sagas import (
    Message,
    SagaHandle,
    WorkflowSaga,
    compensate,
    complete,
    define_saga,
    schedule,
    send,
    step,
    steps,
    workflow,
)


class State(Struct):
    """What an order has come to."""

    steps: list[str] = []
    total: int = 0


class Ordered(Struct):
    """What is ordered."""

    order: str
    total: int


Order = SagaHandle[State]

order = define_saga("KeptOrder").version(2).correlate("order").state(State())


@order.on("KeptOrdered")
def ordered(saga: Order, message: Message[Ordered]) -> Any:
    """Count the goods, which a job of ours does, and remind of it in a month."""
    saga.state.total = message.payload.total
    saga.state.steps.append("ordered")
    return [
        send("kept-count", {"order": saga.key}),
        schedule({"type": "KeptReminded"}, "30d", id="reminder"),
    ]


@order.on("KeptCounted", starts=False)
def counted(saga: Order, message: Message[Any]) -> Any:
    """Ask the carrier, whose job is nobody's here: it is answered by hand."""
    saga.state.steps.append("counted")
    return send("kept-carrier", {"order": saga.key})


@order.on("KeptCarried", starts=False)
def carried(saga: Order, message: Message[Any]) -> Any:
    """Done."""
    saga.state.steps.append("carried")
    return complete({"total": saga.state.total})


@order.on("KeptReturned", starts=False)
def returned(saga: Order, message: Message[Any]) -> Any:
    """Back again."""
    return compensate({"type": "KeptUncount", "payload": None}, "returned")


@order.compensate("KeptUncount")
def uncount(saga: Order) -> Any:
    """Put it back on the shelf."""
    return send("kept-uncount", {"order": saga.key})


@order.on("KeptWeighed", starts=False)
def weighed(saga: Order, message: Message[Any]) -> None:
    """Parks without a weight."""
    saga.state.steps.append(f"{message.payload['grams']} g")


@order.on("KeptReminded", starts=False)
def reminded(saga: Order) -> None:
    """A month later."""
    saga.state.steps.append("reminded")


bell = define_saga("KeptBell").state({"rang": 0}).correlate("bell")


@bell.on("KeptBellSet")
def bell_set(saga: SagaHandle[Any], message: Message[Any]) -> Any:
    """Ring once, after so many seconds."""
    return schedule({"type": "KeptBellRang"}, message.payload["after_s"], id="ring")


@bell.on("KeptBellRang", starts=False)
def bell_rang(saga: SagaHandle[Any]) -> Any:
    """Rung."""
    return complete("ding")


@job("kept-count", on_success="KeptCounted")
async def count(ctx: JobContext[Any], payload: dict[str, Any]) -> dict[str, Any]:
    """Count the goods of an order."""
    return {"order": payload["order"]}


@job("kept-uncount")
async def uncount_goods(ctx: JobContext[Any], payload: dict[str, Any]) -> None:
    """Put the goods of an order back."""


async def pack(ctx: StepContext[Any]) -> dict[str, Any]:
    """Pack a parcel."""
    return {"packed": True}


async def unpack(ctx: StepContext[Any], packed: Any) -> None:
    """Unpack it."""


async def post(ctx: StepContext[Any]) -> dict[str, Any]:
    """Post it, unless nobody comes."""
    if ctx.get("nobody"):
        raise PermanentFailure("nobody comes")
    return {"posted": True}


parcel = steps("KeptParcel", [step("pack", pack, unpack), step("post", post)])


@step("kept-sign")
async def sign(ctx: StepContext[Any], name: str) -> str:
    """Sign a letter."""
    return f"signed by {name}"


@workflow("KeptLetter", signals={"who": str})
async def letter(saga: WorkflowSaga, text: str) -> str:
    """Wait for somebody, then have it signed."""
    first = await sign(saga, "ada")
    who = await saga.wait_for_signal("who")
    return f"{text}: {first}, {await sign(saga, who)}"


definitions = (order.build(), bell.build(), parcel, letter)
jobs = (count, uncount_goods)
