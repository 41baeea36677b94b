"""Command queues over crashes, several workers and long names.

Goal: a command is held by one worker at a time, comes back when that one is gone, and nothing is
fetched that nobody asked for. Method: several queues on one consumer, kill -9 of the server.
"""

from __future__ import annotations

import asyncio

import pytest

from store.jetstream import JetStreamBackend, api, connect
from store.jetstream.link import Link
from store.jetstream.queues import consumer_name
from store.port import Committed, Outgoing, TopologyDrift, Work, WorkQueue
from store.subjects import Names
from tests.conftest import NatsServer
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio


async def _send(backend: JetStreamBackend, names: Names, count: int, target: str = "pay") -> None:
    batch = [
        Outgoing(names.command(target, f"k{n}"), b"%d" % n, (("Snorri-Command-Id", f"c{n}"),))
        for n in range(count)
    ]
    assert isinstance(await backend.log.commit(batch), Committed)


async def _take_all(queue: WorkQueue, count: int, wait_s: float = 10.0) -> list[Work]:
    """Take until ``count`` have come; fails by the test's time limit otherwise."""
    works: list[Work] = []
    while len(works) < count:
        works += await queue.take(count - len(works), wait_s)
    return works


async def _ack_pending(link: Link, names: Names, target: str = "pay") -> int:
    info = await api.ask(link, f"CONSUMER.INFO.{names.log_stream}.{consumer_name(target)}")
    return info["num_ack_pending"]


async def test_a_take_fetches_no_more_than_its_limit(
    backend: JetStreamBackend, names: Names, link: Link
) -> None:
    queue = await backend.queues.open("pay", ack_wait_s=30, in_flight_max=100)
    await _send(backend, names, 10)
    works = await _take_all(queue, 3)  # they may come one by one
    assert [work.data for work in works] == [b"0", b"1", b"2"]
    assert works[0].headers["Snorri-Command-Id"] == "c0"
    assert await _ack_pending(link, names) == 3
    for work in works:
        await work.ack()
    await link.flush()

    async def acked() -> bool:
        return await _ack_pending(link, names) == 0

    await eventually(acked, what="the acks")


async def test_a_waiting_take_returns_with_the_first(
    backend: JetStreamBackend, names: Names
) -> None:
    queue = await backend.queues.open("pay", ack_wait_s=30, in_flight_max=100)
    loop = asyncio.get_running_loop()
    taking = asyncio.create_task(queue.take(10, 30))
    await asyncio.wait({taking}, timeout=0.2)
    assert not taking.done()
    began_s = loop.time()
    await _send(backend, names, 1)
    assert len(await taking) == 1
    assert loop.time() - began_s < 1
    began_s = loop.time()
    assert await queue.take(10, 0.2) == []
    assert 0.15 < loop.time() - began_s < 1
    assert await queue.take(10, 0) == []


async def test_workers_share_a_queue(
    backend: JetStreamBackend, nats_server: NatsServer, names: Names
) -> None:
    other = await connect(nats_server.url, names)
    queues = [
        await each.queues.open("pay", ack_wait_s=30, in_flight_max=1000)
        for each in (backend, backend, other)
    ]
    await _send(backend, names, 300)
    seen: list[bytes] = []

    async def work(queue: WorkQueue) -> None:
        while len(seen) < 300:
            for item in await queue.take(7, 0.2):
                seen.append(item.data)
                await item.ack()

    await asyncio.wait_for(asyncio.gather(*map(work, queues)), 20)
    assert sorted(seen, key=int) == [b"%d" % n for n in range(300)]
    await other.close()


async def test_in_flight_is_limited_over_all_workers(
    backend: JetStreamBackend, names: Names
) -> None:
    one = await backend.queues.open("pay", ack_wait_s=30, in_flight_max=4)
    two = await backend.queues.open("pay", ack_wait_s=30, in_flight_max=4)
    await _send(backend, names, 10)
    works = await _take_all(one, 4)
    assert await two.take(10, 0.2) == []
    await works[0].ack()
    assert len(await _take_all(two, 1)) == 1


@pytest.mark.chaos
async def test_commands_survive_a_killed_server(
    backend: JetStreamBackend, names: Names, nats_server: NatsServer
) -> None:
    queue = await backend.queues.open("pay", ack_wait_s=2, in_flight_max=100)
    await _send(backend, names, 6)
    assert len(await queue.take(3, 5)) == 3  # and never ended
    done: set[bytes] = set()

    async def work() -> None:
        while len(done) < 6:
            for item in await queue.take(5, 1):
                done.add(item.data)
                await item.ack()

    working = asyncio.create_task(work())
    await asyncio.to_thread(nats_server.kill)
    await asyncio.to_thread(nats_server.restart)
    await asyncio.wait_for(working, 30)


async def test_closing_gives_back_what_was_not_taken(
    backend: JetStreamBackend, nats_server: NatsServer, names: Names
) -> None:
    other = await connect(nats_server.url, names)
    queue = await other.queues.open("pay", ack_wait_s=60, in_flight_max=100)
    taking = asyncio.create_task(queue.take(5, 30))
    await asyncio.wait({taking}, timeout=0.1)
    taking.cancel()  # the request is still open: the next command is delivered to nobody
    await asyncio.wait({taking})
    await _send(backend, names, 1)
    await eventually(lambda: bool(queue._held), what="the delivery")
    await other.close()
    mine = await backend.queues.open("pay", ack_wait_s=60, in_flight_max=100)
    (work,) = await asyncio.wait_for(_take_all(mine, 1), 5)
    assert work.attempt == 2


async def test_term_ends_a_command_and_progress_keeps_it(
    backend: JetStreamBackend, names: Names
) -> None:
    queue = await backend.queues.open("pay", ack_wait_s=1, in_flight_max=100)
    await _send(backend, names, 2)
    kept, ended = await _take_all(queue, 2)
    await ended.term()
    for _ in range(6):
        await kept.in_progress()
        assert await queue.take(10, 0.4) == []
    (again,) = await asyncio.wait_for(_take_all(queue, 1), 5)
    assert (again.data, again.attempt) == (kept.data, 2)


async def test_other_settings_are_drift(backend: JetStreamBackend, names: Names) -> None:
    await backend.queues.open("pay", ack_wait_s=30, in_flight_max=100)
    with pytest.raises(TopologyDrift, match="max_ack_pending: want 50, have 100"):
        await backend.queues.open("pay", ack_wait_s=30, in_flight_max=50)


async def test_a_removed_consumer_is_an_empty_queue_and_not_a_hang(
    backend: JetStreamBackend, names: Names, link: Link
) -> None:
    queue = await backend.queues.open("pay", ack_wait_s=30, in_flight_max=100)
    await api.ask(link, f"CONSUMER.DELETE.{names.log_stream}.{consumer_name('pay')}")
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    assert await queue.take(5, 0.3) == []
    assert loop.time() - began_s < 2


@pytest.mark.parametrize("target", ["a.b c", "*", ">", "é" * 50, "x" * 100, "/" * 100])
async def test_any_target_has_a_queue(backend: JetStreamBackend, names: Names, target: str) -> None:
    queue = await backend.queues.open(target, ack_wait_s=30, in_flight_max=10)
    await _send(backend, names, 1, target)
    await _send(backend, names, 1, "other")
    (work,) = await queue.take(10, 5)
    assert work.subject == names.command(target, "k0")
    assert await queue.take(10, 0) == []


async def test_names_of_long_targets_stay_apart() -> None:
    names = {consumer_name("=" * 99 + tail) for tail in "abc"}
    assert len(names) == 3
    assert all(len(name) <= 120 for name in names)
