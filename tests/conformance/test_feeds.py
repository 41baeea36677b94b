"""Goal: a feed hands out its messages once, in the order of the stream, and wakes its reader.

Method: open feeds before, between and after writes, take in portions, compare with what was
written.
"""

from __future__ import annotations

import asyncio

import pytest

from store.port import Backend, Feed, Outgoing, Stored
from tests.conformance.place import Place
from tests.conformance.samples import ROLLUP, data_of, revision, stored

pytestmark = pytest.mark.asyncio


async def _publish(place: Place, backend: Backend, *data: bytes, key: str = "a") -> None:
    for one in data:
        await backend.door.publish(place.names.event("T", key), one)


async def _taken(place: Place, feed: Feed, count: int, limit: int = 100) -> list[Stored]:
    """What the feed gives until there are ``count`` messages."""
    found: list[Stored] = []

    async def complete() -> bool:
        found.extend(feed.take(min(limit, count - len(found))))
        return len(found) >= count

    await place.until(complete)
    return found


def _all(place: Place) -> list[str]:
    return [f for p in range(place.partitions) for f in place.names.event_filters(p)]


async def test_a_feed_gives_what_was_there_before(place: Place, backend: Backend) -> None:
    await _publish(place, backend, b"1", b"2", b"3")
    feed = await backend.feeds.open("events", _all(place), 0, lambda: None)
    assert data_of(await _taken(place, feed, 3)) == [b"1", b"2", b"3"]


async def test_a_feed_gives_what_comes_later(place: Place, backend: Backend) -> None:
    feed = await backend.feeds.open("events", _all(place), 0, lambda: None)
    assert feed.take(10) == []
    await _publish(place, backend, b"1", b"2")
    assert data_of(await _taken(place, feed, 2)) == [b"1", b"2"]
    assert feed.take(10) == []


async def test_a_feed_begins_after_its_sequence(place: Place, backend: Backend) -> None:
    await _publish(place, backend, b"1", b"2", b"3")
    feed = await backend.feeds.open("events", _all(place), 2, lambda: None)
    (found,) = await _taken(place, feed, 1)
    assert (found.seq, found.data) == (3, b"3")


async def test_a_feed_at_the_end_waits_for_the_next(place: Place, backend: Backend) -> None:
    await _publish(place, backend, b"1", b"2")
    feed = await backend.feeds.open("events", _all(place), 2, lambda: None)
    await _publish(place, backend, b"3")
    assert data_of(await _taken(place, feed, 1)) == [b"3"]


async def test_a_feed_never_gives_more_than_asked(place: Place, backend: Backend) -> None:
    await _publish(place, backend, *(b"%d" % number for number in range(10)))
    feed = await backend.feeds.open("events", _all(place), 0, lambda: None)
    first = await _taken(place, feed, 10, limit=3)
    assert data_of(first) == [b"%d" % number for number in range(10)]
    assert feed.take(0) == []


async def test_a_feed_wakes_its_reader(place: Place, backend: Backend) -> None:
    woken = asyncio.Event()
    feed = await backend.feeds.open("events", _all(place), 0, woken.set)
    await _publish(place, backend, b"1")
    await place.result(woken.wait())
    assert data_of(await _taken(place, feed, 1)) == [b"1"]
    woken.clear()
    await _publish(place, backend, b"2")
    await place.result(woken.wait())
    assert data_of(await _taken(place, feed, 1)) == [b"2"]


async def test_a_feed_wakes_for_what_was_there_before(place: Place, backend: Backend) -> None:
    await _publish(place, backend, b"1")
    woken = asyncio.Event()
    feed = await backend.feeds.open("events", _all(place), 0, woken.set)
    await place.result(woken.wait())
    assert data_of(await _taken(place, feed, 1)) == [b"1"]


