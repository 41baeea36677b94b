"""Goal: at nine tenths new sagas are refused and running ones go on; with room again all is taken,
and nobody has to do anything for it.

Method: the memory broker with a store of a size that the test says; a watcher that measures it all
the time, a client beside it, a starting event, an answering one and a start by hand.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from jobs.engine import Engine
from sagas.definition import Registry
from store.client import SagaClient
from store.events import NewEvent, Published, Receipt, Rejected
from store.memory import MemoryBroker, SystemClock
from store.memory.broker import MemoryBackend
from store.port import Refused
from store.publishing import EventPublisher, Mode
from store.room import KEY, LOOK_S, RoomReader, RoomWatch, Usage
from store.subjects import Names
from tests.chaos import app
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

NAMES = Names()


class _Store:
    """A store that is as full as a test says."""

    def __init__(self, backend: MemoryBackend) -> None:
        self.backend = backend
        self.used: int | None = 0

    async def measure(self) -> Usage | None:
        return Usage(self.used, 1000) if self.used is not None else None

    async def said(self) -> bool:
        entry = await self.backend.meta.get(KEY)
        return entry is not None and bool(entry.data)

    async def is_silent(self) -> bool:
        return not await self.said()


@pytest_asyncio.fixture
async def store(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[_Store]:
    """A store that is watched, with an engine that has registered its sagas."""
    monkeypatch.setattr("store.room.LOOK_S", 0.0)
    backend = MemoryBroker(NAMES, clock=SystemClock()).backend()
    engine = Engine(backend, NAMES, Registry(app.sagas))
    await engine.start()
    made = _Store(backend)
    watch = RoomWatch(backend.meta, made.measure, every_s=0.01)
    await watch.start()
    yield made
    await watch.stop()
    await engine.stop()
    await backend.close()


async def _order(client: SagaClient | EventPublisher, key: str) -> Receipt:
    return await client.publish("OrderCreated", {"order": key, "fate": app.GOOD}, key=key)


async def test_new_sagas_are_refused_and_running_ones_go_on(store: _Store) -> None:
    client = SagaClient(store.backend, NAMES)
    assert isinstance(await _order(client, "before"), Published)
    store.used = 900
    await eventually(store.said, what="the word that it is nearly full")

    refused = await _order(client, "o-1")
    assert isinstance(refused, Rejected)
    assert refused.retryable
    assert "90% of the store are used" in refused.reason
    assert "SNORRI_STORE_BYTES_MAX" in refused.reason
    many = [
        NewEvent(type="Reserved", payload={"order": "before"}),
        NewEvent(type="OrderCreated", payload={"order": "x", "fate": app.GOOD}),
    ]
    modes: tuple[Mode, ...] = ("sequential", "parallel")
    for mode in modes:
        first, second = await client.publish_many(many, mode)
        assert isinstance(first, Published)
        assert isinstance(second, Rejected)
    reply = await client.start("ChaosOrder", {"order": "o-2", "fate": app.GOOD}, key="o-2")
    assert not reply.done
    assert "new sagas are refused" in reply.reason

    going_on = await client.publish("Reserved", {"order": "before"}, key="before")
    assert isinstance(going_on, Published)


async def test_with_room_again_it_goes_on_by_itself(store: _Store) -> None:
    client = SagaClient(store.backend, NAMES)
    store.used = 950
    await eventually(store.said, what="the word that it is nearly full")
    assert isinstance(await _order(client, "o-1"), Rejected)
    store.used = 890  # below nine tenths, and not by enough
    assert isinstance(await _order(client, "o-1"), Rejected)
    store.used = 870
    await eventually(store.is_silent, what="the word taken back")
    assert isinstance(await _order(client, "o-1"), Published)


async def test_where_nobody_can_measure_all_is_taken(store: _Store) -> None:
    store.used = None
    assert isinstance(await _order(SagaClient(store.backend, NAMES), "o-1"), Published)
    assert not await store.said()


async def test_who_may_not_measure_leaves_it_to_others(store: _Store) -> None:
    asked = 0

    async def denied() -> Usage | None:
        nonlocal asked
        asked += 1
        raise Refused("NATS denies it")

    watch = RoomWatch(store.backend.meta, denied, every_s=0.0)
    await watch.start()
    store.used = 999
    await eventually(store.said, what="the word of the other watcher")
    assert asked == 1
    await watch.stop()


async def test_a_disk_that_can_not_be_asked_is_asked_again(store: _Store) -> None:
    asked = 0

    async def stumbling() -> Usage | None:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise OSError("stale file handle")
        return Usage(950, 1000)

    watch = RoomWatch(store.backend.meta, stumbling, every_s=0.01)
    await watch.start()
    await eventually(store.said, what="the word that it is nearly full")
    await watch.stop()
    await watch.wait()


async def test_a_publisher_asks_now_and_then_only(
    store: _Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.room.LOOK_S", 60.0)
    reader = RoomReader(store.backend.meta)
    assert await reader.refusal("OrderCreated") == ""
    store.used = 999
    await eventually(store.said, what="the word that it is nearly full")
    assert await reader.refusal("OrderCreated") == ""
    assert await RoomReader(store.backend.meta).refusal("OrderCreated")
    assert LOOK_S < 10
