"""A small shop on the memory broker in real time: an engine, a worker, and a client to test."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from msgspec import Struct

from jobs import JobContext, JobRegistry, failure, job
from jobs.engine import Engine
from jobs.worker import Worker
from sagas import Message, Registry, SagaHandle, complete, define_saga, send
from store.client import SagaClient
from store.memory import MemoryBackend, MemoryBroker, SystemClock
from store.port import Backend
from store.subjects import Names


class Order(Struct):
    """A starting message."""

    orderId: str
    amount: int = 0


class State(Struct):
    """What an order remembers."""

    orderId: str = ""
    amount: int = 0
    notes: list[str] = []


def placed(saga: SagaHandle[State], message: Message[Order]) -> Any:
    """Remember the order; below zero is a defect of this handler, 1 asks the job."""
    order = message.payload
    if order.amount < 0:
        raise ValueError("an amount below zero")
    saga.state = State(orderId=order.orderId, amount=order.amount)
    return send("charge", {"amount": order.amount}) if order.amount == 1 else None


def noted(saga: SagaHandle[State], message: Message[Any]) -> None:
    """Keep a note."""
    saga.state.notes.append(str(message.payload))


def closed(saga: SagaHandle[State], message: Message[Any]) -> Any:
    """The end."""
    return complete({"amount": saga.state.amount})


shop = (
    define_saga("Shop")
    .state(State())
    .correlate("orderId")
    .on("OrderPlaced", placed)
    .on("OrderClosed", closed)
    .on("Charged", closed)
    .on_signal("note", noted)
    .on_query("total", lambda state, factor=1: state.amount * factor)
    .build()
)


@job("charge", on_success="Charged")
async def charge(ctx: JobContext[Any], payload: Any) -> Any:
    """Says no at first; tests make it say yes by another payload."""
    return payload if payload.get("amount") != 1 else failure("no money")


class Floor:
    """What a test holds: the client, its backend and the broker behind."""

    def __init__(self, broker: MemoryBroker, backend: MemoryBackend) -> None:
        self.broker = broker
        self.backend: Backend = backend
        self.link = backend
        self.names: Names = broker.names
        self.client = SagaClient(backend, broker.names)


@asynccontextmanager
async def open_shop(*, engine: bool = True, worker: bool = False) -> AsyncGenerator[Floor]:
    """A shop of its own for one test."""
    broker = MemoryBroker(clock=SystemClock())
    services: list[Engine | Worker] = []
    if engine:
        services.append(Engine(broker.backend(), broker.names, Registry([shop]), engine_id="e1"))
    if worker:
        services.append(Worker(broker.backend(), broker.names, JobRegistry([charge])))
    try:
        for service in services:
            await service.start()
        yield Floor(broker, broker.backend("client"))
    finally:
        for service in reversed(services):
            await service.stop()
        await broker.close()
