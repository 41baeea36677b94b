"""The projections against a raw loop that pulls and decodes the same streams, and live lag.

The log is made by an engine: checkouts of four transitions, their jobs' answers published by hand
with records of attempts, so that every table gets its rows. The projector runs in a process of its
own, since its peak memory is measured.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from jobs.engine import Engine
from jobs.projector import Projector
from sagas.instance import Instance
from server.tuning import tune
from store import codec
from store.duck.projection import DuckProjections
from store.jetstream.backend import JetStreamBackend, connect
from store.live_mask import LiveMask
from store.port import Outgoing
from store.subjects import Names
from tests.benchmarks import app
from tests.benchmarks.measure import fresh_names, publish_orders
from tests.waiting import busy, eventually

ANSWERS = (
    ("PaymentCompleted", "process-payment", {"transactionId": "txn-1"}),
    ("InventoryReserved", "reserve-inventory", {"reservationId": "res-1"}),
    ("ShipmentCreated", "create-shipment", {"trackingNumber": "trk-1"}),
)
CHUNK = 500  # events of one batch
WAVE = 5_000  # orders that are on their way together
STEPS = 4  # transitions of an order


class ProjectionFigures(Struct, frozen=True, kw_only=True):
    """Transitions a second of the raw loop and of the projections, on one log after each other."""

    transitions: int
    raw_per_s: float
    projected_per_s: float
    peak_mb: float

    @property
    def ratio(self) -> float:
        """Projections over raw loop."""
        return self.projected_per_s / self.raw_per_s


async def projection(url: str, folder: Path, orders: int) -> ProjectionFigures:
    """Make a log of ``orders`` checkouts, read it raw, then project it from nothing."""
    names = fresh_names()
    backend = await connect(url, names)
    try:
        await fill(backend, names, orders)
        raw_s = await raw_s_of(backend, names)
    finally:
        await backend.close()
    projected_s, peak_mb = await _projected(url, names, folder)
    transitions = STEPS * orders
    return ProjectionFigures(
        transitions=transitions,
        raw_per_s=transitions / raw_s,
        projected_per_s=transitions / projected_s,
        peak_mb=peak_mb,
    )


async def fill(backend: JetStreamBackend, names: Names, orders: int) -> None:
    """A log in which that many orders have come to their end."""
    engine = Engine(backend, names, app.registry(), engine_id="bench")
    await engine.start()
    try:
        for first in range(0, orders, WAVE):
            numbers = range(first, min(first + WAVE, orders))
            await publish_orders(backend, names, len(numbers), first)
            await _decided(backend, names, numbers[-1], 1)
            for version, answer in enumerate(ANSWERS, 1):
                await _answer(backend, names, numbers, version, *answer)
                await _decided(backend, names, numbers[-1], version + 1)
    finally:
        await engine.stop()


async def _answer(
    backend: JetStreamBackend,
    names: Names,
    numbers: range,
    version: int,
    type: str,
    target: str,
    payload: dict[str, str],
) -> None:
    body = msgspec.json.encode(payload)
    now = datetime.now(UTC)
    for start in range(0, len(numbers), CHUNK):
        batch: list[Outgoing] = []
        for number in numbers[start : start + CHUNK]:
            command = f"CheckoutSaga.o-{number}.{version}.0"
            record = codec.Execution(
                command=command,
                target=target,
                worker="w-1",
                attempt=1,
                queued=now,
                started=now,
                ended=now,
                outcome="completed",
            )
            headers = (
                (codec.CAUSE, command),
                (codec.TRACEPARENT, f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"),
                (codec.EXECUTION, msgspec.json.encode(record).decode()),
            )
            batch.append(Outgoing(names.event(type, f"o-{number}"), body, headers))
        await backend.door.publish_batch(batch)


async def _decided(backend: JetStreamBackend, names: Names, number: int, version: int) -> None:
    """Wait until the last order of a wave stands at a version, and the log stands still."""
    subject = names.instance("CheckoutSaga", f"o-{number}")
    ends = [-1]

    async def look() -> bool:
        stored = await backend.log.read(subject)
        ends.append((await backend.log.extent("log")).last)
        at = msgspec.json.decode(stored.data, type=Instance).version if stored else 0
        return at >= version and len(ends) > 4 and len(set(ends[-4:])) == 1

    await eventually(look, 600, f"order {number} at version {version}")


async def raw_s_of(backend: JetStreamBackend, names: Names) -> float:
    """Seconds to pull both streams and decode what they hold, and nothing else."""
    decode = msgspec.json.Decoder(Instance).decode
    revisions = names.instances().removesuffix("*.*")
    started_s = time.perf_counter()
    for stream in ("events", "log"):
        end = (await backend.log.extent(stream)).last
        wake = asyncio.Event()
        feed = await backend.feeds.open(stream, [">"], 0, wake.set)
        last = 0
        while last < end:
            wake.clear()
            taken = feed.take(4_000)
            if not taken:
                await wake.wait()
            for stored in taken:
                last = stored.seq
                if stored.subject.startswith(revisions):
                    decode(stored.data)
                elif stored.data:
                    msgspec.json.decode(stored.data)
        await feed.close()
    return time.perf_counter() - started_s


async def _projected(url: str, names: Names, folder: Path) -> tuple[float, float]:
    """Seconds and peak megabytes of a process that projects both streams from nothing."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks.projecting"),
        *(url, names.namespace, names.bucket, str(folder)),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    told = json.loads(out)
    return told["seconds"], told["peak_mb"]


