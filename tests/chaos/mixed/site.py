"""The installation that a mixed run works on: a broker, engines, workers and an API, each behind a
line of its own to the broker, and the client that puts load on them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from store.jetstream import JetStreamBackend
from tests.chaos.mixed.client import LoadClient
from tests.chaos.mixed.oplog import OpLog
from tests.chaos.processes import Process, World, world
from tests.chaos.proxy import Proxy


class Unit(NamedTuple):
    """A process and its line to the broker; ``ready`` is a word of it when it works."""

    name: str
    process: Process
    line: Proxy
    ready: str

    async def start(self) -> None:
        """Start it and wait until it works."""
        await self.process.start(self.ready)


class Site:
    """Everything that can be struck, and the client."""

    def __init__(
        self,
        home: World,
        direct: JetStreamBackend,
        engines: list[Unit],
        workers: list[Unit],
        api: Unit,
        door: Proxy,
    ) -> None:
        self.world = home
        self.direct = direct  # a connection that no fault but the broker's own meets
        self.engines = engines
        self.workers = workers
        self.api = api
        self.door = door
        self.client: LoadClient

    @property
    def units(self) -> list[Unit]:
        """All processes but the broker."""
        return [*self.engines, *self.workers, self.api]

    @property
    def lines(self) -> list[Proxy]:
        """All lines to the broker, the publisher's too."""
        return [*(unit.line for unit in self.units), self.door]

    def signal_broker(self, number: signal.Signals) -> None:
        """Send the broker a signal."""
        os.kill(self.world.server.pid, number)

    def dead(self) -> list[str]:
        """Processes that have ended though nobody ended them, with their last words."""
        return [
            f"{unit.name} ended by itself:\n{unit.process.words()}"
            for unit in self.units
            if not unit.process.alive
        ]


@asynccontextmanager
async def open_site(home: Path, *, engines: int, workers: int) -> AsyncGenerator[Site]:
    """A running installation in ``home``, ended at the end."""
    port = _free_port()
    async with AsyncExitStack() as stack:
        made = await stack.enter_async_context(world(home))
        direct = await made.backend()  # makes the streams

        async def line() -> Proxy:
            return await stack.enter_async_context(Proxy(made.server.url))

        async def unit(role: str, number: int) -> Unit:
            name, to_broker = f"{role}-{number}", await line()
            arguments = ("-m", "tests.chaos.mixed.roles", role, to_broker.url, str(home), str(port))
            ready = "Ctrl-C stops" if role == "api" else "ready"
            return Unit(name, made.process(*arguments, name=name), to_broker, ready)

        site = Site(
            made,
            direct,
            [await unit("engine", number) for number in range(engines)],
            [await unit("jobs", number) for number in range(workers)],
            await unit("api", 0),
            await line(),
        )
        async with asyncio.TaskGroup() as starting:
            for one in site.units:
                starting.create_task(one.start())
        oplog = OpLog(home / "operations.jsonl")
        stack.callback(oplog.close)
        site.client = LoadClient(made.names, oplog, site.door.url, f"http://127.0.0.1:{port}")
        await site.client.open()
        stack.push_async_callback(site.client.close)
        yield site


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
