"""Goal: `create_publisher` gives a receipt for every event on a real server, or without one.

Method: an installation of its own on the session's server, read back through its backend.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from store.jetstream.backend import connect
from store.publisher import NewEvent, Published, Rejected, create_publisher
from store.subjects import Names
from tests.conftest import NatsServer

pytestmark = pytest.mark.asyncio


async def test_events_and_receipts(
    nats_server: NatsServer, fresh_names: Callable[[], Names]
) -> None:
    names = fresh_names()
    backend = await connect(nats_server.url, names)
    async with create_publisher(nats_server.url, names=names) as publisher:
        assert await publisher.publish("T", {"a": 1}, key="k", id="one") == Published(seq=1)
        again = await publisher.publish("T", {"a": 1}, key="k", id="one")
        assert again == Published(seq=1, duplicate=True)
        refused = await publisher.publish("", {})
        assert isinstance(refused, Rejected)
        assert not refused.retryable
        huge = await publisher.publish("T", "x" * 2_000_000)
        assert isinstance(huge, Rejected)
        assert not huge.retryable
        many = [NewEvent(type="T", payload=n, key=f"k{n % 7}") for n in range(1100)]
        receipts = await publisher.publish_many(many, "parallel")
        assert [r.seq for r in receipts if isinstance(r, Published)] == list(range(2, 1102))
    stored = await backend.log.at("events", 1)
    assert stored is not None
    assert (names.parse_event(stored.subject), stored.data) == (("T", "k"), b'{"a":1}')
    closed = await publisher.publish("T")
    assert isinstance(closed, Rejected)
    assert "is closed" in closed.reason
    await backend.close()


async def test_without_an_installation_it_may_be_tried_again(
    nats_server: NatsServer, fresh_names: Callable[[], Names]
) -> None:
    names = fresh_names()
    async with create_publisher(nats_server.url, names=names) as publisher:
        receipt = await publisher.publish("T")
        assert isinstance(receipt, Rejected)
        assert receipt.retryable
        assert "start an engine first" in receipt.reason
        backend = await connect(nats_server.url, names)
        assert await publisher.publish("T") == Published(seq=1)
        await backend.close()


async def test_without_a_server_it_may_be_tried_again() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"nats://127.0.0.1:{probe.getsockname()[1]}"
    async with create_publisher(url) as publisher:
        receipts = await publisher.publish_many([NewEvent(type="T"), NewEvent(type="U")])
    assert [isinstance(r, Rejected) and r.retryable for r in receipts] == [True, True]


async def test_exactly_one_address() -> None:
    with pytest.raises(ValueError, match="one address"):
        create_publisher()
    with pytest.raises(ValueError, match="one address"):
        create_publisher("nats://a", "http://b")
    with pytest.raises(ValueError, match="write it as http://"):
        create_publisher(base_url="127.0.0.1:8092")
