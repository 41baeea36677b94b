"""An installation on three brokers: engines, workers and a load, of all of which some are hurt."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from store.audit import positions_of
from store.cards import EngineCard
from store.jetstream import JetStreamBackend
from store.port import StoreError, Unreachable
from store.subjects import Names
from tests.chaos.load import Load, Pauses, judge, pauses
from tests.chaos.processes import Installation, Process
from tests.cluster_kit import Brokers, brokers, in_step, leader_of
from tests.waiting import eventually, until_moment

EVERY_S = 0.06


class ClusterWorld(Installation):
    """Three brokers, and what was started on them."""

    def __init__(self, home: Path, of: Brokers) -> None:
        super().__init__(home, Names(), replicas=3)
        self.brokers = of
        self.log_stream = self.names.log_stream

    @property
    def url(self) -> str:
        """All three brokers."""
        return self.brokers.cluster.url

    async def streams(self) -> JetStreamBackend | None:
        """A connection, once the brokers have made the streams."""
        try:
            return await self.backend()
        except StoreError:
            return None


class Trial:
    """A load on a cluster, and the faults of one test; ends with the judgement."""

    def __init__(self, world: ClusterWorld, backend: JetStreamBackend | None) -> None:
        assert backend is not None
        self.world = world
        self.backend = backend
        self.engines = [world.runner("engine") for _ in range(2)]
        self.workers = [world.runner("jobs") for _ in range(2)]
        self.load = Load(backend, world.names, world.home / "operations", EVERY_S)
        self.faults: list[tuple[str, int]] = []

    async def begin(self) -> None:
        """Start everything, and wait until the engines share the partitions."""
        await asyncio.gather(*(process.start() for process in (*self.engines, *self.workers)))
        await eventually(self.shared, 30, "an even share of the partitions")
        self.load.start()
        await self.calm()

    def fault(self, what: str) -> int:
        """Note that something goes wrong now; the moment."""
        now = time.time_ns()
        self.faults.append((what, now))
        return now

    async def leader(self) -> str:
        """Who leads the log, once somebody does."""

        async def found() -> str:
            try:
                return await leader_of(self.backend, self.world.log_stream)
            except Unreachable:
                return ""

        return await eventually(found, 30, "a leader of the log")

    async def calm(self, seconds: float = 1.0) -> None:
        """Let the load run for a while with nothing wrong."""
        await until_moment(time.monotonic() + seconds)

    async def mended(self) -> None:
        """Wait until all copies are as new as their leader's and the partitions are shared."""

        async def whole() -> bool:
            names = self.world.names
            try:
                streams = (names.log_stream, names.events_stream, names.meta_stream)
                return all([await in_step(self.backend, stream) for stream in streams])
            except StoreError:
                return False

        await eventually(whole, 40, "all copies being in step")
        await eventually(self.shared, 40, "an even share of the partitions")
        before = await self._positions()

        async def moved() -> bool:
            now = await self._positions()
            return all(now[number] != at for number, at in before.items())

        await eventually(moved, 40, "every partition moving")
        await self.calm()

    async def _positions(self) -> dict[int, int]:
        """The revision of each partition's position; of none while nobody answers."""
        try:
            found = await positions_of(self.backend.log, self.world.names, self.backend.partitions)
        except StoreError:
            return dict.fromkeys(range(self.backend.partitions), 0)
        return {number: stored.seq for number, stored in found.items()}

    async def shared(self) -> bool:
        """Whether the engines that run share the partitions evenly."""
        running = [engine.pid for engine in self.engines if engine.alive]
        assert running, "no engine is running"
        try:
            entries = await self.backend.meta.entries("engine.")
        except Unreachable:
            return False
        cards = [msgspec.json.decode(e.data, type=EngineCard) for e in entries if e.data]
        shares = {card.pid: len(card.partitions) for card in cards}
        return shares == dict.fromkeys(running, self.backend.partitions // len(running))

    async def end(self) -> Pauses:
        """Stop the load, judge, and tell how long each fault was felt."""
        orders = await self.load.stop()
        await judge(self.world, self.backend, orders)
        felt = await pauses(self.world, self.backend)
        print(f"{len(orders)} orders")
        ends = [*(at for _, at in self.faults[1:]), time.time_ns()]
        for (what, at), until in zip(self.faults, ends, strict=True):
            print(f"{what}: longest pause of a partition {felt.longest_s(at, until):.1f} s")
        return felt


@asynccontextmanager
async def trial(home: Path) -> AsyncGenerator[Trial]:
    """A cluster under load in ``home``, ended whatever happens."""
    async with brokers(home / "data") as of:
        world = ClusterWorld(home, of)
        try:
            made = Trial(world, await eventually(world.streams, 30, "the streams being made"))
            await made.begin()
            yield made
        except BaseException:
            world.tell()
            raise
        finally:
            await world.close()


def pause(pid: int) -> None:
    """Stop a process where it stands."""
    os.kill(pid, signal.SIGSTOP)


def go_on(pid: int) -> None:
    """Let it go on."""
    os.kill(pid, signal.SIGCONT)


async def replaced(process: Process, number: signal.Signals) -> None:
    """End a process, at once or in order, and start it again."""
    await process.end(number)
    await process.start()
