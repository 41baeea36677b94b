"""Goal: orders end right, once, whoever is killed when (R01, R04, R18).

Method: 300 orders (a tenth declined, a tenth without stock) are published in a random order, a
third of them again with the same id and some without an id at all, while engine, worker and broker
are each killed with -9 and started again three times at random moments. Then the whole log and the
ledger that the jobs wrote are read.
"""

from __future__ import annotations

import asyncio
import random
import time

import nats
import nats.errors
import pytest

from tests.chaos.app import DECLINED, ENDS, OUT_OF_STOCK, fate
from tests.chaos.checks import check_commands, check_ledger, histories
from tests.chaos.processes import Process, World
from tests.waiting import any_moment, eventually, until_moment

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(150)]

ORDERS = 300
KILLS_EACH = 3
PUBLISH_S = 6.0


def _messages(chance: random.Random) -> list[tuple[str, int, str]]:
    """What is published: (type, order, id), shuffled over all orders."""
    first = [("OrderCreated", n, f"create-{n}") for n in range(ORDERS)]
    again = [one for one in first if chance.random() < 1 / 3]
    without_id = [("OrderCreated", n, "") for n in chance.sample(range(ORDERS), 20)]
    views = [("Viewed", n, f"view-{n}") for n in chance.sample(range(ORDERS), 60)]
    messages = [*first, *again, *without_id, *views]
    chance.shuffle(messages)
    return messages


async def _publish(world: World, messages: list[tuple[str, int, str]]) -> None:
    """Publish as a stranger does: plain NATS, again under the same id until it is acknowledged."""
    client = await nats.connect(world.server.url, max_reconnect_attempts=-1, reconnect_time_wait=1)
    stream = client.jetstream(timeout=2)
    for type, number, id in messages:
        body = f'{{"order":"o-{number}","fate":"{fate(number)}"}}'.encode()
        headers = {"Nats-Msg-Id": id} if id else None
        subject = world.names.event(type, f"o-{number}")

        async def stored(
            subject: str = subject, body: bytes = body, headers: dict[str, str] | None = headers
        ) -> bool:
            try:
                return bool(await stream.publish(subject, body, headers=headers))
            except (nats.errors.Error, TimeoutError):
                return False

        began_s = time.monotonic()
        await eventually(stored, 30, f"{type} of order {number} being stored")
        await until_moment(began_s + PUBLISH_S / len(messages))
    await client.close()


async def _kill(world: World, chance: random.Random, victims: list[Process | None]) -> None:
    """Kill one after the other, wherever each is; None is the broker."""
    chance.shuffle(victims)
    for victim in victims:
        await any_moment(chance, 0.2, 1.2)
        if victim is None:
            await world.crash_broker()
        else:
            await victim.end()
            await victim.start(ready="")


async def test_every_order_ends_right_and_once(home: World, chance: random.Random) -> None:
    engine, worker = home.runner("engine"), home.runner("jobs")
    await engine.start()
    await worker.start()
    kills = asyncio.create_task(_kill(home, chance, [engine, worker, None] * KILLS_EACH))
    await asyncio.gather(_publish(home, _messages(chance)), kills)

    backend = await home.backend()

    async def ended() -> bool:
        seen = [m async for m in backend.log.latest(home.names.instances("ChaosOrder"))]
        done = [m for m in seen if b'"status":"running"' not in m.data]
        return len(done) == ORDERS and all(b'"compensating"' not in m.data for m in done)

    await eventually(ended, 60, "all orders ending")
    found = await histories(backend, home.names)
    assert len(found) == ORDERS
    for number in range(ORDERS):
        history = found["ChaosOrder", f"o-{number}"]
        assert history[-1].status == ENDS[fate(number)], f"o-{number} went wrong"
        assert [one.status for one in history].count(ENDS[fate(number)]) >= 1
    await check_commands(backend, home.names, found)
    expected = {("reserve", f"o-{n}") for n in range(ORDERS)}
    expected |= {("charge", f"o-{n}") for n in range(ORDERS) if fate(n) != OUT_OF_STOCK}
    expected |= {("release", f"o-{n}") for n in range(ORDERS) if fate(n) == DECLINED}
    ran = check_ledger(home.ledger, expected)
    print(f"{ran} runs of jobs for {len(expected)} effects")
    letters = [m async for m in backend.log.latest(home.names.dead_letters())]
    assert letters == []