async def project_here(url: str, namespace: str, bucket: str, folder: str) -> None:
    """Project until all is applied, then say how long it took and how much memory."""
    names = Names(namespace=namespace, bucket=bucket)
    backend = await connect(url, names)
    projections = DuckProjections(Path(folder), names, LiveMask())
    projector = Projector(backend, projections)
    started_s = time.perf_counter()
    await projector.start()
    await eventually(lambda: not (projections.progress.partial or projections.progress.lag), 3600)
    seconds = time.perf_counter() - started_s
    status = Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    await projector.stop()
    await backend.close()
    print(json.dumps({"seconds": seconds, "peak_mb": int(peak.split()[1]) / 1024}))


class LagFigures(Struct, frozen=True, kw_only=True):
    """Milliseconds from the storing of a transition until the projections show it."""

    per_s: float
    p50_ms: float
    p99_ms: float


async def live_lag(url: str, folder: Path, per_s: int, seconds: int) -> LagFigures:
    """Orders at a steady pace, each one transition; engine and projector in this process."""
    names = fresh_names()
    backend, mine = await connect(url, names), await connect(url, names)
    projections = DuckProjections(folder, names, LiveMask())
    projector = Projector(mine, projections)
    engine = Engine(backend, names, app.registry(), engine_id="bench")
    await projector.start()
    await engine.start()
    wake = asyncio.Event()
    feed = await backend.feeds.open("log", [names.instances("CheckoutSaga")], 0, wake.set)
    lags: list[float] = []

    async def watch(at_s: float, seq: int) -> None:
        await projections.wait_for(seq, 30.0)
        lags.append(1000 * (time.time() - at_s))

    async def look() -> None:
        waits: set[asyncio.Task[None]] = set()
        while True:
            await wake.wait()
            wake.clear()
            for stored in feed.take(2_000):
                waits.add(asyncio.create_task(watch(stored.at_ns / 1e9, stored.seq)))

    watcher = asyncio.create_task(look())
    started_s = time.perf_counter()
    tenth = per_s // 10
    for number in range(seconds * 10):
        await publish_orders(backend, names, tenth, number * tenth)
        await busy(max(0.0, started_s + (number + 1) / 10 - time.perf_counter()))
    took_s = time.perf_counter() - started_s
    await eventually(lambda: len(lags) >= seconds * 10 * tenth, 60)
    watcher.cancel()
    await asyncio.gather(watcher, return_exceptions=True)
    await feed.close()
    await engine.stop()
    await projector.stop()
    await mine.close()
    await backend.close()
    lags.sort()
    return LagFigures(
        per_s=len(lags) / took_s,
        p50_ms=lags[len(lags) // 2],
        p99_ms=lags[int(len(lags) * 0.99)],
    )


if __name__ == "__main__":
    tune()
    asyncio.run(project_here(*sys.argv[1:]))
