"""A closed loop of load: so many instances at a time, each timed from its event to its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from msgspec import Struct

from store.jetstream.backend import JetStreamBackend
from store.subjects import Names


class Load(Struct, frozen=True, kw_only=True):
    """The event that begins an instance of ``saga``, and what in a document says that it ended."""

    saga: str
    event: str
    payload: Callable[[str, int], bytes]
    ends: tuple[bytes, ...]


async def closed_loop(
    backend: JetStreamBackend, names: Names, load: Load, total: int, in_flight: int, prefix: str
) -> list[float]:
    """How long each of ``total`` instances took (s), ``in_flight`` of them at a time."""
    waiting: dict[str, tuple[float, asyncio.Future[None]]] = {}
    took: list[float] = []
    wake = asyncio.Event()
    feed = await backend.feeds.open("log", [names.instances(load.saga)], 0, wake.set)

    async def listen() -> None:
        while True:
            await wake.wait()
            wake.clear()
            while taken := feed.take(500):
                now = time.perf_counter()
                for stored in taken:
                    if any(end in stored.data[:200] for end in load.ends):
                        one = waiting.pop(stored.subject, None)
                        if one is not None:
                            took.append(now - one[0])
                            one[1].set_result(None)

    numbers = iter(range(total))

    async def lane() -> None:
        for number in numbers:
            key = f"{prefix}-{number}"
            done = asyncio.get_running_loop().create_future()
            waiting[names.instance(load.saga, key)] = (time.perf_counter(), done)
            await backend.door.publish(names.event(load.event, key), load.payload(key, number))
            await done

    listener = asyncio.create_task(listen())
    try:
        await asyncio.gather(*(lane() for _ in range(in_flight)))
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
        await feed.close()
    return took
