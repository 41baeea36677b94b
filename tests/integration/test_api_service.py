"""Goal: the HTTP server starts where it is told, says why it can't, and always stops in time.

Method: a small application behind the real service; clients that read, stall or hang on.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from litestar import Litestar, get
from litestar.params import FromPath
from litestar.response import Stream

from server.api.intake import WholeSegments, with_whole_segments
from server.api.service import ApiService
from server.errors import HttpPortTaken
from tests.waiting import eventually

GRACE_S = 1.0


class _Streams:
    """An application with a stream that ends when it is told to, and one that never does."""

    def __init__(self) -> None:
        self.closing = asyncio.Event()
        self.running = 0

    def app(self) -> Litestar:
        """The application."""

        @get("/stream")
        async def stream() -> Stream:
            return Stream(self._until_closing())

        @get("/stubborn")
        async def stubborn() -> Stream:
            return Stream(self._for_ever())

        @get("/slow")
        async def slow() -> str:
            self.running += 1
            await self.closing.wait()
            return "done"

        @get("/echo/{key:str}")
        async def echo(key: FromPath[str]) -> str:
            return key

        app = Litestar(
            [stream, stubborn, slow, echo],
            middleware=[WholeSegments()],
            logging_config=None,
            openapi_config=None,
        )
        app.asgi_handler = with_whole_segments(app.asgi_handler)
        return app

    async def _until_closing(self) -> AsyncIterator[bytes]:
        self.running += 1
        yield b": hello\n\n"
        await self.closing.wait()
        yield b": bye\n\n"

    async def _for_ever(self) -> AsyncIterator[bytes]:
        self.running += 1
        block = b"x" * 65536
        while True:
            yield block


def _service(streams: _Streams, port: int = 0, host: str = "127.0.0.1") -> ApiService:
    return ApiService(streams.app(), host, port, closing=streams.closing.set, grace_s=GRACE_S)


@pytest.mark.asyncio
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "0.0.0.0"])
async def test_it_tells_its_address_and_starts_again_on_the_same_port(host: str) -> None:
    service = _service(_Streams(), host=host)
    await service.start()
    address = service.address
    port = int(address.rpartition(":")[2])
    assert port > 0
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{address}/echo/k")).text == "k"
    await service.stop()
    await service.wait()
    again = _service(_Streams(), port, host)
    await again.start()
    assert again.address == address
    await again.stop()


@pytest.mark.asyncio
async def test_a_taken_port_and_an_unknown_host_are_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HttpPortTaken, match=rf"port {port} .*--port"):
            await _service(_Streams(), port).start()
    with pytest.raises(HttpPortTaken, match="not known here"):
        await _service(_Streams(), host="no.such.host.invalid").start()
    with pytest.raises(HttpPortTaken, match="no address of this machine"):
        await _service(_Streams(), host="192.0.2.1").start()  # one of those for documentation


@pytest.mark.asyncio
async def test_keys_keep_their_slashes_and_percents_over_the_wire() -> None:
    service = _service(_Streams())
    await service.start()
    async with httpx.AsyncClient() as client:
        for sent, key in (("a%2Fb", "a/b"), ("a%252Fb", "a%2Fb"), ("%25", "%"), ("%2F", "/")):
            answer = await client.get(f"{service.address}/echo/{sent}")
            assert answer.text == key, sent
    await service.stop()


@pytest.mark.asyncio
async def test_what_runs_is_finished_and_streams_end_by_themselves() -> None:
    streams = _Streams()
    service = _service(streams)
    await service.start()
    async with httpx.AsyncClient(base_url=service.address) as client:
        slow = asyncio.create_task(client.get("/slow"))
        stream = asyncio.create_task(client.get("/stream"))
        await eventually(lambda: streams.running == 2)
        began = time.monotonic()
        await service.stop()
        assert time.monotonic() - began < GRACE_S
        assert (await slow).text == "done"
        assert (await stream).text == ": hello\n\n: bye\n\n"


@pytest.mark.asyncio
async def test_clients_that_hang_on_are_cut_off() -> None:
    """One reads an endless stream, one never reads it, one has only half sent its request."""
    streams = _Streams()
    service = _service(streams)
    await service.start()
    port = int(service.address.rpartition(":")[2])
    request = b"GET /stubborn HTTP/1.1\r\nHost: localhost\r\n\r\n"
    stalled = socket.create_connection(("127.0.0.1", port))
    stalled.sendall(request)
    half = socket.create_connection(("127.0.0.1", port))
    half.sendall(b"GET /echo/k HTTP/1.1\r\nHost:")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    reading = asyncio.create_task(_read_all(reader))
    await eventually(lambda: streams.running == 2)
    began = time.monotonic()
    await asyncio.gather(service.stop(), service.stop())
    assert time.monotonic() - began < GRACE_S + 2.5
    await asyncio.wait_for(reading, 5)
    for left in (stalled, half):
        left.close()
    writer.close()
    await service.wait()


async def _read_all(reader: asyncio.StreamReader) -> None:
    try:
        while await reader.read(1 << 20):
            pass
    except ConnectionError:
        pass


@pytest.mark.asyncio
async def test_signals_are_left_to_the_process() -> None:
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    service = _service(_Streams())
    await service.start()
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before
    await service.stop()
