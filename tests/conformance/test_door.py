"""Goal: the door stores what anyone may send, gives it its partition, knows a repeated id, refuses
the rest.

Method: publish single messages and batches, then read where and whether they were stored.
"""

from __future__ import annotations

import pytest

from store.memory import partition_of
from store.port import (
    Accepted,
    Backend,
    Committed,
    Invalid,
    MessageTooLarge,
    Outgoing,
    Refused,
    Stored,
    Unreachable,
)
from store.subjects import escape
from tests.conformance.place import Place
from tests.conformance.samples import HOSTILE_KEYS, listed

pytestmark = pytest.mark.asyncio


async def _events(place: Place, backend: Backend, count: int) -> list[Stored]:
    """All events, as soon as there are ``count`` of them."""
    space = place.names.namespace
    filters = [f"{space}.in.*.>", f"{space}.events.*"]
    feed = await backend.feeds.open("events", filters, 0, lambda: None)
    found: list[Stored] = []

    async def complete() -> bool:
        found.extend(feed.take(100))
        return len(found) >= count

    await place.until(complete)
    await feed.close()
    return found


async def test_publishing_gives_the_sequence(place: Place, backend: Backend) -> None:
    subject = place.names.event("OrderCreated", "o-1")
    assert await backend.door.publish(subject, b"{}") == Accepted(1)
    assert await backend.door.publish(subject, b"{}") == Accepted(2)


async def test_a_keyed_event_is_stored_under_its_partition(place: Place, backend: Backend) -> None:
    await backend.door.publish(place.names.event("OrderCreated", "o-1"), b"{}")
    (found,) = await _events(place, backend, 1)
    partition = partition_of("o-1", place.partitions)
    assert found.subject == f"{place.names.namespace}.in.{partition}.OrderCreated.o-1"
    assert place.names.parse_event(found.subject) == ("OrderCreated", "o-1")


async def test_an_event_without_a_key_keeps_its_subject(place: Place, backend: Backend) -> None:
    await backend.door.publish(place.names.event("Tick"), b"{}")
    (found,) = await _events(place, backend, 1)
    assert found.subject == place.names.event("Tick")
    assert place.names.parse_event(found.subject) == ("Tick", None)


async def test_partitions_are_the_same_in_every_place(place: Place, backend: Backend) -> None:
    keys = [f"key-{number}" for number in range(64)] + [*HOSTILE_KEYS]
    await backend.door.publish_batch([Outgoing(place.names.event("T", key), b"") for key in keys])
    found = await _events(place, backend, len(keys))
    for key, message in zip(keys, found, strict=True):
        assert place.names.parse_event(message.subject) == ("T", key)
        partition = int(message.subject.split(".")[2])
        assert partition == partition_of(escape(key), place.partitions)
    assert {int(message.subject.split(".")[2]) for message in found} == {0, 1, 2, 3}


async def test_events_and_signals_of_a_key_share_a_partition(
    place: Place, backend: Backend
) -> None:
    names = place.names
    await backend.door.publish(names.event("T", "k@1"), b"")
    await backend.door.publish(names.signal("timer", "k@1"), b"")
    (event,) = await _events(place, backend, 1)
    (signal,) = await listed(backend.log.history(f"{names.namespace}.sig.>"))
    assert event.subject.split(".")[2] == signal.subject.split(".")[2]


async def test_a_signal_goes_to_the_log(place: Place, backend: Backend) -> None:
    accepted = await backend.door.publish(place.names.signal("operator", "a"), b"retry")
    partition = partition_of("a", place.partitions)
    found = await backend.log.read(f"{place.names.namespace}.sig.{partition}.operator.a")
    assert found is not None
    assert (found.seq, found.data) == (accepted.seq, b"retry")


async def test_headers_and_bytes_arrive_as_sent(place: Place, backend: Backend) -> None:
    headers = {"traceparent": "00-1-2-01", "Snorri-Cause": "c 1"}
    await backend.door.publish(place.names.event("T", "a"), b"\x00\xff\n", headers, "id-1")
    (found,) = await _events(place, backend, 1)
    assert found.data == b"\x00\xff\n"
    assert set(headers.items()) <= set(found.headers.items())
    assert found.headers["Nats-Msg-Id"] == "id-1"


async def test_an_empty_message_is_a_message(place: Place, backend: Backend) -> None:
    await backend.door.publish(place.names.event("T", "a"), b"")
    (found,) = await _events(place, backend, 1)
    assert found.data == b""


