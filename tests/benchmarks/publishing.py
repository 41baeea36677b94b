"""What publishing over HTTP costs: 64 clients, each waits for its receipt before its next event.

The API runs in a process of its own as ``snorri serve`` runs it. The clients are as lean as they
can be (a socket each, no HTTP library), since they share the machine with what is measured. Beside
it stands the raw broker in the same run: the same events with the same number of publishers.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from store.jetstream.backend import JetStreamBackend, connect
from store.subjects import Names
from tests.benchmarks import app
from tests.benchmarks.measure import fresh_names, spawned

CLIENTS = 64
WARM_UP = 1_000


class PublishFigures(Struct, frozen=True):
    """Publishes a second over HTTP and on the raw broker; times of one request in milliseconds.

    ``cpu_us`` is the processor time of the API's process for one request: what is left of the
    figures when others use the machine as well.
    """

    clients: int
    http_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    raw_per_s: float

    @property
    def ratio(self) -> float:
        """HTTP over the raw broker."""
        return self.http_per_s / self.raw_per_s


async def publishes(url: str, total: int, clients: int = CLIENTS) -> PublishFigures:
    """Publish ``total`` events with ``clients`` at a time, over HTTP and then past it."""
    names = fresh_names()
    backend = await connect(url, names)
    try:
        async with spawned("api", url, names) as (process, address):
            where = urlsplit(address)
            host, port = where.hostname or "", where.port or 0
            await _over_http(host, port, WARM_UP, clients)
            started, used_s = time.perf_counter(), _cpu_s(process.pid)
            took = await _over_http(host, port, total, clients)
            seconds = time.perf_counter() - started
            used_s = _cpu_s(process.pid) - used_s
        raw_s = await _raw(backend, names, total, clients)
    finally:
        await backend.close()
    took.sort()
    return PublishFigures(
        clients=clients,
        http_per_s=total / seconds,
        p50_ms=1000 * took[len(took) // 2],
        p99_ms=1000 * took[int(len(took) * 0.99)],
        cpu_us=1e6 * used_s / total,
        raw_per_s=total / raw_s,
    )


async def _over_http(host: str, port: int, total: int, clients: int) -> list[float]:
    """Seconds each request took; raises RuntimeError for any answer but a stored event."""
    numbers = iter(range(total))
    prefix = secrets.token_hex(3)
    took: list[float] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            for number in numbers:
                started = time.perf_counter()
                writer.write(_request(f"{prefix}-{number}", host))
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(_length(head))
                if not head.startswith(b"HTTP/1.1 200") or b'"published":true' not in body:
                    raise RuntimeError(f"the API answered {head!r} {body!r}")
                took.append(time.perf_counter() - started)
        finally:
            writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return took


def _request(key: str, host: str) -> bytes:
    body = b'{"type":"OrderCreated","payload":%s,"key":"%s"}' % (app.order(key), key.encode())
    return (
        b"POST /api/v1/sagas/publish HTTP/1.1\r\nHost: %s\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
        % (host.encode(), len(body), body)
    )


def _length(head: bytes) -> int:
    at = head.lower().index(b"content-length:") + len(b"content-length:")
    return int(head[at : head.index(b"\r\n", at)])


def _cpu_s(pid: int) -> float:
    """Seconds of processor time a process has used, its own and the kernel's for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _raw(backend: JetStreamBackend, names: Names, total: int, clients: int) -> float:
    """Seconds for the same events, each a publish of its own that waits for the broker's answer."""
    numbers = iter(range(total))

    async def client() -> None:
        for number in numbers:
            key = f"raw-{number}"
            await backend.door.publish(names.event("OrderCreated", key), app.order(key))

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return time.perf_counter() - started
