"""Goal: a rolling restart of a whole cluster under load is hardly felt: no saga fails, no partition
rests for long (R12).

Method: a broker, the leader of the log first, is told to retire (lame duck) and started again; an
engine and a worker get SIGTERM and are started again; with SNORRI_TEST_LONG=1 each of them all in
turn. Judged as in test_cluster_kills.py.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.chaos.cluster import replaced, trial
from tests.conftest import LONG

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(240 if LONG else 150)]

TAKE_OVER_S_MAX = 12.0
HAND_OVER_S_MAX = 4.0  # about one second where the machine has nothing else to do


async def test_roll_everything(tmp_path: Path) -> None:
    async with trial(tmp_path) as at:
        brokers: list[int] = []
        handed: list[int] = []
        first = at.world.brokers.node(await at.leader())
        others = [node for node in at.world.brokers.cluster.nodes if node is not first]
        for node in [first, *others] if LONG else [first]:
            brokers.append(at.fault(f"{node.data_dir.name} restarted"))
            await node.retire()
            await node.restart()
            await at.mended()
        processes = [*at.engines, *at.workers]
        for process in processes if LONG else processes[::2]:
            handed.append(at.fault(f"{process.log.name} restarted"))
            await replaced(process, signal.SIGTERM)
            await at.mended()
        ended = at.fault("nothing")
        felt = await at.end()
        for moment in brokers:
            assert felt.longest_s(moment, moment + 20 * 10**9) < TAKE_OVER_S_MAX
        for moment, after in zip(handed, [*handed[1:], ended], strict=True):
            assert felt.longest_s(moment, after) < HAND_OVER_S_MAX