async def test_a_repeated_id_is_a_duplicate(place: Place, backend: Backend) -> None:
    subject = place.names.event("T", "a")
    first = await backend.door.publish(subject, b"1", msg_id="once")
    await backend.door.publish(subject, b"2", msg_id="another")
    again = await backend.door.publish(subject, b"3", msg_id="once")
    assert again == Accepted(first.seq, duplicate=True)
    assert [message.data for message in await _events(place, backend, 2)] == [b"1", b"2"]


async def test_an_id_is_the_stream_s_not_the_subject_s(place: Place, backend: Backend) -> None:
    await backend.door.publish(place.names.event("T", "a"), b"", msg_id="once")
    other = await backend.door.publish(place.names.event("U", "b"), b"", msg_id="once")
    signal = await backend.door.publish(place.names.signal("T", "a"), b"", msg_id="once")
    assert other.duplicate
    assert not signal.duplicate


async def test_without_an_id_nothing_is_a_duplicate(place: Place, backend: Backend) -> None:
    subject = place.names.event("T", "a")
    accepted = [await backend.door.publish(subject, b"same") for _ in range(3)]
    assert [found.seq for found in accepted] == [1, 2, 3]


async def test_a_message_over_the_limit_is_not_sent(place: Place, backend: Backend) -> None:
    subject = place.names.event("T", "a")
    with pytest.raises(MessageTooLarge):
        await backend.door.publish(subject, b"x" * (backend.payload_max + 1))
    with pytest.raises(MessageTooLarge):
        await backend.door.publish(
            subject, b"x" * (backend.payload_max - 100), {"Padding": "p" * 200}
        )
    assert await backend.door.publish(subject, b"x" * (backend.payload_max - 100)) == Accepted(1)


@pytest.mark.parametrize("shape", ["events.T.a.b", "in.0.T.a", "sig.0.T.a", "elsewhere"])
async def test_a_subject_of_no_stream_raises(place: Place, backend: Backend, shape: str) -> None:
    with pytest.raises((Refused, Unreachable)):
        await place.result(backend.door.publish(f"{place.names.namespace}.{shape}", b""))


@pytest.mark.parametrize("shape", ["events.T.*", "events.>", "events..a", "events.a b"])
async def test_a_bad_subject_is_refused(place: Place, backend: Backend, shape: str) -> None:
    with pytest.raises(Refused):
        await backend.door.publish(f"{place.names.namespace}.{shape}", b"")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Nats-Rollup", "sub"),
        ("Nats-Rollup", "all"),
        ("Nats-TTL", "5"),
        ("Nats-Schedule", "@every 1s"),
    ],
)
async def test_events_take_no_headers_that_command_the_stream(
    place: Place, backend: Backend, name: str, value: str
) -> None:
    subject = place.names.event("T", "a")
    await backend.door.publish(subject, b"1")
    headers = {name: value, "Nats-Schedule-Target": place.names.event("T", "b")}
    with pytest.raises(Refused):
        await backend.door.publish(subject, b"2", headers)
    assert [message.data for message in await _events(place, backend, 1)] == [b"1"]


async def test_a_batch_of_events_keeps_its_order(place: Place, backend: Backend) -> None:
    batch = [Outgoing(place.names.event("T", f"k{n}"), b"%d" % n) for n in range(50)]
    assert await backend.door.publish_batch(batch) == Committed(last=50, count=50)
    found = await _events(place, backend, 50)
    assert [message.data for message in found] == [message.payload for message in batch]


@pytest.mark.parametrize("count", [0, 1001])
async def test_a_batch_of_events_has_limits(place: Place, backend: Backend, count: int) -> None:
    batch = [Outgoing(place.names.event("T", "a"), b"") for _ in range(count)]
    assert isinstance(await backend.door.publish_batch(batch), Invalid)


async def test_one_bad_event_spoils_its_batch(place: Place, backend: Backend) -> None:
    names = place.names
    batch = [
        Outgoing(names.event("T", "a"), b"1"),
        Outgoing(names.event("T", "b"), b"2", (("Nats-Rollup", "all"),)),
    ]
    assert isinstance(await backend.door.publish_batch(batch), Invalid)
    assert await backend.door.publish(names.event("T", "c"), b"3") == Accepted(1)
