"""The sagas that the tests of the engine run: small, with one handler for each thing to try."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from sagas import complete, define_saga, fail, publish, schedule, send, spawn, unschedule
from sagas.definition import SagaDefinition
from sagas.handlers import Context, SagaHandle
from sagas.messages import Message


class Placed(Struct):
    """An order; ``amount`` must be a number, so that a payload can fail to fit."""

    order: str
    amount: int = 1


def order_saga() -> SagaDefinition:
    """Placed sends a command, Paid completes; the others do what their names say."""
    saga = define_saga("Order").state({"seen": []}).correlate("order")

    @saga.on("Placed")
    def placed(saga: SagaHandle[Any], message: Message[Placed], context: Context[Any]) -> object:
        saga.state["amount"] = message.payload.amount
        return send("pay", {"order": saga.key})

    @saga.on("Paid")
    def paid(saga: SagaHandle[Any], message: Message[Any]) -> object:
        return complete({"paid": True})

    @saga.on("Declined")
    def declined(saga: SagaHandle[Any], message: Message[Any]) -> object:
        return fail("declined")

    @saga.on("Noted")
    def noted(saga: SagaHandle[Any], message: Message[Any]) -> None:
        saga.state["seen"].append(message.payload.get("n"))

    @saga.on("Broken")
    def broken(saga: SagaHandle[Any], message: Message[Any]) -> None:
        raise RuntimeError(f"no way: {message.payload.get('n')}")

    @saga.on("Told")
    def told(saga: SagaHandle[Any], message: Message[Any]) -> object:
        return publish("OrderTold", {"order": saga.key})

    @saga.on("Armed")
    def armed(saga: SagaHandle[Any], message: Message[Any]) -> object:
        return schedule({"type": "Rang", "payload": {"order": saga.key}}, 30, id="bell")

    @saga.on("Disarmed")
    def disarmed(saga: SagaHandle[Any], message: Message[Any]) -> object:
        return unschedule("bell")

    @saga.on("Rang")
    def rang(saga: SagaHandle[Any], message: Message[Any]) -> None:
        saga.state["rang"] = saga.state.get("rang", 0) + 1

    @saga.on("Born")
    def born(saga: SagaHandle[Any], message: Message[Any]) -> object:
        return spawn("Child", {"order": f"{saga.key}-child"}, key=f"{saga.key}-child")

    @saga.on("Child.completed")
    def grown(saga: SagaHandle[Any], message: Message[Any]) -> None:
        saga.state["child"] = "grown"

    @saga.on("Many")
    def many(saga: SagaHandle[Any], message: Message[Any]) -> object:
        return [send("pay", {"i": i}) for i in range(message.payload["n"])]

    return saga.build()


def child_saga() -> SagaDefinition:
    """Started by a spawn, ends with Grown."""
    saga = define_saga("Child").state({}).correlate("order")

    @saga.on("Born")
    def born(saga: SagaHandle[Any], message: Message[Any]) -> None:
        saga.state["born"] = True

    @saga.on("Grown")
    def grown(saga: SagaHandle[Any], message: Message[Any]) -> object:
        return complete("grown")

    return saga.build()


def audit_saga() -> SagaDefinition:
    """Counts what sagas told; shares the type Placed with Order."""
    saga = define_saga("Audit").state({"n": 0}).correlate("order")

    @saga.on("OrderTold")
    def told(saga: SagaHandle[Any], message: Message[Any]) -> None:
        saga.state["n"] += 1

    return saga.build()


def gated_saga(limit: int = 1) -> SagaDefinition:
    """At most ``limit`` at work at once."""
    saga = define_saga("Gated").state({}).correlate("order").concurrency(limit)

    @saga.on("Entered")
    def entered(saga: SagaHandle[Any], message: Message[Any]) -> object:
        return send("work", {"order": saga.key})

    @saga.on("Left")
    def left(saga: SagaHandle[Any], message: Message[Any]) -> object:
        return complete()

    return saga.build()


def cron_saga() -> SagaDefinition:
    """Started by the clock."""
    saga = define_saga("Nightly").state({}).schedule("0 0 3 * * *")

    @saga.on("Started")
    def started(saga: SagaHandle[Any], message: Message[Any]) -> object:
        return complete(message.payload)

    return saga.build()


def all_sagas() -> list[SagaDefinition]:
    """All of them."""
    return [order_saga(), child_saga(), audit_saga(), gated_saga(), cron_saga()]
