"""Goal: an engine that slept through its own take-over does no harm when it wakes up (R02, R03).

Method: two engine processes share the partitions. One is stopped with SIGSTOP under load, the other
must take over within ten seconds; then the sleeper goes on with what it believed. Fencing by the
expected revision of the position is what is on trial, not the leases.
"""

from __future__ import annotations

import asyncio
import signal
import time

import msgspec
import pytest

from store.cards import EngineCard
from store.codec import Position
from store.jetstream import JetStreamBackend
from tests.chaos.app import GOOD
from tests.chaos.checks import check_commands, check_ledger, histories
from tests.chaos.processes import World
from tests.waiting import eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

TAKE_OVER_S_MAX = 10.0


async def _shares(backend: JetStreamBackend) -> dict[int, int]:
    """How many partitions each engine says it has, by process id."""
    entries = await backend.meta.entries("engine.")
    cards = [msgspec.json.decode(e.data, type=EngineCard) for e in entries if e.data]
    return {card.pid: len(card.partitions) for card in cards}


async def _owners(world: World, backend: JetStreamBackend) -> dict[int, str]:
    """Who committed last on each partition."""
    owners: dict[int, str] = {}
    for number in range(backend.partitions):
        stored = await backend.log.read(world.names.position(number))
        if stored is not None:
            owners[number] = msgspec.json.decode(stored.data, type=Position).owner
    return owners


async def _order(world: World, backend: JetStreamBackend, numbers: range) -> None:
    for number in numbers:
        subject = world.names.event("OrderCreated", f"o-{number}")
        body = f'{{"order":"o-{number}","fate":"{GOOD}"}}'.encode()
        await backend.door.publish(subject, body, {}, f"create-{number}")


async def test_a_stopped_engine_is_replaced_and_fenced(home: World) -> None:
    backend = await home.backend()
    sleeper, other, worker = home.runner("engine"), home.runner("engine"), home.runner("jobs")
    await asyncio.gather(sleeper.start(), other.start(), worker.start())

    async def evenly() -> bool:
        return await _shares(backend) == {sleeper.pid: 2, other.pid: 2}

    await eventually(evenly, 20, "an even share of the partitions")
    await _order(home, backend, range(100))
    sleeper.send(signal.SIGSTOP)
    stopped_s = time.monotonic()
    await _order(home, backend, range(100, 200))

    async def theirs() -> bool:
        owners = await _owners(home, backend)
        return len(owners) == 4 and all(o.endswith(f"-{other.pid}") for o in owners.values())

    await eventually(theirs, 30, "the other engine committing on all partitions")
    took_s = time.monotonic() - stopped_s
    print(f"taken over after {took_s:.1f} s")
    assert took_s < TAKE_OVER_S_MAX
    sleeper.send(signal.SIGCONT)
    await _order(home, backend, range(200, 300))

    async def ended() -> bool:
        seen = [m async for m in backend.log.latest(home.names.instances("ChaosOrder"))]
        return len(seen) == 300 and all(b'"status":"completed"' in m.data for m in seen)

    await eventually(ended, 40, "all orders completing")
    await eventually(evenly, 20, "the sleeper taking its share again")
    found = await histories(backend, home.names)
    assert {len(history) for history in found.values()} == {3}
    await check_commands(backend, home.names, found)
    orders = [f"o-{n}" for n in range(300)]
    check_ledger(home.ledger, [(what, o) for o in orders for what in ("reserve", "charge")])
