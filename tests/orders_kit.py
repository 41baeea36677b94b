"""Orders of the chaos app that run to their ends in this process, and what a log has of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec

from jobs import JobRegistry
from jobs.engine import Engine
from jobs.worker import Worker
from sagas.definition import Registry
from store.port import Backend, Stored
from store.subjects import Names
from tests.chaos import app
from tests.waiting import eventually

ORDERS_S = 60.0


@asynccontextmanager
async def working(backend: Backend, names: Names) -> AsyncGenerator[None]:
    """With an engine and a worker."""
    engine = Engine(backend, names, Registry(app.sagas))
    worker = Worker(backend, names, JobRegistry([app.reserve, app.charge, app.give_back]))
    await engine.start()
    await worker.start()
    try:
        yield
    finally:
        await worker.stop()
        await engine.stop()


async def all_ended(backend: Backend, names: Names, count: int) -> bool:
    """Whether there are so many orders and none of them is open."""
    seen = [m async for m in backend.log.latest(names.instances("ChaosOrder"))]
    open = (b'"status":"running"', b'"status":"compensating"')
    return len(seen) == count and not any(word in m.data for m in seen for word in open)


async def run_orders(backend: Backend, names: Names, count: int) -> None:
    """Publish orders ``o-0`` to ``o-<count - 1>`` and wait for their ends."""
    async with working(backend, names):
        for number in range(count):
            body = msgspec.json.encode({"order": f"o-{number}", "fate": app.fate(number)})
            await backend.door.publish(names.event("OrderCreated", f"o-{number}"), body)
        await eventually(
            lambda: all_ended(backend, names, count), ORDERS_S, what="the orders' ends"
        )


async def histories(backend: Backend, names: Names) -> dict[str, list[Stored]]:
    """Every subject of an instance with all that the log has of it."""
    found: dict[str, list[Stored]] = {}
    async for last in backend.log.latest(names.instances()):
        found[last.subject] = [m async for m in backend.log.history(last.subject)]
    return found
