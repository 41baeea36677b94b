"""A crowd of SSE clients in a process of its own: many that read, some that never do.

``python -m tests.live_crowd PORT READING STALLED`` prints ``ready`` when all are connected. Its
input says how many events they have to see in all; when they have, or some seconds later, it prints
one line of JSON with what they saw.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import sys
import time
from datetime import datetime

import msgspec
from msgspec import Struct

from tests.waiting import eventually

CONNECTING_AT_ONCE = 50


class Seen(Struct):
    """What the reading clients saw: events, how many were dropped, and latencies in seconds."""

    events: int = 0
    dropped: int = 0
    ended: int = 0
    p50_s: float = 0.0
    p99_s: float = 0.0
    max_s: float = 0.0


class _Client(asyncio.Protocol):
    """Notes how long ago each event happened that comes in."""

    def __init__(self, seen: Seen, latencies: list[float], begun: asyncio.Future[None]) -> None:
        self._seen = seen
        self._latencies = latencies
        self._begun = begun
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        if not self._begun.done():
            self._begun.set_result(None)
        now_s = time.time()
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"event: saga:dropped"):
                self._seen.dropped += 1
            elif line.startswith(b"data: "):
                at = line.find(b'"at":"')
                if at > 0:
                    text = line[at + 6 : line.index(b'"', at + 6)].decode()
                    self._latencies.append(now_s - datetime.fromisoformat(text).timestamp())
                    self._seen.events += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._seen.ended += 1


def _request(query: str) -> bytes:
    return f"GET /api/v1/sagas/subscribe{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


async def main(port: int, reading: int, stalled: int) -> None:
    """Connect all, read until the input ends, tell."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loop = asyncio.get_running_loop()
    seen, latencies = Seen(), list[float]()
    gate = asyncio.Semaphore(CONNECTING_AT_ONCE)
    silent: list[socket.socket] = []
    transports: list[asyncio.Transport] = []

    async def read() -> None:
        async with gate:
            begun: asyncio.Future[None] = loop.create_future()
            transport, _ = await loop.create_connection(
                lambda: _Client(seen, latencies, begun), "127.0.0.1", port
            )
            transport.write(_request(""))
            transports.append(transport)
            await begun

    async def stall() -> None:
        async with gate:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", port))
            await loop.sock_sendall(sock, _request("?state=true"))
            await loop.sock_recv(sock, 64)  # the answer has begun, and that is all it reads
            silent.append(sock)

    await asyncio.gather(*(read() for _ in range(reading)), *(stall() for _ in range(stalled)))
    print("ready", flush=True)
    total = int(await loop.run_in_executor(None, sys.stdin.read))
    with contextlib.suppress(AssertionError):
        await eventually(lambda: seen.events >= total)
    told = msgspec.structs.replace(seen)
    latencies.sort()
    if latencies:
        told.p50_s = latencies[len(latencies) // 2]
        told.p99_s = latencies[int(len(latencies) * 0.99)]
        told.max_s = latencies[-1]
    print(msgspec.json.encode(told).decode(), flush=True)
    for one in (*transports, *silent):
        with contextlib.suppress(OSError):
            one.close()


if __name__ == "__main__":
    asyncio.run(main(*(int(word) for word in sys.argv[1:4])))
