"""Goal: a projector that is killed while it writes neither loses nor repeats a row (R31), and a
server that lost its last writes is found out by it (R05).

Method: a log of a few hundred orders is projected from nothing by a process that is killed with -9
some times at random moments; what it then finishes must equal, row by row, tables built without any
kill. Then the end of each stream is cut away on the disk, as an unsynced crash does.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from store.duck.file import DuckFile
from store.jetstream import JetStreamBackend
from store.live_mask import LiveMask
from tests.chaos.app import GOOD, fate
from tests.chaos.inside import engine_inside
from tests.chaos.processes import World
from tests.chaos.test_lost_tail import _lose_tail
from tests.conftest import LONG
from tests.projector_kit import projecting, rows_from_nothing
from tests.waiting import any_moment, eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(180)]

ORDERS = 1000
KILLS = 20 if LONG else 6


async def _orders(world: World, backend: JetStreamBackend, first: int, last: int) -> None:
    for number in range(first, last):
        body = f'{{"order":"o-{number}","fate":"{fate(number)}"}}'.encode()
        subject = world.names.event("OrderCreated", f"o-{number}")
        await backend.door.publish(subject, body, {}, f"create-{number}")
        await backend.door.publish(world.names.event("Viewed", f"o-{number}"), b"{}")
        await backend.door.publish(world.names.event("Nobody", f"o-{number}"), b"{}")


async def _log_of(world: World, orders: int) -> None:
    """Orders, decided by an engine; nobody works on their commands."""
    async with engine_inside(world) as backend:
        await _orders(world, backend, 0, orders)
        sizes: list[int] = []

        async def still() -> bool:
            sizes.append((await backend.log.extent("log")).last)
            return len(sizes) > 20 and len(set(sizes[-20:])) == 1

        await eventually(still, 40, "the log standing still")


async def test_killed_again_and_again_while_it_writes(
    home: World, chance: random.Random, tmp_path: Path
) -> None:
    await _log_of(home, ORDERS)
    folder = tmp_path / "killed"
    arguments = (home.server.url, home.names.namespace, home.names.bucket, str(folder))
    process = home.process("-m", "tests.chaos.projecting", *arguments, name="projecting")
    reached: list[int] = []
    longest_s = 2.0
    while len(reached) < KILLS or (len(set(reached)) <= 2 and len(reached) < 2 * KILLS):
        await process.start()
        await any_moment(chance, 0.2, longest_s)
        assert process.alive, process.words()
        await process.end()
        reached.append(_applied(folder, home))
        if len(set(reached)) < len(reached):
            longest_s = min(2 * longest_s, 10.0)  # a busy machine gets further only with more time
    backend = await home.backend()
    async with projecting(backend, home.names, folder) as made:
        rows = made.rows()
    assert rows == await rows_from_nothing(backend, home.names, tmp_path / "whole")
    assert len(rows["events"]) == 3 * ORDERS
    assert len(set(reached)) > 2, f"the kills met too little of the writing: {reached}"
    assert reached == sorted(reached)


def _applied(folder: Path, world: World) -> int:
    """How many messages the file holds that a killed process has left; 0 when it never was one."""
    name = (folder / "current").read_text().strip()
    file = DuckFile(folder / name, world.names, LiveMask())
    tick = file.checkpoint.tick if file.checkpoint is not None else 0
    file.close()
    return tick


@pytest.mark.parametrize("which", ["events", "log"])
async def test_a_lost_end_of_a_stream_rebuilds(
    home: World, tmp_path: Path, caplog: pytest.LogCaptureFixture, which: str
) -> None:
    await _log_of(home, 60)
    folder = tmp_path / "p"
    async with projecting(await home.backend(), home.names, folder) as made:
        before = made.rows()
    names = home.names
    await _lose_tail(home, names.events_stream if which == "events" else names.log_stream)
    backend = await home.backend()
    for number in range(40):  # their sequences are given again
        body = f'{{"order":"new-{number}","fate":"{GOOD}"}}'.encode()
        await backend.door.publish(names.event("OrderCreated", f"new-{number}"), body)
    async with projecting(backend, names, folder) as made:
        rows = made.rows()
    assert "is not the one they were made of" in caplog.text
    assert rows != before
    assert rows == await rows_from_nothing(backend, names, tmp_path / "whole")
    shutil.rmtree(folder)
