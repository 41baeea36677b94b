"""A TCP proxy before nats-server that loses, cuts, holds and delays what it is told to.

It reads the server's side of the protocol well enough to find whole messages, so that losing one
leaves the connection healthy: the request was carried out and nobody ever hears of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from tests.waiting import any_moment

Lose = Callable[[bytes, bytes], bool]  # subject and payload of a message to the client

BURST_S = 0.005


def lose_nothing(subject: bytes, payload: bytes) -> bool:
    """Every message arrives."""
    return False


class Proxy:
    """Forwards a port of loopback to a server; ``lose`` decides on each message to a client."""

    def __init__(self, url: str, lose: Lose = lose_nothing) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 4222
        self._lose = lose
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._refuses = False
        self._passes = asyncio.Event()
        self._passes.set()
        self._delay: tuple[random.Random, float, float] | None = None
        self.lost = 0
        self.url = ""

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._meet, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"nats://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self, *, refuse: bool = True) -> None:
        """Reset all connections; with ``refuse`` new ones too, until ``heal``."""
        self._refuses = refuse
        for writer in self._clients:
            writer.transport.abort()

    def hold(self) -> None:
        """Nothing arrives any more in either direction, and no connection ends, until ``heal``."""
        self._passes.clear()

    def delay(self, chance: random.Random, least_s: float, most_s: float) -> None:
        """Whatever is forwarded comes so much later, until ``heal``."""
        self._delay = (chance, least_s, most_s)

    def lose(self, lose: Lose) -> None:
        """Ask ``lose`` of each message to a client from now on, until ``heal``."""
        self._lose = lose

    def heal(self) -> None:
        """Forward everything at once; what was held arrives."""
        self._refuses, self._delay, self._lose = False, None, lose_nothing
        self._passes.set()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        try:
            theirs, ours = await asyncio.open_connection(self._host, self._port)
        except OSError:  # the server is down, and so is its proxy
            writer.transport.abort()
            return
        self._clients.add(writer)
        up = asyncio.create_task(self._copy(reader, ours))
        down = asyncio.create_task(self._filter(theirs, writer))
        self._tasks |= {up, down}
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._clients.discard(writer)
            self._tasks -= {up, down}
            for task in (up, down):
                task.cancel()
            for side in (ours, writer):  # before anything is awaited: this may be cancelled, too
                side.close()
            await asyncio.gather(up, down, return_exceptions=True)
            for side in (ours, writer):
                with contextlib.suppress(OSError):
                    await side.wait_closed()

    async def _due(self, forwarded_s: float) -> float:
        """Wait until what was read may go on its way; when that is.

        What came together stays together: the delay is one of the line, not of each message.
        """
        if self._delay is not None and time.monotonic() - forwarded_s > BURST_S:
            await any_moment(*self._delay)
        await self._passes.wait()
        return time.monotonic()

    async def _filter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        forwarded_s = 0.0
        while line := await reader.readline():
            words = line.split()
            if words and words[0] in (b"MSG", b"HMSG"):
                body = await reader.readexactly(int(words[-1]) + 2)
                head = int(words[-2]) if words[0] == b"HMSG" else 0
                if self._lose(words[1], body[head:-2]):
                    self.lost += 1
                    continue
                line += body
            forwarded_s = await self._due(forwarded_s)
            writer.write(line)
            await writer.drain()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        forwarded_s = 0.0
        while data := await reader.read(65536):
            forwarded_s = await self._due(forwarded_s)
            writer.write(data)
            await writer.drain()
