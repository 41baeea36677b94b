"""Goal: runs of steps end right whatever is killed in the middle of them.

Method: engine and worker in one process that is killed with -9 again and again while lists and
workflows run; what was done is read from the ledger, what was decided from the log.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from typing import TypeAlias

import pytest

from sagas.instance import Instance
from store.port import Backend
from tests.chaos.checks import check_commands, histories
from tests.chaos.processes import World
from tests.chaos.step_runner import fails
from tests.conftest import LONG
from tests.waiting import any_moment, eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(180)]

KILLS = 6 if LONG else 2
WAVE = 10  # runs of each kind that are begun before a kill
LINES_BETWEEN = 15  # of the ledger, from there to the kill
GOOD = ["reserve", "charge", "ship"]
UNDONE = [*GOOD, "-charge", "-reserve"]

Histories: TypeAlias = dict[tuple[str, str], list[Instance]]


@pytest.mark.parametrize("how", ["by-workers", "inline"])
async def test_killed_runs_end_and_what_was_done_is_undone_in_reverse(
    home: World, chance: random.Random, how: str
) -> None:
    backend = await home.backend()
    names = home.names
    runner = home.process(
        *("-m", "tests.chaos.step_runner", home.server.url, names.namespace, names.bucket, how),
        name="steps",
    )
    await runner.start()
    for wave in range(KILLS):
        before = len(_lines(home))
        for number in range(wave * WAVE, (wave + 1) * WAVE):
            for saga, body in (("Batch", {"number": number}), ("Parcel", number)):
                subject = names.event(saga, f"r-{number}")
                await backend.door.publish(subject, json.dumps(body).encode(), {}, "")
        await _work_done(home, before + LINES_BETWEEN)
        await any_moment(chance, 0.0, 0.03)
        await runner.end()
        await runner.start()
    ended = await _ended(home, backend)
    assert len(_lines(home)) > len(set(_lines(home))), "no kill met a step at work"
    steps = 2 * WAVE * KILLS * len(GOOD)
    assert (await check_commands(backend, names, ended) < steps) == (how == "inline")
    done = _ledger(home)
    for (saga, key), history in ended.items():
        failed = fails(int(key.removeprefix("r-")))
        assert history[-1].status == ("compensated" if failed else "completed"), (saga, key)
        assert list(done[f"{saga}/{key}"]) == (UNDONE if failed else GOOD), (saga, key)
        assert all(len(ids) == 1 for ids in done[f"{saga}/{key}"].values()), (saga, key)


async def _work_done(home: World, lines: int) -> None:
    await eventually(lambda: len(_lines(home)) >= lines, 60, "steps being run")


async def _ended(home: World, backend: Backend) -> Histories:
    async def all_ended() -> Histories:
        found = await histories(backend, home.names)
        ended = [h for h in found.values() if h[-1].status not in ("running", "compensating")]
        return found if len(ended) == 2 * WAVE * KILLS else {}

    return await eventually(all_ended, 90, "all runs having ended")


def _lines(home: World) -> list[str]:
    return home.ledger.read_text().splitlines() if home.ledger.exists() else []


def _ledger(home: World) -> dict[str, dict[str, set[str]]]:
    """For each run what was done, in the order it was first done, and under which command ids."""
    found: dict[str, dict[str, set[str]]] = defaultdict(dict)
    for line in _lines(home):
        what, run, id = line.split(" ")
        found[run].setdefault(what, set()).add(id)
    return found
