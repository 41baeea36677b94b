"""Goal: streams stay within their bounds, whatever their clients do, and stop when they have to.

Method: a hub behind a real HTTP server with small limits; clients that stop reading, vanish, come
in crowds, and a broker that is killed or loses its end.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest
import pytest_asyncio

from server.live import channel
from server.live.limits import Limits, Seats
from store.jetstream.backend import connect
from store.memory import MemoryBroker
from store.subjects import Names
from tests.conftest import NatsServer
from tests.live_kit import Client, Writer, served
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

QUICK = Limits(heartbeat_s=0.2, tick_s=0.05, write_s=0.5)
WIDE = "w" * 20_000  # a state of this size fills the buffers of a client that does not read


@pytest_asyncio.fixture
async def writer(fresh_names: Callable[[], Names]) -> AsyncIterator[Writer]:
    """Writes revisions into a fresh installation in memory."""
    names = fresh_names()
    broker = MemoryBroker(names, 2)
    yield Writer(broker.backend(), names)
    await broker.close()


async def test_a_client_that_does_not_read_is_cut_and_the_others_go_on(writer: Writer) -> None:
    async with (
        served(writer, limits=QUICK) as live,
        Client(live.port, "?state=true") as stalled,
        Client(live.port) as reading,
    ):
        stalled.pause()
        await eventually(lambda: live.hub.seats.taken == 2)
        count = 0
        deadline_s = time.monotonic() + 20
        while live.hub.seats.taken == 2:
            assert time.monotonic() < deadline_s
            await writer.write(*(f"k{count}-{n}" for n in range(20)), state=WIDE)
            count += 20
            await reading.events(20)
        assert live.hub.seats.taken == 1
        assert len(live.hub.streams) == 1
        await writer.write("last")
        assert (await reading.next()).data["key"] == "last"


async def test_a_slow_reader_gets_the_newest_of_each_instance_and_is_told(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "KEPT_EVENTS", 20)
    async with (
        served(writer, limits=Limits(write_s=60)) as live,
        Client(live.port, "?state=true") as slow,
        Client(live.port) as quick,
    ):
        slow.pause()
        total = 0
        for _ in range(60):  # more than all buffers hold
            await writer.write(*"abcdefghij", state=WIDE)
            total += 10
            await quick.events(10)
        slow.resume()
        got: dict[str, int] = {}
        dropped = seen = 0
        while got.get("j", 0) < 60:
            event = await slow.next()
            if event.name == "saga:dropped":
                dropped += event.data["count"]
                continue
            seen += 1
            version = event.data["version"]
            assert version > got.get(event.data["key"], 0)  # in order, and nothing twice
            got[event.data["key"]] = version
        assert dropped > 0
        assert seen + dropped == total
        assert got == dict.fromkeys("abcdefghij", 60)


async def test_a_client_that_vanished_gives_its_seat_back(writer: Writer) -> None:
    async with served(writer, limits=QUICK) as live:
        for _ in range(5):
            async with Client(live.port):
                await eventually(lambda: live.hub.seats.taken == 1)
        await eventually(lambda: live.hub.seats.taken == 0 and not live.hub.streams)
        assert live.hub.channels == 0


async def test_a_stream_ends_after_its_life_and_goes_on_where_it_was(writer: Writer) -> None:
    limits = Limits(life_s=0.5, tick_s=0.05, heartbeat_s=5)
    async with served(writer, limits=limits) as live:
        async with Client(live.port) as client:
            await writer.write("a")
            assert (await client.next()).data["key"] == "a"
            with pytest.raises(EOFError):
                await client.next()
        await writer.write("b")
        async with Client(live.port, last_event_id=client.last_id) as again:
            assert (await again.next()).data["key"] == "b"


async def test_streams_beyond_the_limit_are_refused(writer: Writer) -> None:
    limits = Limits(streams_max=2)
    async with (
        served(writer, limits=limits) as live,
        Client(live.port),
        Client(live.port),
        Client(live.port) as refused,
    ):
        problem = msgspec.json.decode(await refused.body())
        assert (refused.status, problem["type"]) == (503, "urn:snorri:problem:streams-exhausted")
        assert refused.headers["retry-after"] == "30"
        assert live.hub.seats.taken == 2


async def test_one_address_gets_its_share_and_loopback_all() -> None:
    seats = Seats(Limits(streams_of_address_max=2))
    with seats.seat("10.0.0.1"), seats.seat("10.0.0.1"), seats.seat("10.0.0.2"):
        with pytest.raises(Exception, match=r"from 10\.0\.0\.1 are open"), seats.seat("10.0.0.1"):
            pass
        with seats.seat("127.0.0.1"), seats.seat("127.0.0.1"), seats.seat("::1"):
            assert seats.taken == 6
    with seats.seat("10.0.0.1"):
        assert seats.taken == 1


async def test_a_stop_ends_open_streams_at_once(writer: Writer) -> None:
    async with served(writer) as live:
        clients = [Client(live.port) for _ in range(20)]
        for client in clients:
            await client.connect()
        clients[0].pause()
        began_s = time.monotonic()
        await live.service.stop()
        assert time.monotonic() - began_s < 2.0
        for client in clients[1:]:
            with pytest.raises(EOFError):
                await client.next()
        for client in clients:
            client.vanish()
        assert live.hub.seats.taken == 0


async def test_a_stop_does_not_wait_for_a_client_that_does_not_read(writer: Writer) -> None:
    async with served(writer) as live, Client(live.port, "?state=true") as stalled:
        stalled.pause()
        for n in range(40):
            await writer.write(*(f"k{n}-{m}" for m in range(20)), state=WIDE)
        began_s = time.monotonic()
        await live.service.stop()
        assert time.monotonic() - began_s < 6.0
        assert live.hub.seats.taken == 0


async def test_nothing_is_streamed_while_the_hub_is_closed(writer: Writer) -> None:
    async with served(writer) as live:
        live.hub.close_streams()
        async with Client(live.port) as client:
            assert client.status == 503
            assert msgspec.json.decode(await client.body())["next"]


@pytest.mark.chaos
async def test_streams_go_on_after_the_broker_was_killed(
    nats_server: NatsServer, fresh_names: Callable[[], Names]
) -> None:
    names = fresh_names()
    backend = await connect(nats_server.url, names, partitions=2)
    try:
        writer = Writer(backend, names)
        async with served(writer) as live, Client(live.port) as client:
            await writer.write("a")
            assert (await client.next()).data["key"] == "a"
            await asyncio.to_thread(nats_server.kill)
            await asyncio.to_thread(nats_server.restart)
            await eventually(lambda: backend.connected)
            await writer.write("b")
            await writer.write("a", status="completed")
            events = await client.events(2)
    finally:
        await backend.close()
    assert [(e.name, e.data["key"]) for e in events] == [
        ("saga:started", "b"),
        ("saga:completed", "a"),
    ]


async def test_a_log_that_lost_its_end_resets_the_streams(
    fresh_names: Callable[[], Names], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub has read further than the log goes: what is written then is told all the same."""
    monkeypatch.setattr("server.live.hub.CHECK_EVERY_S", 0.05)
    names = fresh_names()
    long, short = MemoryBroker(names, 2), MemoryBroker(names, 2)
    old, new = Writer(long.backend(), names), Writer(short.backend(), names)
    for key in "abcdef":
        await old.write(key)
    await new.write("x")
    async with served(old) as live, Client(live.port) as client:
        await old.write("g")
        assert (await client.next()).data["key"] == "g"
        live.hub.backend = new.backend
        reset = await client.next()
        await new.write("y")
        assert (await client.next()).data["key"] == "y"
    assert (reset.name, reset.id) == ("saga:reset", reset.data["seq"])
    await long.close()
    await short.close()


async def test_a_connection_whose_client_is_gone_without_a_word_has_an_end(writer: Writer) -> None:
    """The kernel gives up what is not acknowledged, and holds little for a stream."""
    async with served(writer) as live, Client(live.port) as client:
        await eventually(lambda: live.hub.seats.taken == 1)
        (connection,) = live.connections
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 512 * 1024
        assert client.status == 200
