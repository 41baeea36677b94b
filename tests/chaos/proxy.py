"""A TCP proxy before nats-server that loses what it is told to lose, message by message.

It reads the server's side of the protocol well enough to find whole messages, so that losing one
leaves the connection healthy: the request was carried out and nobody ever hears of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from urllib.parse import urlsplit

Lose = Callable[[bytes, bytes], bool]  # subject and payload of a message to the client


class Proxy:
    """Forwards a port of loopback to a server; ``lose`` decides on each message to a client."""

    def __init__(self, url: str, lose: Lose) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 4222
        self._lose = lose
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
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

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection(self._host, self._port)
        up = asyncio.create_task(_copy(reader, ours))
        down = asyncio.create_task(self._filter(theirs, writer))
        self._tasks |= {up, down}
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
            for side in (ours, writer):
                side.close()
                with contextlib.suppress(OSError):
                    await side.wait_closed()

    async def _filter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            words = line.split()
            if words and words[0] in (b"MSG", b"HMSG"):
                body = await reader.readexactly(int(words[-1]) + 2)
                head = int(words[-2]) if words[0] == b"HMSG" else 0
                if self._lose(words[1], body[head:-2]):
                    self.lost += 1
                    continue
                writer.write(line + body)
            else:
                writer.write(line)
            await writer.drain()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
