"""Goal: of 1,000 clients 100 don't read, and neither publishers nor the 900 others notice.

Method: a hub behind a real HTTP server over a real broker, the clients in another process. Writers
and other requests are timed while the crowd listens; clients measure from the transition's own time
to its arrival. Limits are wide: the test shares its machine.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest

from server.live.limits import Limits
from store.jetstream.backend import connect
from store.subjects import Names
from tests.conftest import NatsServer
from tests.live_crowd import Seen
from tests.live_kit import Served, Writer, served
from tests.waiting import eventually

READING, STALLED = 900, 100
EVENTS_PER_S = 40
SECONDS = 10
STATE = "s" * 20_000
SLOW_S = 2.0  # nobody who reads waits longer
GROWTH_BYTES_MAX = 150 * 1024 * 1024


@asynccontextmanager
async def crowd(port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """The clients, connected."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.live_crowd", str(port), str(READING), str(STALLED)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 60) == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.asyncio
async def test_a_crowd_with_stalled_clients_disturbs_nobody(
    nats_server: NatsServer, fresh_names: Callable[[], Names]
) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    backend = await connect(nats_server.url, fresh_names(), partitions=2)
    limits = Limits(write_s=3.0, heartbeat_s=5.0)
    try:
        writer = Writer(backend, backend.names, own_clock=True)
        async with served(writer, limits=limits) as live:
            before = _resident_bytes()
            async with crowd(live.port) as process:
                assert live.hub.seats.taken == READING + STALLED
                commits, requests = await _work(writer, live)
                await eventually(lambda: live.hub.seats.taken == READING, 10, "the cut")
                growth = _resident_bytes() - before
                seen = await _told(process, READING * len(writer.written))
            await eventually(lambda: live.hub.seats.taken == 0)
    finally:
        await backend.close()
    print(
        f"{seen}; commits p99 {_p99(commits):.3f} s, requests p99 {_p99(requests):.3f} s,"
        f" memory +{growth / 1e6:.0f} MB"
    )
    assert (seen.dropped, seen.ended) == (0, 0)
    assert seen.events == READING * len(writer.written)
    assert seen.p99_s < SLOW_S
    assert _p99(commits) < SLOW_S / 3
    assert _p99(requests) < SLOW_S
    assert growth < GROWTH_BYTES_MAX


async def _work(writer: Writer, live: Served) -> tuple[list[float], list[float]]:
    """Write at a steady pace and ask for something else meanwhile; how long each took."""
    commits: list[float] = []
    requests: list[float] = []
    over = asyncio.Event()

    async def ask() -> None:
        async with httpx.AsyncClient(base_url=live.service.address) as client:
            while not over.is_set():
                began_s = time.perf_counter()
                assert (await client.get("/schema/openapi.json")).status_code == 200
                requests.append(time.perf_counter() - began_s)

    asking = asyncio.create_task(ask())
    loop = asyncio.get_running_loop()
    for number in range(EVENTS_PER_S * SECONDS):
        due = loop.create_future()
        loop.call_later(1 / EVENTS_PER_S, due.set_result, None)
        began_s = time.perf_counter()
        await writer.write(f"k{number % 50}", state=STATE)
        commits.append(time.perf_counter() - began_s)
        await due
    over.set()
    await asking
    return commits, requests


async def _told(process: asyncio.subprocess.Process, total: int) -> Seen:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"%d" % total)
    process.stdin.close()
    return msgspec.json.decode(await process.stdout.readline(), type=Seen)


def _p99(seconds: list[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)]


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
