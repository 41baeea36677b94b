"""The measurements: each takes a running broker and returns figures; nothing is printed here."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from msgspec import Struct

from jobs.engine import Engine
from jobs.telemetry import BatchCommitted, Telemetry
from store.jetstream.backend import JetStreamBackend, connect
from store.port import Outgoing
from store.subjects import Names
from tests.benchmarks import app
from tests.benchmarks.closed_loop import Load, closed_loop
from tests.benchmarks.raw import raw_loop, raw_steps_ms

BACKLOG = 20_000
RAW_BATCH = 480
CHECKOUTS = Load(
    saga="CheckoutSaga",
    event="OrderCreated",
    payload=lambda key, number: app.order(key),
    ends=(b'"status":"completed"',),
)


class EngineFigures(Struct, frozen=True):
    """Transitions a second of the raw loop and of the engine, on one broker after each other."""

    raw_per_s: float
    engine_per_s: float

    @property
    def ratio(self) -> float:
        """Engine over raw loop."""
        return self.engine_per_s / self.raw_per_s


class CheckoutFigures(Struct, frozen=True):
    """Whole checkouts: how many a second, and how long one took (milliseconds)."""

    in_flight: int
    per_s: float
    p50_ms: float
    p99_ms: float


class SizeFigures(Struct, frozen=True):
    """An engine with many instances: peak memory, and seconds from start to first transition."""

    instances: int
    peak_mb: float
    start_s: float


def fresh_names() -> Names:
    """Streams of their own for one measurement."""
    tail = secrets.token_hex(4)
    return Names(namespace=f"bench{tail}", bucket=f"BENCH{tail}")


async def publish_orders(
    backend: JetStreamBackend, names: Names, total: int, first: int = 0
) -> None:
    """A backlog of OrderCreated events, numbered from ``first``."""
    total += first
    for start in range(first, total, 500):
        batch = [
            Outgoing(names.event("OrderCreated", f"o-{n}"), app.order(f"o-{n}"))
            for n in range(start, min(start + 500, total))
        ]
        await backend.door.publish_batch(batch)


class _Count:
    """Counts transitions and remembers when the first and the last were committed."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._first_count = 0
        self._first_at = 0.0
        self._last_at = 0.0
        self.finished = asyncio.Event()

    def told(self, moment: Telemetry) -> None:
        """One more commit."""
        if not isinstance(moment, BatchCommitted):
            return
        self._last_at = time.perf_counter()
        if not self._first_at:
            self._first_at, self._first_count = self._last_at, len(moment.transitions)
        self._done += len(moment.transitions)
        if self._done >= self._total:
            self.finished.set()

    @property
    def per_s(self) -> float:
        """Transitions a second between the first and the last commit."""
        return (self._done - self._first_count) / (self._last_at - self._first_at)


async def engine_against_raw(url: str, total: int = BACKLOG) -> EngineFigures:
    """Engine and raw loop over the same waiting events, each giving a revision and a command."""
    names = fresh_names()
    backend = await connect(url, names)
    try:
        await publish_orders(backend, names, total)
        raw = await raw_loop(backend, names, total, RAW_BATCH)
        probe = _Count(total)
        engine = Engine(backend, names, app.registry(), engine_id="bench", hook=probe)
        await engine.start()
        await probe.finished.wait()
        await engine.stop()
        return EngineFigures(raw, probe.per_s)
    finally:
        await backend.close()


@contextlib.asynccontextmanager
async def role(name: str, url: str, names: Names) -> AsyncIterator[asyncio.subprocess.Process]:
    """A benchmark process that is ready, ended in order afterwards."""
    async with spawned(name, url, names) as (process, _):
        yield process


@contextlib.asynccontextmanager
async def spawned(
    name: str, url: str, names: Names
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The same with the line it printed when it was ready."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.benchmarks.roles",
        name,
        url,
        names.namespace,
        names.bucket,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        line = b"" if process.stdout is None else await process.stdout.readline()
        if not line:
            raise RuntimeError(f"the {name} process of the benchmark did not start")
        yield process, line.decode().strip()
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def broker_floor_ms(url: str) -> float:
    """What the messages of one checkout cost on the broker alone, one after the other."""
    names = fresh_names()
    backend = await connect(url, names)
    try:
        return await raw_steps_ms(backend, names)
    finally:
        await backend.close()


async def checkouts(url: str, total: int, in_flight: int) -> CheckoutFigures:
    """``total`` checkouts, ``in_flight`` at a time, with engine and jobs as processes."""
    names = fresh_names()
    backend = await connect(url, names)
    try:
        async with role("engine", url, names), role("jobs", url, names):
            await closed_loop(backend, names, CHECKOUTS, max(in_flight, 20), in_flight, "warm")
            started = time.perf_counter()
            took = await closed_loop(backend, names, CHECKOUTS, total, in_flight, "order")
            seconds = time.perf_counter() - started
    finally:
        await backend.close()
    took.sort()
    return CheckoutFigures(
        in_flight=in_flight,
        per_s=total / seconds,
        p50_ms=1000 * took[len(took) // 2],
        p99_ms=1000 * took[int(len(took) * 0.99)],
    )


async def many_instances(url: str, total: int) -> SizeFigures:
    """Peak memory of an engine that made ``total`` instances; how quickly the next one starts."""
    names = fresh_names()
    backend = await connect(url, names)
    try:
        await publish_orders(backend, names, total)
        async with role("engine", url, names) as process:
            await _wait_for(backend, names, f"o-{total - 1}", total)
            peak_mb = _peak_mb(process.pid)
        await backend.door.publish(names.event("OrderCreated", "next"), app.order("next"))
        started = time.perf_counter()
        async with role("engine", url, names):
            await _wait_for(backend, names, "next", 1)
            start_s = time.perf_counter() - started
    finally:
        await backend.close()
    return SizeFigures(total, peak_mb, start_s)


async def _wait_for(backend: JetStreamBackend, names: Names, key: str, total: int) -> None:
    """Until the instance of ``key`` exists and every partition has nothing left to do."""
    async for stored in backend.log.watch(names.instance("CheckoutSaga", key), 0):
        if stored.data:
            break
    if total == 1:
        return
    seen = 0
    async for _ in backend.log.watch(names.instances("CheckoutSaga"), 0):
        seen += 1
        if seen == total:
            return


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def to_json(figures: Struct) -> str:
    """The figures as one line."""
    return msgspec.json.encode(figures).decode()
