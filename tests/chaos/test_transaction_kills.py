"""Goal: a transaction is effective once, though its process dies with it open, in its commit, and
after it before anybody has heard.

Method: a process that kills itself at these points, in runs and in undos, and is started again; at
the end the database is compared with what each run has recorded.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
from collections import Counter

import pytest

from sagas.instance import Instance
from store.port import Backend
from tests.chaos.checks import histories
from tests.chaos.processes import Process, World
from tests.chaos.transaction_runner import POINTS, fails, point
from tests.conftest import LONG
from tests.waiting import eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(180)]

WAVES = 3 if LONG else 1
WAVE = len(POINTS)  # runs at a time: a kill counts as a delivery of all that is under way
RUNS = WAVES * WAVE
CALM = ("completed", "compensated", "failed", "parked")


@pytest.mark.parametrize("how", ["by-workers", "inline"])
async def test_rows_and_runs_agree_after_kills_around_the_commit(home: World, how: str) -> None:
    backend = await home.backend()
    names = home.names
    runner = home.process(
        *("-m", "tests.chaos.transaction_runner"),
        *(home.server.url, names.namespace, names.bucket, how),
        name="transactions",
    )
    await runner.start()
    enough = asyncio.Event()
    keeping = asyncio.create_task(_keep(runner, enough))
    ended: dict[str, Instance] = {}
    try:
        for first in range(0, RUNS, WAVE):
            for number in range(first, first + WAVE):
                body = json.dumps({"number": number}).encode()
                await backend.door.publish(names.event("Booking", f"r-{number}"), body, {}, "")
            ended = await _ended(home, backend, first + WAVE)
    finally:
        enough.set()
        runner.send(signal.SIGKILL)
        await keeping
    died = Counter(path.name.split("-")[1] for path in home.home.glob("died-*"))
    assert all(died[where] >= RUNS / len(POINTS) for where in POINTS if where), died
    rows = _rows(home)
    for number in range(RUNS):
        key, instance = f"r-{number}", ended[f"r-{number}"]
        wanted = "compensated" if fails(number) else "completed"
        assert instance.status == wanted, (key, point(number), instance.error)
        assert rows[f"+{key}", "noted"] == 1, (key, point(number))
        assert rows[key, "open"] == (0 if fails(number) else 1), (key, point(number))
        assert rows[f"-{key}", "closed"] == (1 if fails(number) else 0), (key, point(number))
    assert sum(rows.values()) == RUNS + RUNS


async def _keep(runner: Process, enough: asyncio.Event) -> None:
    """Start it again each time it has died."""
    while True:
        await runner.ended(170)
        if enough.is_set():
            return
        await runner.start()


async def _ended(home: World, backend: Backend, count: int) -> dict[str, Instance]:
    async def all_ended() -> dict[str, Instance]:
        found = await histories(backend, home.names)
        last = {key: history[-1] for (_, key), history in found.items()}
        calm = [one for one in last.values() if one.status in CALM]
        return last if len(calm) == count else {}

    return await eventually(all_ended, 60, f"{count} runs having ended")


def _rows(home: World) -> Counter[tuple[str, str]]:
    """How many rows there are for each run, by what they say."""
    with sqlite3.connect(home.home / "data.sqlite") as connection:
        found = Counter(connection.execute("SELECT run, state FROM account").fetchall())
    connection.close()
    return found
