"""Goal: a backup taken in the middle of everything comes back whole and goes on; a `snorri backup`
or `snorri restore` that is killed leaves nothing that looks whole, and the next one goes on.

Method: orders run with an engine and a worker while the command line makes a backup and then one
since it. The installation is then lost. Restored into a new directory, the orders that were half
way must end as they should, each effect under one key, timers that fell due meanwhile must ring
once. Commands are killed with -9 at random moments until one of them ends by itself.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import msgspec
import pytest

from server.embedded import EmbeddedServer
from tests.chaos.app import ENDS, fate
from tests.chaos.checks import check_commands, effects_of, histories
from tests.chaos.load import publish_orders
from tests.chaos.processes import World
from tests.waiting import any_moment, eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(150)]

ORDERS = 200
BELLS = 10
KILLS_MAX = 6
CLAIMED = "is at work here"


async def _snorri(world: World, *arguments: str) -> int:
    process = world.process("-m", "server", *arguments, name=arguments[0])
    await process.start(ready="")
    code = await process.ended(60)
    assert code == 0, process.words()
    return code


async def _until_it_ends(world: World, chance: random.Random, *arguments: str) -> int:
    """Kill a command again and again until it comes to its end; how often it was killed."""
    for kills in range(KILLS_MAX):
        process = world.process("-m", "server", *arguments, name=arguments[0])
        await process.start(ready="")
        await any_moment(chance, 0.6, 2.0)
        if not process.alive:
            if kills and CLAIMED in process.words():
                break
            # One that was killed between its last word and its end has left nothing to do.
            done = await process.ended() == 0 or (kills and "already" in process.words())
            assert done, process.words()
            return kills
        await process.end()
    await _after_the_claim(world, *arguments)
    return KILLS_MAX


async def _after_the_claim(world: World, *arguments: str) -> None:
    """Run a command as soon as what was killed before it no longer counts as being at work."""

    async def done() -> bool:
        process = world.process("-m", "server", *arguments, name=arguments[0])
        await process.start(ready="")
        code = await process.ended(60)
        assert code == 0 or CLAIMED in process.words(), process.words()
        return code == 0

    await eventually(done, 60, "a claim running out")


async def _lose_and_restore(world: World, backup: Path) -> None:
    """The installation is gone; the backup comes back on another directory."""
    for process in world.processes:
        if process.alive:
            await process.end()
    await world.server.stop()
    restored = world.home / "restored"
    await _snorri(world, "restore", str(backup), "--into", str(restored))
    await world.use(EmbeddedServer(restored, port=0))


async def test_a_backup_under_load_comes_back_and_goes_on(home: World) -> None:
    await home.runner("engine").start()
    await home.runner("jobs").start()
    backend = await home.backend()
    for number in range(BELLS):
        body = msgspec.json.encode({"bell": f"b-{number}", "after_s": 12})
        await backend.door.publish(home.names.event("BellSet", f"b-{number}"), body)
    publishing = asyncio.create_task(publish_orders(home, 0, ORDERS))
    url = ("--nats-url", home.server.url)
    whole, later = home.home / "whole", home.home / "later"
    await _snorri(home, "backup", str(whole), *url)
    await _snorri(home, "backup", str(later), "--since", str(whole), *url)
    await publishing
    await _lose_and_restore(home, later)

    ran_before = {one for keys in effects_of(home.ledger).values() for one in keys}
    await home.runner("engine").start()
    await home.runner("jobs").start()
    # Publishers whose events came after the backup repeat them under their ids.
    await publish_orders(home, 0, ORDERS)
    backend = await home.backend()

    async def ended() -> bool:
        seen = [m async for m in backend.log.latest(home.names.instances())]
        return len(seen) == ORDERS + BELLS and not any(
            (b'"status":"running"' in m.data and b'"saga":"ChaosOrder"' in m.data)
            or b'"compensating"' in m.data
            or b'"rang":0' in m.data
            for m in seen
        )

    await eventually(ended, 60, "all orders ending and all bells ringing")
    found = await histories(backend, home.names)
    for number in range(ORDERS):
        assert found["ChaosOrder", f"o-{number}"][-1].status == ENDS[fate(number)]
    for number in range(BELLS):
        assert found["Bell", f"b-{number}"][-1].state == msgspec.Raw(b'{"rang":1}')
    await check_commands(backend, home.names, found)
    # What ran before the loss and again after it ran under the same id.
    assert all(len(keys) == 1 for keys in effects_of(home.ledger).values())
    assert ran_before
    await _snorri(home, "verify", "--nats-url", home.server.url, "--no-projections")


async def test_killed_backups_and_restores_are_gone_on_with(
    home: World, chance: random.Random
) -> None:
    engine, worker = home.runner("engine"), home.runner("jobs")
    await engine.start()
    await worker.start()
    await publish_orders(home, 0, ORDERS)
    backup, restored = home.home / "backup", home.home / "restored"
    kills = await _until_it_ends(
        *(home, chance, "backup", str(backup), "--nats-url", home.server.url)
    )
    await _snorri(home, "verify", "--backup", str(backup))
    kills += await _until_it_ends(home, chance, "restore", str(backup), "--into", str(restored))
    print(f"killed {kills} times")

    for process in (engine, worker):
        await process.end()
    await home.server.stop()
    await home.use(EmbeddedServer(restored, port=0))
    await _snorri(home, "verify", "--nats-url", home.server.url, "--no-projections")
    await home.runner("engine").start()
    await home.runner("jobs").start()
    backend = await home.backend()

    async def ended() -> bool:
        seen = [m async for m in backend.log.latest(home.names.instances("ChaosOrder"))]
        return len(seen) == ORDERS and not any(
            b'"status":"running"' in m.data or b'"compensating"' in m.data for m in seen
        )

    await eventually(ended, 60, "all orders ending")
    found = await histories(backend, home.names)
    await check_commands(backend, home.names, found)
