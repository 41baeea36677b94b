"""Goal: `create_publisher` gives a receipt for every event on a real server, or without one.

Method: an installation of its own on the session's server, read back through its backend.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from server.api.service import ApiService
from server.plugin import ClientLine
from store.jetstream.backend import connect
from store.publisher import NewEvent, Published, Publisher, Rejected, create_publisher
from store.subjects import Names
from tests.api_kit import open_api
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


async def test_over_http_the_receipts_are_those_of_nats(tmp_path: Path) -> None:
    """The same calls on the same installation, once through the API and once past it."""
    async with open_api(tmp_path, engine=False, worker=False) as api:
        service = ApiService(api.app, "127.0.0.1", 0)
        await service.start()
        over_http = create_publisher(base_url=service.address)
        over_nats = Publisher(ClientLine(api.client))
        seq = 0
        for publisher in (over_http, over_nats):
            receipts = [
                await publisher.publish("T", {"a": 1}, key="k", id=f"one-{seq}"),
                await publisher.publish("T", {"a": 1}, key="k", id=f"one-{seq}"),
            ]
            assert receipts == [Published(seq=seq + 1), Published(seq=seq + 1, duplicate=True)]
            for type, payload in (("", None), ("T", "x" * 2_000_000)):
                receipt = await publisher.publish(type, payload)
                assert isinstance(receipt, Rejected)
                assert not receipt.retryable
            stopping = [NewEvent(type="T"), NewEvent(type=""), NewEvent(type="T")]
            receipts = await publisher.publish_many(stopping, "sequential")
            assert [isinstance(one, Published) for one in receipts] == [True, False, False]
            assert receipts[2].retryable if isinstance(receipts[2], Rejected) else False
            receipts = await publisher.publish_many(stopping, "parallel")
            assert [isinstance(one, Published) for one in receipts] == [True, False, True]
            many = [NewEvent(type="T", payload=n, key=f"k{n % 7}") for n in range(1100)]
            receipts = await publisher.publish_many(many, "parallel")
            assert len({one.seq for one in receipts if isinstance(one, Published)}) == 1100
            seq = api.broker.events.last_seq
        await service.stop()
        lost = await create_publisher(base_url=service.address, attempts=2).publish("T")
        assert isinstance(lost, Rejected)
        assert lost.retryable
        await over_http.close()
