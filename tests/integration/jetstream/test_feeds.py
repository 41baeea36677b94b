"""Feeds, histories and watches over crashes: each message once, in order, whatever breaks.

Method: a publisher that knows which sequences were acknowledged, kill -9 of the server and removal
of the consumer underneath, and then a comparison with what the stream holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from store.jetstream import JetStreamBackend, api
from store.jetstream import reader as reading
from store.jetstream.link import Link
from store.jetstream.parser import one_by_one
from store.port import Committed, Outgoing, Stored, Unreachable
from store.subjects import Names
from tests.conftest import NatsServer
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio


def _events(names: Names, count: int, size: int = 2) -> list[Outgoing]:
    return [Outgoing(names.event("T", f"k{n}"), b"x" * size) for n in range(count)]


async def _stream_seqs(backend: JetStreamBackend, names: Names, link: Link) -> list[int]:
    """What the events stream holds, by its own account (nothing is ever removed from it)."""
    state = (await api.ask(link, f"STREAM.INFO.{names.events_stream}"))["state"]
    return list(range(state["first_seq"], state["last_seq"] + 1))


async def _consumers(link: Link, stream: str) -> list[str]:
    return (await api.ask(link, f"CONSUMER.NAMES.{stream}")).get("consumers") or []


async def _read_until(feed, seen: list[Stored], count: int) -> None:
    def enough() -> bool:
        seen.extend(feed.take(1000))
        return len(seen) >= count

    await eventually(enough, timeout_s=30, what=f"{count} messages")


async def test_a_feed_begins_after_a_sequence_and_wakes(
    backend: JetStreamBackend, names: Names
) -> None:
    assert isinstance(await backend.door.publish_batch(_events(names, 10)), Committed)
    awake = asyncio.Event()
    feed = await backend.feeds.open("events", [f"{names.namespace}.in.>"], 7, awake.set)
    seen: list[Stored] = []
    await _read_until(feed, seen, 3)
    assert [stored.seq for stored in seen] == [8, 9, 10]
    awake.clear()
    await backend.door.publish(names.event("T", "later"), b"", {"A": "b"})
    await asyncio.wait_for(awake.wait(), 5)
    (last,) = feed.take(10)
    assert (last.seq, last.headers) == (11, {"A": "b"})
    await feed.close()


@pytest.mark.parametrize("size", [2, 100_000])
async def test_a_slow_taker_holds_little_and_misses_nothing(
    backend: JetStreamBackend, names: Names, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(reading, "HELD_MAX", 100)
    monkeypatch.setattr(reading, "HELD_BYTES_MAX", 1_000_000)
    monkeypatch.setattr(reading, "ASK_BYTES_MAX", 500_000)
    for _ in range(4):
        assert isinstance(await backend.door.publish_batch(_events(names, 100, size)), Committed)
    feed = await backend.feeds.open("events", [f"{names.namespace}.in.>"], 0, lambda: None)
    seen: list[int] = []

    def some() -> bool:
        held = feed._reader.held
        assert held <= 100
        assert held * size <= 2_000_000
        seen.extend(stored.seq for stored in feed.take(7))
        return len(seen) == 400

    await eventually(some, what="all messages")
    assert seen == list(range(1, 401))


@pytest.mark.chaos
async def test_feeds_survive_kills_without_loss_or_repetition(
    backend: JetStreamBackend, names: Names, link: Link, nats_server: NatsServer
) -> None:
    feed = await backend.feeds.open("events", [f"{names.namespace}.in.>"], 0, lambda: None)
    stop = asyncio.Event()

    async def publish() -> None:
        while not stop.is_set():
            await backend.door.publish_batch(_events(names, 20))
            with suppress(TimeoutError):  # and let the reader have its turn, also while broken
                await asyncio.wait_for(stop.wait(), 0.001)

    publisher = asyncio.create_task(publish())
    seen: list[Stored] = []
    for _ in range(3):
        await _read_until(feed, seen, len(seen) + 200)
        await asyncio.to_thread(nats_server.kill)
        await asyncio.to_thread(nats_server.restart)
    await _read_until(feed, seen, len(seen) + 200)
    stop.set()
    await publisher
    await eventually(lambda: link.is_connected, what="the reconnect")
    stored = await _stream_seqs(backend, names, link)
    await _read_until(feed, seen, len(stored))
    assert [message.seq for message in seen] == stored


async def test_a_feed_replaces_a_consumer_that_was_removed(
    backend: JetStreamBackend, names: Names, link: Link
) -> None:
    feed = await backend.feeds.open("events", [f"{names.namespace}.in.>"], 0, lambda: None)
    seen: list[Stored] = []
    for _ in range(3):
        for name in await _consumers(link, names.events_stream):
            await api.ask(link, f"CONSUMER.DELETE.{names.events_stream}.{name}")
        await backend.door.publish_batch(_events(names, 5))
        await _read_until(feed, seen, len(seen) + 5)
    assert [stored.seq for stored in seen] == list(range(1, 16))
    await feed.close()
    await feed.close()

    async def gone() -> bool:
        return not await _consumers(link, names.events_stream)

    await eventually(gone, what="the consumer's removal")


async def test_silence_of_the_server_is_noticed(
    backend: JetStreamBackend, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "HEARTBEAT_S", 0.2)
    feed = await backend.feeds.open("events", [f"{names.namespace}.in.>"], 0, lambda: None)
    reader = feed._reader
    # The inbox is deaf while the consumer lives on: what a half-open route looks like.
    backend._link._sink_by_sid[reader._sid] = lambda *_: None
    await backend.door.publish_batch(_events(names, 5))
    seen: list[Stored] = []
    await _read_until(feed, seen, 5)
    assert [stored.seq for stored in seen] == [1, 2, 3, 4, 5]
    assert reader.generation > 1


async def test_a_lost_message_is_read_again(backend: JetStreamBackend, names: Names) -> None:
    feed = await backend.feeds.open("events", [f"{names.namespace}.in.>"], 0, lambda: None)
    reader, link = feed._reader, backend._link
    sink, count = link._sink_by_sid[reader._sid], 0

    def lossy(subject: bytes, reply: bytes, head: bytes, data: bytes) -> None:
        nonlocal count
        count += bool(reply)
        if count != 3:
            sink([(subject, reply, head, data)])

    link._sink_by_sid[reader._sid] = one_by_one(lossy)
    await backend.door.publish_batch(_events(names, 6))
    seen: list[Stored] = []
    await _read_until(feed, seen, 6)
    assert [stored.seq for stored in seen] == [1, 2, 3, 4, 5, 6]


async def test_opening_a_feed_on_a_missing_stream_gives_up(
    backend: JetStreamBackend, link: Link, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "OPEN_TIMEOUT_S", 0.3)
    reader = reading.Reader(link, "NONE", ["x"], 0, lambda: None)
    with pytest.raises(Unreachable, match="can't be read"):
        await reader.open(0.3)
    await reader.close()


async def test_history_ends_where_messages_are_removed_while_it_is_read(
    backend: JetStreamBackend, names: Names, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "HELD_MAX", 2)
    await backend.log.commit([Outgoing(names.instance("S", f"k{n}"), b"x") for n in range(20)])
    seen: list[int] = []
    async for stored in backend.log.history(names.instances()):
        if not seen:
            await api.ask(link, f"STREAM.PURGE.{names.log_stream}", {"filter": names.instances()})
        seen.append(stored.seq)
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) < 20


async def _interrupt(backend: JetStreamBackend) -> None:
    """Have the only reader make another consumer while messages wait to be taken from it."""
    (reader,) = (
        listener.__self__
        for listener in backend._link.reconnected
        if isinstance(getattr(listener, "__self__", None), reading.Reader)
    )
    await eventually(lambda: reader.held > 100, what="messages at hand")
    generation = reader.generation
    reader.renew()
    await eventually(lambda: reader.generation > generation, what="another consumer")


async def test_history_is_whole_when_it_is_interrupted_with_messages_at_hand(
    backend: JetStreamBackend, names: Names
) -> None:
    batch = [Outgoing(names.instance("S", f"k{n}"), b"x") for n in range(1000)]
    for _ in range(3):
        await backend.log.commit(batch)
    seen: list[int] = []
    async for stored in backend.log.history(names.instances()):
        if not seen:
            await _interrupt(backend)
        seen.append(stored.seq)
    assert seen == list(range(1, 3001))


@pytest.mark.chaos
async def test_history_ends_and_goes_on_over_a_kill(
    backend: JetStreamBackend, names: Names, nats_server: NatsServer
) -> None:
    batch = [Outgoing(names.instance("S", f"k{n % 3}"), b"x" * 100) for n in range(1000)]
    for _ in range(5):
        assert isinstance(await backend.log.commit(batch), Committed)
    seen: list[int] = []
    async for stored in backend.log.history(names.instances(), after=10):
        seen.append(stored.seq)
        if len(seen) == 1500:
            await asyncio.to_thread(nats_server.kill)
            await asyncio.to_thread(nats_server.restart)
    assert seen == list(range(11, 5001))


@pytest.mark.chaos
async def test_watch_sees_what_comes_after_it_began(
    backend: JetStreamBackend, names: Names, nats_server: NatsServer
) -> None:
    one = Outgoing(names.instance("S", "a"), b"1")
    await backend.log.commit([one])

    async def collect(watch: AsyncIterator[Stored], seen: list[int], begun: asyncio.Event) -> None:
        async for stored in watch:
            seen.append(stored.seq)
            begun.set()

    new: list[int] = []
    old: list[int] = []
    begun = asyncio.Event()
    tasks = [
        asyncio.create_task(collect(backend.log.watch(names.instances()), new, asyncio.Event())),
        asyncio.create_task(collect(backend.log.watch(names.instances(), after=0), old, begun)),
    ]
    await asyncio.wait_for(begun.wait(), 5)
    before = await eventually(lambda: len(backend._link.reconnected) >= 2, what="both watches")
    assert before
    await asyncio.to_thread(nats_server.kill)
    await asyncio.to_thread(nats_server.restart)
    await eventually(lambda: backend.connected, what="the reconnect")
    await backend.log.commit([one, one])
    await eventually(lambda: old == [1, 2, 3] and new == [2, 3], what="both to see both")
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
