"""An engine of the chaos app inside the test's own process, where a test can look at it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec

from jobs.engine import Engine
from sagas.definition import Registry
from store.codec import DeadLetter
from store.jetstream import JetStreamBackend, connect
from tests.chaos import app
from tests.chaos.processes import World
from tests.waiting import eventually


@asynccontextmanager
async def engine_inside(
    world: World, *, url: str = "", commit_timeout_s: float = 0.0, id: str = "inside"
) -> AsyncGenerator[JetStreamBackend]:
    """A running engine that holds all partitions; its backend."""
    backend = await connect(url or world.server.url, world.names, name="engine")
    if commit_timeout_s:
        backend.log._batches._timeout_s = commit_timeout_s  # a lost reply is waited for so long
    engine = Engine(backend, world.names, Registry(app.sagas), engine_id=id)
    await engine.start()
    try:
        await eventually(
            lambda: len(engine.partitions) == backend.partitions, 20, "all partitions being held"
        )
        died = asyncio.create_task(engine.wait())
        yield backend
        assert not died.done(), "the engine has died"
        died.cancel()
        await asyncio.gather(died, return_exceptions=True)
    finally:
        await engine.stop()
        await backend.close()


async def letters(world: World, backend: JetStreamBackend) -> list[DeadLetter]:
    """All dead letters."""
    found = [m async for m in backend.log.latest(world.names.dead_letters())]
    return [msgspec.json.decode(message.data, type=DeadLetter) for message in found]
