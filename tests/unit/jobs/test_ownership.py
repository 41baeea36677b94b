"""Goal: every partition has an owner soon, shares are even, and a hand-over loses nothing.

Method: whole engines on a memory broker; its virtual clock lets leases run out, real rounds are
waited for.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import pytest_asyncio

from jobs.engine import Engine
from jobs.ownership import LEASE_TTL_S, Ownership
from jobs.rollout import new_card
from store.memory import Fail, MemoryBackend, ScriptedFaults
from store.port import Unreachable
from tests.unit.jobs.rig import Rig
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio


class Fleet:
    """Engines on one broker, stopped at the end."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.engines: list[Engine] = []
        self.backends: list[MemoryBackend] = []

    async def start(self, id: str) -> Engine:
        """One more engine, as a process of its own."""
        backend = self.rig.broker.backend(id)
        engine = Engine(backend, self.rig.names, self.rig.registry, engine_id=id)
        await engine.start()
        self.engines.append(engine)
        self.backends.append(backend)
        return engine

    async def shares(self, *sizes: int) -> None:
        """Wait until the engines hold so many partitions, all of them once."""

        def look() -> bool:
            held = [number for engine in self.engines for number in engine.partitions]
            counts = tuple(len(engine.partitions) for engine in self.engines)
            return counts == sizes and len(held) == len(set(held))

        await eventually(look, 10, f"shares of {sizes}")


@pytest_asyncio.fixture
async def fleet(rig: Rig):
    """No engine yet."""
    fleet = Fleet(rig)
    yield fleet
    for backend in fleet.backends:
        backend.heal()
    for engine in fleet.engines:
        await engine.stop()


async def test_one_engine_takes_all(fleet: Fleet) -> None:
    await fleet.start("a")
    await fleet.shares(4)


async def test_two_engines_share_evenly_and_one_that_stops_hands_over_at_once(
    fleet: Fleet,
) -> None:
    first = await fleet.start("a")
    await fleet.shares(4)
    await fleet.start("b")
    await fleet.shares(2, 2)
    for n in range(50):
        await fleet.rig.publish("Placed", f"o-{n}", {"order": f"o-{n}"})
    await first.stop()
    await fleet.shares(0, 4)
    await fleet.rig.drained()
    assert len(fleet.rig.keys("Order")) == 50
    assert len(fleet.rig.commands("pay")) == 50


async def test_what_a_dead_engine_held_is_taken_over_when_its_leases_run_out(
    fleet: Fleet,
) -> None:
    await fleet.start("a")
    await fleet.shares(4)
    fleet.backends[0].cut()
    await fleet.start("b")
    await fleet.rig.publish("Placed", "o-1", {"order": "o-1"})
    await fleet.rig.broker.advance(LEASE_TTL_S + 1)
    await eventually(lambda: len(fleet.engines[1].partitions) == 4, 10, "the take-over")
    await fleet.rig.drained()
    fleet.backends[0].heal()
    await fleet.shares(2, 2)
    assert fleet.rig.last("Order", "o-1").version == 1


async def test_a_partition_that_could_not_be_opened_is_tried_again(
    fleet: Fleet, faults: ScriptedFaults
) -> None:
    faults.on("feeds.open", Fail(Unreachable("gone")), times=3)
    await fleet.start("a")
    await fleet.shares(4)


async def test_a_second_stop_returns(fleet: Fleet) -> None:
    engine = await fleet.start("a")
    await fleet.shares(4)
    await asyncio.gather(engine.stop(), engine.stop())
    await asyncio.wait_for(engine.wait(), 1)


async def test_a_lease_that_another_holds_is_left(rig: Rig) -> None:
    taken: list[int] = []
    left: list[int] = []

    async def take(number: int) -> None:
        taken.append(number)

    async def leave(number: int) -> None:
        left.append(number)

    backend = rig.broker.backend("a")
    ownership = Ownership(backend.meta, new_card("a", "here", 1), 2, take, leave)
    task = asyncio.create_task(ownership.run())
    await eventually(lambda: sorted(taken) == [0, 1], 5, "both being taken")
    lease = await backend.meta.get("lease.1")
    assert lease is not None
    await rig.outside.meta.put("lease.1", b"z", expect=lease.revision)
    await eventually(lambda: left == [1], 5, "the lost one being left")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await ownership.hand_over()
    assert left == [1, 0]
    assert await backend.meta.get("lease.0") is None
    other = await backend.meta.get("lease.1")
    assert other is not None
    assert other.data == b"z"


async def test_what_is_lost_while_its_lease_is_renewed_is_taken_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    async def take(number: int) -> None:
        taken.append(number)

    async def leave(_: int) -> None:
        pass

    meta = rig.broker.backend("a").meta
    ownership = Ownership(meta, new_card("a", "here", 1), 2, take, leave)
    real = meta.put

    async def put(key: str, data: bytes, **more: Any) -> int | None:
        revision = await real(key, data, **more)
        if key == "lease.1" and taken == [0, 1]:  # renewed, while a late commit moves it away
            ownership.lost(1)
        return revision

    monkeypatch.setattr(meta, "put", put)
    task = asyncio.create_task(ownership.run())
    await eventually(lambda: taken == [0, 1, 1], 5, "it being taken again")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_an_engine_whose_broker_is_away_still_stops(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.engine.STOP_GRACE_S", 0.1)
    engine = await fleet.start("a")
    await fleet.shares(4)
    waiting = asyncio.create_task(engine.wait())
    await fleet.rig.publish("Placed", "o-1", {"order": "o-1"})
    fleet.backends[0].cut()
    await asyncio.wait_for(engine.stop(), 5)
    await asyncio.wait_for(waiting, 1)
    fleet.backends[0].heal()
    await fleet.start("b")
    await fleet.rig.broker.advance(LEASE_TTL_S + 1)
    await fleet.rig.drained()
    assert fleet.rig.last("Order", "o-1").version == 1