async def test_several_filters_are_one_order(place: Place, backend: Backend) -> None:
    names = place.names
    for number in range(30):
        key = None if number % 3 == 0 else f"k{number}"
        await backend.door.publish(names.event("T", key), b"%d" % number)
    feed = await backend.feeds.open("events", _all(place), 0, lambda: None)
    found = await _taken(place, feed, 30)
    assert data_of(found) == [b"%d" % number for number in range(30)]
    assert [message.seq for message in found] == list(range(1, 31))


async def test_partitions_share_the_events_among_them(place: Place, backend: Backend) -> None:
    names = place.names
    keys = [f"k{number}" for number in range(40)]
    await backend.door.publish_batch([Outgoing(names.event("T", k), k.encode()) for k in keys])
    await backend.door.publish(names.event("T"), b"keyless")
    found: list[bytes] = []
    for partition in range(place.partitions):
        filters = names.event_filters(partition)
        feed = await backend.feeds.open("events", filters, 0, lambda: None)
        arrived: list[Stored] = []

        async def quiet(feed: Feed = feed, arrived: list[Stored] = arrived) -> bool:
            arrived.extend(feed.take(100))
            return bool(arrived)

        await place.until(quiet)
        await place.pass_time(0.1)
        await quiet()
        seqs = [message.seq for message in arrived]
        assert seqs == sorted(seqs)
        found += data_of(arrived)
        await feed.close()
    assert sorted(found) == sorted([b"keyless", *(key.encode() for key in keys)])


async def test_a_feed_of_signals_reads_the_log(place: Place, backend: Backend) -> None:
    names = place.names
    filters = [f for p in range(place.partitions) for f in names.signal_filters(p)]
    feed = await backend.feeds.open("log", filters, 0, lambda: None)
    await stored(
        backend,
        revision(names, "a"),
        Outgoing(names.signal("T", "a"), b"1"),
        Outgoing(names.command("pay", "a"), b"no signal"),
        Outgoing(names.signal("T", "b"), b"2"),
    )
    found = await _taken(place, feed, 2)
    assert [(message.seq, message.data) for message in found] == [(2, b"1"), (4, b"2")]


async def test_a_feed_goes_over_holes(place: Place, backend: Backend) -> None:
    names = place.names
    filters = [f for p in range(place.partitions) for f in names.signal_filters(p)]
    for number in range(5):
        await stored(
            backend,
            Outgoing(names.position(0), b"", ROLLUP),
            Outgoing(names.signal("T", "a"), b"%d" % number),
        )
    feed = await backend.feeds.open("log", filters, 3, lambda: None)
    found = await _taken(place, feed, 4)
    assert data_of(found) == [b"1", b"2", b"3", b"4"]
    await stored(backend, Outgoing(names.position(0), b"", ROLLUP))
    await stored(backend, Outgoing(names.signal("T", "a"), b"5"))
    assert data_of(await _taken(place, feed, 1)) == [b"5"]


async def test_two_feeds_do_not_share(place: Place, backend: Backend) -> None:
    other = await place.backend()
    await _publish(place, backend, b"1", b"2")
    feeds = [await b.feeds.open("events", _all(place), 0, lambda: None) for b in (backend, other)]
    for feed in feeds:
        assert data_of(await _taken(place, feed, 2)) == [b"1", b"2"]


async def test_a_long_backlog_arrives_whole_and_in_order(place: Place, backend: Backend) -> None:
    names = place.names
    for start in range(0, 4000, 1000):
        numbers = range(start, start + 1000)
        await backend.door.publish_batch(
            [Outgoing(names.event("T", f"k{n % 7}"), b"%d" % n) for n in numbers]
        )
    feed = await backend.feeds.open("events", _all(place), 0, lambda: None)
    found = await _taken(place, feed, 4000, limit=250)
    assert [message.seq for message in found] == list(range(1, 4001))


async def test_a_closed_feed_stays_closed(place: Place, backend: Backend) -> None:
    feed = await backend.feeds.open("events", _all(place), 0, lambda: None)
    await feed.close()
    await feed.close()
    await _publish(place, backend, b"1")
    await place.pass_time(0.05)
    assert feed.take(10) == []
