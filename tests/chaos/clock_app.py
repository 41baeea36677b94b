"""The app of the test of moved clocks: a delay, a command with a deadline, a saga by the second."""

from __future__ import annotations

from typing import Any

from jobs import JobContext, job, success
from sagas import complete, define_saga, schedule, send
from sagas.handlers import SagaHandle
from sagas.messages import Message

DELAY_S = 3
DEADLINE_S = 30

paced = define_saga("Paced").state({}).correlate("key")


@paced.on("PacedBegun")
def begun(saga: SagaHandle[Any], message: Message[Any]) -> object:
    """Ask for an answer within some time, and be waked after a shorter one."""
    saga.state["at"] = message.payload["at"]
    due = {"type": "PacedDue", "payload": {"key": saga.key}}
    command = send("pace", {"key": saga.key}, timeout=DEADLINE_S)
    return [command, schedule(due, DELAY_S, id="due")]


@paced.on("PaceAnswered", starts=False)
def answered(saga: SagaHandle[Any], message: Message[Any]) -> None:
    """The command was carried out in time."""
    saga.state["answered"] = True


@paced.on("PaceFailed", starts=False)
def failed(saga: SagaHandle[Any], message: Message[Any]) -> None:
    """It was not."""
    saga.state["failed"] = message.payload


@paced.on("PacedDue", starts=False)
def due(saga: SagaHandle[Any], message: Message[Any]) -> object:
    """Count how often it was waked."""
    saga.state["waked"] = saga.state.get("waked", 0) + 1
    return complete()


ticking = define_saga("Ticking").state({}).schedule("* * * * * *")


@ticking.on("Tick")
def tick(saga: SagaHandle[Any], message: Message[Any]) -> object:
    """One for each second."""
    return complete()


sagas = [paced.build(), ticking.build()]


@job("pace", on_success="PaceAnswered", on_failure="PaceFailed")
async def pace(ctx: JobContext[Any], payload: dict[str, Any]) -> object:
    """Answer at once."""
    return success(payload)
