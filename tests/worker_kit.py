"""What tests of workers share: a floor to work on, commands to send, results and moments to await.

A floor is a fresh installation in memory or on a server. Results are read through a feed of the
events stream, as the engine reads them; moments come from the worker's telemetry, so that a test
waits for what happened and never for time to pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from jobs.job import AnyJob, JobRegistry
from jobs.telemetry import Telemetry
from jobs.worker import Worker
from sagas.names import command_id, escape
from store import codec
from store.memory import Clock, Faults, MemoryBroker, SystemClock
from store.port import Backend, Committed, Feed, Outgoing
from store.subjects import Names
from tests.waiting import busy

T = TypeVar("T")

WITHIN_S = 15.0
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Result(Struct, frozen=True):
    """An event of the events stream as a test looks at it."""

    type: str
    key: str | None
    payload: Any
    headers: dict[str, str]

    @property
    def execution(self) -> codec.Execution:
        """The record of the attempt that it carries."""
        return msgspec.json.decode(self.headers[codec.EXECUTION], type=codec.Execution)


class Told:
    """A hook that keeps all moments and lets a test wait for some."""

    def __init__(self) -> None:
        self.moments: list[Telemetry] = []
        self._more = asyncio.Event()

    def told(self, moment: Telemetry) -> None:
        """See Hook."""
        self.moments.append(moment)
        self._more.set()

    def of(self, kind: type[T]) -> list[T]:
        """All moments of one kind."""
        return [moment for moment in self.moments if isinstance(moment, kind)]

    async def seen(self, kind: type[T], count: int = 1) -> list[T]:
        """The moments of a kind once there are ``count`` of them."""
        async with asyncio.timeout(WITHIN_S):
            while len(found := self.of(kind)) < count:
                self._more.clear()
                await self._more.wait()
        return found


class Floor:
    """One installation; ``backends`` opens another process's ports."""

    def __init__(self, names: Names, backend: Backend, again: Callable[[], Awaitable[Backend]]):
        self.names = names
        self.backend = backend
        self.told = Told()
        self.advance: Callable[[float], Awaitable[None]] | None = None
        self._again = again
        self._feed: Feed | None = None
        self._more = asyncio.Event()
        self._results: list[Result] = []
        self.workers: list[Worker] = []
        self._backends = [backend]
        self._sent = 0

    async def other(self) -> Backend:
        """The ports of another process."""
        backend = await self._again()
        self._backends.append(backend)
        return backend

    async def worker(self, *jobs: AnyJob, backend: Backend | None = None, **more: Any) -> Worker:
        """A started worker that the floor stops at its end."""
        worker = Worker(
            backend or self.backend,
            self.names,
            JobRegistry(jobs),
            **({"hook": self.told, "grace_s": 5.0} | more),
        )
        await worker.start()
        self.workers.append(worker)
        return worker

    async def send(
        self, payload: object = None, *, key: str = "o-1", target: str = "pay", **headers: str
    ) -> str:
        """Store a command as the engine does; its id. Extra headers by the names of ``codec``."""
        self._sent += 1
        id = command_id("Shop", key, self._sent, 0)
        told = {
            codec.COMMAND_ID: id,
            codec.SAGA: escape("Shop"),
            codec.KEY: escape(key),
            codec.VERSION: str(self._sent),
            codec.TRACEPARENT: TRACE,
        } | {getattr(codec, name): value for name, value in headers.items()}
        await self.put(target, key, msgspec.json.encode(payload), told)
        return id

    async def put(self, target: str, key: str, body: bytes, headers: dict[str, str]) -> None:
        """Store anything on a command's subject."""
        message = Outgoing(self.names.command(target, key), body, tuple(headers.items()))
        outcome = await self.backend.log.commit([message])
        assert isinstance(outcome, Committed), outcome

    async def results(self, count: int, type: str | None = None) -> list[Result]:
        """All events stored so far, of one type if given, once there are ``count`` of those."""
        async with asyncio.timeout(WITHIN_S):
            while len(found := await self._look(type)) < count:
                self._more.clear()
                await self._more.wait()
        return found

    async def result(self, type: str | None = None) -> Result:
        """The one event (of a type)."""
        found = await self.results(1, type)
        assert len(found) == 1, found
        return found[0]

    async def _look(self, type: str | None) -> list[Result]:
        if self._feed is None:
            filters = [
                f for p in range(self.backend.partitions) for f in self.names.event_filters(p)
            ]
            self._feed = await self.backend.feeds.open("events", filters, 0, self._more.set)
        while taken := self._feed.take(100):
            for stored in taken:
                name, key = self.names.parse_event(stored.subject)
                payload = msgspec.json.decode(stored.data)
                self._results.append(Result(name, key, payload, dict(stored.headers)))
        return [result for result in self._results if type in (None, result.type)]

    async def close(self) -> None:
        """Stop all workers and close all ports."""
        for worker in self.workers:
            await worker.stop()
        if self._feed is not None:
            await self._feed.close()
        for backend in self._backends:
            await backend.close()


def memory_floor(clock: Clock | None = None, faults: Faults | None = None) -> Floor:
    """A floor in memory, by the machine's clock unless another is given."""
    names = Names()
    broker = MemoryBroker(names, clock=clock or SystemClock(), faults=faults)

    async def again() -> Backend:
        return broker.backend()

    floor = Floor(names, broker.backend("first"), again)
    floor.advance = broker.advance
    return floor


async def jetstream_floor(url: str, names: Names) -> Floor:
    """A floor on a server."""
    from store.jetstream import connect

    async def again() -> Backend:
        return await connect(url, names)

    return Floor(names, await again(), again)


def attempts(results: list[Result]) -> list[tuple[int, str]]:
    """Number and outcome of the attempts that results report."""
    return [(r.execution.attempt, r.execution.outcome) for r in results]


class Room:
    """Work that lasts until ``size`` jobs were in it together; ``most`` is how many were."""

    def __init__(self, size: int) -> None:
        self.most = 0
        self._size = size
        self._inside = 0
        self._full = asyncio.Event()

    async def visit(self) -> None:
        """Come in, wait for the others the first time, let the loop turn, leave."""
        self._inside += 1
        self.most = max(self.most, self._inside)
        if self.most >= self._size:
            self._full.set()
        await self._full.wait()
        await busy(0.005)
        self._inside -= 1
