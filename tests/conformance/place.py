"""Where a conformance test runs: one fresh installation on memory or on a real server.

Goal: one text of a test for both. Method: a place opens backends, and it alone knows how time
passes there, virtually in memory and really on a server, so that a test only says what it waits for
and how long at most.
"""

from __future__ import annotations

import asyncio
import uuid
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from store.memory import MemoryBroker
from store.port import Backend
from store.subjects import Names

T = TypeVar("T")

STEP_S = 0.02
WITHIN_S = 10.0


def fresh_names() -> Names:
    """Names that no other test uses."""
    token = uuid.uuid4().hex[:12]
    return Names(namespace=f"s{token}", bucket=f"B{token}")


class Place(ABC):
    """One installation; ``names`` and ``partitions`` say which."""

    partitions = 4

    def __init__(self) -> None:
        self.names = fresh_names()
        self._opened: list[Backend] = []

    async def backend(self) -> Backend:
        """Another process's ports, closed at the end of the test."""
        backend = await self._open()
        self._opened.append(backend)
        return backend

    async def close(self) -> None:
        """Close every backend that was opened."""
        for backend in self._opened:
            await backend.close()

    async def until(self, look: Callable[[], Awaitable[T]], within_s: float = WITHIN_S) -> T:
        """What ``look`` gives as soon as that is true; fails after ``within_s`` of the place's
        time.
        """
        for _ in range(int(within_s / STEP_S)):
            if found := await look():
                return found
            await self.pass_time(STEP_S)
        raise AssertionError(f"nothing came of {look} within {within_s} s")

    async def result(self, work: Awaitable[T], within_s: float = WITHIN_S) -> T:
        """The result of ``work``, while time passes; cancels it and fails after ``within_s``."""
        task = asyncio.ensure_future(work)
        try:
            for _ in range(int(within_s / STEP_S)):
                if task.done():
                    return task.result()
                await self.pass_time(STEP_S)
            raise AssertionError(f"not done within {within_s} s")
        finally:
            task.cancel()
            await asyncio.wait({task})

    def soon(self, delay_s: float) -> datetime:
        """The moment ``delay_s`` seconds from now, by the place's clock."""
        return self.now() + timedelta(seconds=delay_s)

    @abstractmethod
    async def _open(self) -> Backend: ...

    @abstractmethod
    def now(self) -> datetime:
        """The place's time, UTC."""

    @abstractmethod
    async def pass_time(self, seconds: float) -> None:
        """Let time pass."""


class MemoryPlace(Place):
    """A memory broker with a virtual clock: waiting costs nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.broker = MemoryBroker(self.names, self.partitions)

    async def _open(self) -> Backend:
        return self.broker.backend()

    def now(self) -> datetime:
        """See Place."""
        return datetime.fromtimestamp(self.broker.clock.now_ns() / 1e9, UTC)

    async def pass_time(self, seconds: float) -> None:
        """See Place."""
        await self.broker.advance(seconds)


class JetStreamPlace(Place):
    """Streams of their own on a running nats-server."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    async def _open(self) -> Backend:
        from store.jetstream.backend import connect

        return await connect(self._url, self.names, partitions=self.partitions)

    def now(self) -> datetime:
        """See Place."""
        return datetime.now(UTC)

    async def pass_time(self, seconds: float) -> None:
        """See Place."""
        passed = asyncio.Event()
        asyncio.get_running_loop().call_later(seconds, passed.set)
        await passed.wait()
