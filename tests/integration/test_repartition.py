"""Goal: the number of partitions changes between two loads, and nobody can tell but by the number:
each key's messages are taken once and in order, timers ring, and a change that is cut off at any
point is ended by saying it again.

Method: a real broker, a saga that writes down the numbers it was told, an engine inside the test
before and after; for the cuts, the connection of the change dies at its n-th request, for each n.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from jobs.engine import Engine
from sagas import define_saga, schedule
from sagas.definition import Registry
from sagas.handlers import SagaHandle
from sagas.instance import decode
from sagas.messages import Message
from store.cards import EngineCard
from store.jetstream import JetStreamBackend, connect
from store.jetstream import repartition as changing
from store.jetstream.repartition import NotAtRest, change_partitions
from store.partitions import partition_states
from store.port import StoreError, TopologyDrift, Unreachable
from store.subjects import Names
from tests.conftest import NatsServer
from tests.waiting import eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

KEYS = [f"k-{number}" for number in range(12)]

UPDATES = 5  # of the streams' configurations, in one change

tally = define_saga("Tally").state({"told": [], "rang": 0}).correlate("tally").on_unknown("start")


@tally.on("Told")
def told(saga: SagaHandle[Any], message: Message[Any]) -> None:
    """Write down the number."""
    saga.state["told"].append(message.payload["number"])


@tally.on("Wind")
def wind(saga: SagaHandle[Any], message: Message[Any]) -> object:
    """Ring later."""
    return schedule({"type": "Rang", "payload": {}}, message.payload["after_s"], id="ring")


@tally.on("Rang", starts=False)
def rang(saga: SagaHandle[Any], message: Message[Any]) -> None:
    """Count the rings."""
    saga.state["rang"] += 1


REGISTRY = Registry([tally.build()])


class Place:
    """One installation on the session's server."""

    def __init__(self, url: str, names: Names) -> None:
        self.url = url
        self.names = names
        self.numbers = dict.fromkeys(KEYS, 0)

    @asynccontextmanager
    async def engine(self, partitions: int) -> AsyncGenerator[JetStreamBackend]:
        """An engine that holds all partitions."""
        backend = await connect(self.url, self.names, partitions=partitions)
        engine = Engine(backend, self.names, REGISTRY, engine_id=f"e{partitions}")
        await engine.start()
        try:
            await eventually(lambda: len(engine.partitions) == partitions, 20, "all partitions")
            yield backend
        finally:
            await engine.stop()
            await backend.close()

    async def tell(self, backend: JetStreamBackend, count: int, chance: random.Random) -> None:
        """Tell ``count`` numbers, each to a key that chance chooses."""
        for _ in range(count):
            key = chance.choice(KEYS)
            self.numbers[key] += 1
            body = msgspec.json.encode({"tally": key, "number": self.numbers[key]})
            await backend.door.publish(self.names.event("Told", key), body)

    async def all_told(self, backend: JetStreamBackend) -> bool:
        """Whether every number was taken, each once and in order."""
        states = await self.states(backend)
        for key, state in states.items():
            assert state["told"] == list(range(1, len(state["told"]) + 1)), key
        wanted = {key: number for key, number in self.numbers.items() if number}
        return {key: len(state["told"]) for key, state in states.items()} == wanted

    async def states(self, backend: JetStreamBackend) -> dict[str, Any]:
        """The state of each tally."""
        found = dict[str, Any]()
        async for stored in backend.log.latest(self.names.instances("Tally")):
            instance = decode(stored.data)
            found[instance.key] = msgspec.json.decode(instance.state)
        return found


@pytest.fixture
def place(nats_server: NatsServer, fresh_names: Callable[[], Names]) -> Place:
    """A new installation."""
    return Place(nats_server.url, fresh_names())


async def test_keys_keep_their_order_over_changes_up_and_down(place: Place, seed: int) -> None:
    chance = random.Random(seed)
    before = 3
    for count in (5, 2, 5, 4):
        async with place.engine(before) as backend:
            await place.tell(backend, 150, chance)
            await eventually(lambda at=backend: place.all_told(at), 20, "all being told")
        assert await change_partitions(place.url, place.names, count) == (before, count)
        with pytest.raises(TopologyDrift, match=f"SNORRI_PARTITIONS={count}"):
            await connect(place.url, place.names, partitions=before)
        before = count
    async with place.engine(before) as backend:
        await place.tell(backend, 150, chance)
        await eventually(lambda: place.all_told(backend), 20, "all being told in the end")
        states = await partition_states(backend, place.names)
        assert [state.waiting for state in states] == [0] * before
        assert all(state.engine == f"e{before}" for state in states)


