"""Goal: a `snorri archive` that is killed at any moment loses nothing, and the next one goes on.

Method: orders end under an engine and a worker, and others run while the command line archives what
has ended; it is killed with -9 at random moments, again and again, until one run ends by itself.
Then all histories must be those that were there before, the whole must be proved, and every order
must end as it should.
"""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import pytest

from sagas.instance import Instance
from server.archives import with_archive
from server.settings import Settings
from store.client import SagaClient
from store.maintenance import KEY
from store.port import Backend
from tests.chaos.app import ENDS, fate
from tests.chaos.checks import effects_of
from tests.chaos.load import publish_orders
from tests.chaos.processes import World
from tests.waiting import any_moment, eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(240)]

ORDERS = 80
KILLS = 6


async def _histories(backend: Backend, world: World) -> dict[tuple[str, str], list[Instance]]:
    """Every instance with all its versions, whose chain is followed while it is read."""
    client = SagaClient(backend, world.names)
    found: dict[tuple[str, str], list[Instance]] = {}
    for key in await client.keys("ChaosOrder"):
        versions = [one.instance async for one in client.history("ChaosOrder", key)]
        found["ChaosOrder", key] = versions
    return found


async def _ended(world: World, count: int) -> bool:
    backend = await world.backend()
    seen = [m async for m in backend.log.latest(world.names.instances("ChaosOrder"))]
    return len(seen) == count and not any(
        b'"status":"running"' in m.data or b'"compensating"' in m.data for m in seen
    )


def _archive(world: World, folder: Path) -> list[str]:
    """The words of a run that archives what has ended by now."""
    return [
        *("-m", "server", "archive", "--before", "0s", "--yes", "--json"),
        *("--nats-url", world.server.url, "--archive", str(folder)),
    ]


async def _seconds(world: World, words: list[str]) -> float:
    """How long a command runs when nobody kills it."""
    begun_s = time.monotonic()
    process = world.process(*words, name="archive")
    await process.start(ready="")
    assert await process.ended(90) == 0, process.words()
    return time.monotonic() - begun_s


async def test_killed_anywhere_nothing_is_lost_and_the_next_goes_on(
    home: World, chance: random.Random
) -> None:
    await home.runner("engine").start()
    await home.runner("jobs").start()
    await publish_orders(home, 0, ORDERS)
    await eventually(lambda: _ended(home, ORDERS), 60, "the first orders ending")
    backend = await home.backend()
    before = await _histories(backend, home)
    publishing = asyncio.create_task(publish_orders(home, ORDERS, 2 * ORDERS))

    folder = home.home / "archive"
    words = _archive(home, folder)
    whole_s = await _seconds(home, [*words, "--dry-run"])  # of a run that archives nothing
    killed = 0
    for _ in range(KILLS):
        process = home.process(*words, name="archive")
        await process.start(ready="")
        await any_moment(chance, 0.5 * whole_s, 1.2 * whole_s)
        if not process.alive:
            assert await process.ended() == 0, process.words()
            continue
        await process.end()
        killed += 1
        await backend.meta.delete(KEY)  # the claim of one that died runs out by itself, too
    process = home.process(*words, name="archive")
    await process.start(ready="")
    assert await process.ended(90) == 0, process.words()
    print(f"killed {killed} times")
    assert killed > 0

    await publishing
    await eventually(lambda: _ended(home, 2 * ORDERS), 60, "all orders ending")
    whole = with_archive(Settings(archive=str(folder)), backend, home.names)
    after = await _histories(whole, home)
    for name, versions in before.items():
        assert after[name] == versions, name
    for number in range(2 * ORDERS):
        assert after["ChaosOrder", f"o-{number}"][-1].status == ENDS[fate(number)]
    alone = await _versions_left(home)
    assert sum(1 for count in alone.values() if count == 1) >= ORDERS
    assert all(len(keys) == 1 for keys in effects_of(home.ledger).values())
    process = home.process(
        *("-m", "server", "verify", "--nats-url", home.server.url, "--archive", str(folder)),
        *("--no-projections", "--json"),
        name="verify",
    )
    await process.start(ready="")
    assert await process.ended(60) == 0, process.words()


async def _versions_left(world: World) -> dict[str, int]:
    """How many versions of each instance the log still has."""
    backend = await world.backend()
    found: dict[str, int] = {}
    async for stored in backend.log.history(world.names.instances("ChaosOrder")):
        found[stored.subject] = found.get(stored.subject, 0) + 1
    return found
