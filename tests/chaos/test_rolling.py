"""Goal: a deployment rolls under load, forwards and back, and no order is lost, doubled, failed or
parked; what newer code wrote waits for it when it was taken back for good.

Method: two engines of version 1 and a worker on a real nats-server; while orders pour in, each
engine is replaced by one of version 2 in turn. Views of the orders come through other partitions,
so that older engines meet orders of newer ones.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter

import msgspec
import nats
import pytest

from tests.chaos.checks import check_commands, check_ledger, histories
from tests.chaos.processes import Process, World
from tests.chaos.roll_runner import Counted
from tests.waiting import any_moment, eventually, until_moment

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(150)]

ORDERS = 300
VIEWS_EACH = 2
PUBLISH_S = 12.0


def _engine(world: World, version: int) -> Process:
    names = world.names
    return world.process(
        *("-m", "tests.chaos.roll_runner", str(version)),
        *(world.server.url, names.namespace, names.bucket),
        name=f"engine-v{version}",
    )


async def _pour(world: World, chance: random.Random) -> None:
    """Orders under their own ordering keys, their views under others', spread over the time."""
    client = await nats.connect(world.server.url)
    stream = client.jetstream(timeout=10)
    began_s = time.monotonic()
    for number in range(ORDERS):
        body = f'{{"order":"o-{number}"}}'.encode()
        await stream.publish(world.names.event("OrderCreated", f"o-{number}"), body)
        for _ in range(VIEWS_EACH):
            await stream.publish(world.names.event("Viewed", f"v-{chance.randrange(50)}"), body)
        await until_moment(began_s + PUBLISH_S * (number + 1) / ORDERS)
    await client.close()


async def _all_done(world: World) -> None:
    backend = await world.backend()

    async def _ended() -> bool:
        seen = [m async for m in backend.log.latest(world.names.instances("RollingOrder"))]
        return len([m for m in seen if b'"status":"completed"' in m.data]) == ORDERS

    await eventually(_ended, 60, "all orders ending")


async def test_engines_are_replaced_one_after_the_other_under_load(
    home: World, chance: random.Random
) -> None:
    old = [await _engine(home, 1).start(), await _engine(home, 1).start()]
    await home.runner("jobs").start()
    pouring = asyncio.create_task(_pour(home, chance))
    for engine in old:
        await any_moment(chance, 1.0, 2.0)
        await _engine(home, 2).start()
        await any_moment(chance, 0.0, 2.0)
        assert await engine.end(signal.SIGTERM) == 0, engine.words()
    await pouring
    await _all_done(home)

    backend = await home.backend()
    found = await histories(backend, home.names)
    assert len(found) == ORDERS
    assert {history[-1].status for history in found.values()} == {"completed"}
    versions = Counter(one.definition_version for history in found.values() for one in history)
    print(f"transitions by version: {dict(versions)}")
    assert set(versions) == {1, 2}, "the load was over before the deployment was"
    both = 0
    for history in found.values():
        by = [one.definition_version for one in history]
        assert by == sorted(by), "older code decided after newer"
        both += len(set(by)) == 2
        if by[-1] == 2:
            done = msgspec.json.decode(history[-1].state, type=Counted).done
            assert all(done[step] == 1 for step in ("created", "reserved", "charged"))
    assert both, "no order was on its way while the code changed"
    views = sum(one.cause.type == "Viewed" for history in found.values() for one in history)
    assert views > ORDERS / 2, "the views came too late to matter"
    await check_commands(backend, home.names, found)
    keys = [f"o-{n}" for n in range(ORDERS)]
    check_ledger(home.ledger, [(job, key) for key in keys for job in ("reserve", "charge")])
    assert [m async for m in backend.log.latest(home.names.dead_letters())] == []
    assert not any(history[-1].parked for history in found.values())
