"""Goal: engines with newer and older code run at once and nothing is lost, spoilt or parked; older
code never decides on what newer code wrote.

Method: engines and lanes with two versions of one saga on a memory broker, instances written by
one and met by the other.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from jobs.engine import Engine
from jobs.rollout import cards_in, in_front, outdates
from sagas import Message, Registry, SagaDefinition, SagaHandle, complete, define_saga
from store.cards import EngineCard
from store.memory import MemoryBackend
from store.port import Entry
from tests.unit.jobs.rig import Rig
from tests.waiting import eventually

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def _count(saga: SagaHandle[dict[str, Any]], message: Message[dict[str, Any]]) -> None:
    saga.state["n"] = saga.state.get("n", 0) + 1


def _count_in_tens(saga: SagaHandle[dict[str, Any]], message: Message[dict[str, Any]]) -> None:
    saga.state["tens"] += 10


def _tens(old: dict[str, Any]) -> dict[str, Any]:
    return {"tens": old.get("n", 0) * 10}


def _old() -> SagaDefinition:
    chain: Any = define_saga("Counter").state({"n": 0})
    return chain.on("Counted", _count).on("Ended", lambda saga: complete()).build()


def _new() -> SagaDefinition:
    chain: Any = define_saga("Counter").version(2).state({"tens": 0}).upcast(1, _tens)
    return chain.on("Counted", _count_in_tens).on("Ended", lambda saga: complete()).build()


def _card(id: str, **versions: int) -> EngineCard:
    return EngineCard(
        id=id,
        host="h",
        pid=1,
        started=NOW,
        sagas=tuple(versions),
        versions={saga: version for saga, version in versions.items() if version > 1},
    )


@pytest.mark.parametrize(
    ("newer", "older", "expected"),
    [
        ({"A": 2}, {"A": 1}, True),
        ({"A": 1}, {"A": 2}, False),
        ({"A": 1}, {"A": 1}, False),
        ({"A": 2, "B": 1}, {"A": 1, "B": 2}, False),
        ({"A": 2, "B": 2}, {"A": 1, "B": 2}, True),
        ({"A": 1, "B": 1}, {"A": 1}, True),  # a saga was added
        ({"A": 1}, {"A": 1, "B": 1}, False),
        ({"A": 2}, {"A": 1, "B": 1}, True),  # one was changed, another removed
        ({"A": 1, "B": 1}, {"A": 2}, False),
        ({"A": 1, "B": 1}, {"A": 1, "C": 1}, False),
        ({"A": 1}, {}, False),  # nothing is known of it
    ],
)
def test_which_code_is_newer(newer: dict[str, int], older: dict[str, int], expected: bool) -> None:
    assert outdates(_card("n", **newer), _card("o", **older)) is expected


def test_somebody_is_always_in_front() -> None:
    assert in_front([_card("b", A=2), _card("a", A=1), _card("c", A=2)]) == ["b", "c"]
    apart = [_card("a", A=2, B=1), _card("b", A=1, B=2)]
    assert in_front(apart) == ["a", "b"]
    circle = [_card("a", X=2, Z=1), _card("b", X=1, Y=2), _card("c", Y=1, Z=2)]
    assert in_front(circle) == ["a", "b", "c"]


def test_a_card_that_cannot_be_read_is_an_engine_all_the_same() -> None:
    entries = [Entry(key="engine.x.y", data=b"{", revision=1)]
    assert [card.id for card in cards_in(entries)] == ["x.y"]


class _Fleet:
    """Engines of two versions on one broker."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.engines: dict[str, Engine] = {}
        self.backends: list[MemoryBackend] = []

    async def start(self, id: str, definition: SagaDefinition) -> None:
        backend = self.rig.broker.backend(id)
        engine = Engine(backend, self.rig.names, Registry([definition]), engine_id=id)
        await engine.start()
        self.engines[id] = engine
        self.backends.append(backend)

    async def stop(self, id: str) -> None:
        await self.engines.pop(id).stop()

    async def held(self, **sizes: int) -> None:
        """Wait until each engine holds so many partitions."""

        def _look() -> bool:
            return {id: len(one.partitions) for id, one in self.engines.items()} == sizes

        await eventually(_look, 10, f"shares of {sizes}")


