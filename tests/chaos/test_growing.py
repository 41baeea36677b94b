"""Goal: engines and workers come and go under load, and nobody waits for it: partitions move in
order, within half a second, and nothing is lost or done twice.

Method: a client places orders at a steady pace and keeps a log of what was acknowledged; a second
and a third engine and another worker join, and leave again with SIGTERM, the first one too. Pauses
are the times within which a partition made no transition, by the broker's clock.
"""

from __future__ import annotations

import signal
import time
from itertools import pairwise

import msgspec
import pytest

from store.cards import EngineCard
from store.jetstream import JetStreamBackend
from tests.chaos.load import Load, judge, pauses
from tests.chaos.processes import Process, World
from tests.waiting import eventually, until_moment

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

EVERY_S = 0.06
MOVE_S_MAX = 2.0
PARTITIONS = 4


async def _shares(backend: JetStreamBackend) -> list[int]:
    """How many partitions each engine has, sorted."""
    entries = await backend.meta.entries("engine.")
    cards = [msgspec.json.decode(e.data, type=EngineCard) for e in entries if e.data]
    return sorted(len(card.partitions) for card in cards)


async def test_engines_and_workers_come_and_go_under_load(home: World) -> None:
    backend = await home.backend()
    first, second, third = (home.runner("engine") for _ in range(3))
    worker, another = home.runner("jobs"), home.runner("jobs")
    moments: list[tuple[str, int]] = []

    async def move(what: str, shares: list[int]) -> None:
        """Wait for these shares, and a moment longer."""

        async def shared() -> bool:
            return await _shares(backend) == shares

        await eventually(shared, 20, f"{shares} after {what}")
        await until_moment(time.monotonic() + 1)

    def note(what: str) -> None:
        moments.append((what, time.time_ns()))

    async def come(process: Process, what: str) -> None:
        note(what)
        await process.start()

    async def go(process: Process, what: str) -> None:
        note(what)
        await process.end(signal.SIGTERM)

    await first.start()
    await worker.start()
    load = Load(backend, home.names, home.home / "operations", EVERY_S)
    load.start()
    await move("the first", [PARTITIONS])
    await come(second, "a second engine")
    await move("the second", [2, 2])
    await come(third, "a third engine")
    await move("the third", [1, 1, 2])
    await come(another, "another worker")
    await until_moment(time.monotonic() + 1)
    await go(worker, "the first worker leaves")
    await go(first, "the first engine leaves")
    await move("it left", [2, 2])
    await go(second, "the second engine leaves")
    await move("it left", [PARTITIONS])
    note("the end")
    orders = await load.stop()
    await judge(home, backend, orders)
    felt = await pauses(home, backend)
    for (what, at), (_, until) in pairwise(moments):
        longest_s = felt.longest_s(at, until)
        print(f"{what}: longest pause of a partition {longest_s:.2f} s")
        assert longest_s < MOVE_S_MAX, what