async def test_timers_ring_over_a_change(place: Place) -> None:
    async with place.engine(4) as backend:
        for key in KEYS:
            body = msgspec.json.encode({"tally": key, "after_s": 4})
            await backend.door.publish(place.names.event("Wind", key), body)

        async def wound() -> bool:
            return len(await place.states(backend)) == len(KEYS)

        await eventually(wound, 20, "all being wound")
    await change_partitions(place.url, place.names, 3)
    async with place.engine(3) as backend:

        async def all_rang() -> bool:
            return [state["rang"] for state in (await place.states(backend)).values()] == [1] * 12

        await eventually(all_rang, 20, "all timers ringing")


async def test_what_is_not_at_rest_is_left_as_it_is(place: Place, seed: int) -> None:
    chance = random.Random(seed)
    async with place.engine(4) as backend:
        with pytest.raises(NotAtRest, match="engines are running: e4"):
            await change_partitions(place.url, place.names, 6)
    backend = await connect(place.url, place.names, partitions=4)
    await place.tell(backend, 40, chance)
    await backend.close()
    with pytest.raises(NotAtRest, match=r"in partition \d.*SNORRI_PARTITIONS=4"):
        await change_partitions(place.url, place.names, 6)
    with pytest.raises(StoreError, match="choose 1 to 64"):
        await change_partitions(place.url, place.names, 65)
    async with place.engine(4) as backend:
        await place.tell(backend, 40, chance)
        await eventually(lambda: place.all_told(backend), 20, "all being told")
    assert await change_partitions(place.url, place.names, 4) == (4, 4)


class Cut(BaseException):
    """The change is gone, and does nothing any more."""


@pytest.mark.parametrize(("before", "after"), [(2, 5), (5, 2)])
async def test_a_change_that_was_cut_off_is_ended_by_saying_it_again(
    place: Place, seed: int, monkeypatch: pytest.MonkeyPatch, before: int, after: int
) -> None:
    chance = random.Random(seed)
    real = changing._Change._update
    first = before
    cuts = 0
    for late in (False, True):  # before the update is carried out, and after it
        for nth in range(1, 1 + UPDATES):
            calls = 0

            async def update(self: Any, stream: Any, **fields: Any) -> None:
                nonlocal calls, cuts
                calls += 1
                if calls == nth and not late:  # noqa: B023
                    raise Cut
                await real(self, stream, **fields)
                if calls == nth:  # noqa: B023
                    raise Cut

            async with place.engine(before) as backend:
                await place.tell(backend, 40, chance)
                await eventually(lambda at=backend: place.all_told(at), 20, "all being told")
            with monkeypatch.context() as patch:
                patch.setattr(changing._Change, "_update", update)
                with pytest.raises(Cut):
                    await change_partitions(place.url, place.names, after)
            begun = late or nth > 1
            ended = late and nth == UPDATES
            if begun and not ended:
                cuts += 1
                with pytest.raises(StoreError, match=f"from {before} to {after}.*--change {after}"):
                    await connect(place.url, place.names, partitions=before)
                with pytest.raises(StoreError, match="was begun and not ended"):
                    await change_partitions(place.url, place.names, 7)
            done = await change_partitions(place.url, place.names, after)
            assert done == ((after, after) if ended else (before, after))
            before, after = after, before
    assert cuts == 2 * (UPDATES - 1)
    assert before == first
    async with place.engine(before) as backend:
        await place.tell(backend, 40, chance)
        await eventually(lambda: place.all_told(backend), 20, "all being told in the end")


async def test_publishers_are_told_to_try_again_while_it_is_changed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = await connect(place.url, place.names, partitions=2)
    refused: list[str] = []
    real = changing._Change._write_positions

    async def write(self: Any) -> None:
        try:
            await backend.door.publish(place.names.event("Told", "k-1"), b"{}")
        except Unreachable as error:
            refused.append(str(error))
        await real(self)

    monkeypatch.setattr(changing._Change, "_write_positions", write)
    await change_partitions(place.url, place.names, 3)
    assert refused
    await backend.door.publish(place.names.event("Told", "k-1"), b'{"tally":"k-1","number":1}')
    await backend.close()


async def test_an_engine_of_the_old_number_gives_up(place: Place) -> None:
    backend = await connect(place.url, place.names, partitions=2)
    engine = Engine(backend, place.names, REGISTRY, engine_id="old")
    await engine.start()
    await eventually(lambda: len(engine.partitions) == 2, 20, "all partitions")
    (entry,) = await backend.meta.entries("engine.")
    assert entry.data is not None
    card = msgspec.json.decode(entry.data, type=EngineCard)
    assert card.of == 2
    later = msgspec.structs.replace(card, id="new", of=5, started=card.started.replace(year=2099))
    await backend.meta.put("engine.new", msgspec.json.encode(later), ttl_s=30)
    with pytest.raises(StoreError, match=r"from 2 to 5.*SNORRI_PARTITIONS=5"):
        await engine.wait()
    await engine.stop()
    await backend.close()
