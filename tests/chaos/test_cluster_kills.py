"""Goal: on three brokers, one of everything may be killed under load, and nothing that was
acknowledged is lost, nothing happens twice, nothing fails (R10).

Method: a client places orders at a steady pace and keeps a log of what was acknowledged; kill -9 of
the broker that leads the log, of an engine, of a worker, each started again. The log of the client,
the history and the ledger of the jobs are compared; pauses are measured by the broker's clock.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.chaos.cluster import replaced, trial
from tests.conftest import LONG

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(240 if LONG else 150)]

ROUNDS = 3 if LONG else 1
TAKE_OVER_S_MAX = 12.0  # the brokers wait four to nine seconds before they elect another leader


async def test_kill_one_of_everything(tmp_path: Path) -> None:
    async with trial(tmp_path) as at:
        killed: list[int] = []
        for round in range(ROUNDS):
            leader = at.world.brokers.node(await at.leader())
            killed.append(at.fault("the leader of the log killed"))
            await leader.kill()
            await at.calm(10)
            await leader.restart()
            await at.mended()
            killed.append(at.fault("an engine killed"))
            await at.engines[round % 2].end(signal.SIGKILL)
            await at.calm(8)
            await at.engines[round % 2].start()
            await at.mended()
            killed.append(at.fault("a worker killed"))
            await replaced(at.workers[round % 2], signal.SIGKILL)
            await at.mended()
        felt = await at.end()
        for moment in killed:
            assert felt.longest_s(moment, moment + 15 * 10**9) < TAKE_OVER_S_MAX