@pytest_asyncio.fixture
async def fleet():
    """A broker without engines."""
    fleet = _Fleet(Rig([_old()]))
    yield fleet
    for id in tuple(fleet.engines):
        await fleet.stop(id)
    await fleet.rig.close()


async def _count_all(rig: Rig, *, keys: int = 20) -> None:
    for n in range(keys):
        await rig.publish("Counted", f"c-{n}", {})


@pytest.mark.asyncio
async def test_engines_with_older_code_stand_back_and_come_again(fleet: _Fleet) -> None:
    rig = fleet.rig
    await fleet.start("a-old", _old())
    await fleet.start("b-old", _old())
    await fleet.held(**{"a-old": 2, "b-old": 2})
    await _count_all(rig)
    await fleet.start("c-new", _new())
    await _count_all(rig)
    await fleet.held(**{"a-old": 0, "b-old": 0, "c-new": 4})
    await _count_all(rig)
    await fleet.stop("a-old")
    await fleet.start("d-new", _new())
    await fleet.held(**{"b-old": 0, "c-new": 2, "d-new": 2})
    await fleet.stop("b-old")
    await _count_all(rig)
    await rig.drained()
    for n in range(20):
        last = rig.last("Counter", f"c-{n}")
        assert (last.status, last.version, last.definition_version) == ("running", 4, 2)
        assert msgspec.json.decode(last.state) == {"tens": 40}
    assert rig.letters() == []


@pytest.mark.asyncio
async def test_without_newer_code_the_older_goes_on_and_parks_what_it_must_not_touch(
    fleet: _Fleet,
) -> None:
    rig = fleet.rig
    await fleet.start("a-new", _new())
    await fleet.start("b-old", _old())
    await fleet.held(**{"a-new": 4, "b-old": 0})
    await rig.publish("Counted", "c-1", {})
    await rig.drained()
    await fleet.stop("a-new")
    await fleet.held(**{"b-old": 4})
    await rig.publish("Counted", "c-1", {})
    await rig.publish("Counted", "c-2", {})
    await rig.drained()
    parked = rig.last("Counter", "c-1")
    assert (parked.status, parked.version, parked.definition_version) == ("parked", 2, 2)
    assert msgspec.json.decode(parked.state) == {"tens": 10}
    assert parked.error is not None
    assert "version 2 of Counter, this code is version 1" in parked.error.message
    assert rig.last("Counter", "c-2").status == "running"
    await fleet.start("c-new", _new())
    await fleet.held(**{"b-old": 0, "c-new": 4})
    await rig.act("Counter", "c-1", "retry")
    await rig.drained()
    assert msgspec.json.decode(rig.last("Counter", "c-1").state) == {"tens": 20}


@pytest.mark.asyncio
async def test_a_lane_that_meets_newer_work_leaves_the_partition_with_the_message() -> None:
    """In the moment before an older engine has heard of the newer one."""
    rig = Rig([_new()])
    first = await rig.lane(owner="new")
    await rig.publish("Counted", "c-1", {})
    await rig.drained()
    for number in first.partitions:
        await first.release(number)
    rig.registry = Registry([_old()])
    left: list[int] = []
    second = await rig.lane(owner="old")
    second.on_lost(left.append)
    card = msgspec.json.encode(_card("new", Counter=2))
    await rig.outside.meta.put("engine.new", card)
    await rig.publish("Ended", "c-1", {})
    await rig.publish("Counted", "c-2", {})
    await rig.until(lambda: len(left) == 1, "the partition being left")
    (number,) = left
    assert number not in second.partitions
    assert len(second.partitions) == 3
    assert len(rig.history("Counter", "c-1")) == 1
    for other in second.partitions:
        await second.release(other)
    rig.registry = Registry([_new()])
    await rig.lane(owner="newer")
    await rig.drained()
    assert rig.last("Counter", "c-1").status == "completed"
    assert rig.notes() == []
    assert rig.letters() == []
    await rig.close()
