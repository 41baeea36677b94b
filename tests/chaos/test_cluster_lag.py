"""Goal: what is read to its end is whole, also from a copy of the stream that is behind.

Method: of three brokers one that follows is stopped with SIGSTOP, messages are stored by the other
two, and while it goes on and catches up, histories and the last values of all subjects are read:
consumers of a stream of three copies may live on any of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import pytest

from store.jetstream import JetStreamBackend, connect
from store.port import Committed, Outgoing, Stored
from store.subjects import Names
from tests.chaos.cluster import go_on, pause
from tests.cluster_kit import brokers, leader_of

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

NAMES = Names()
ROUNDS = 6
READINGS = 6  # at once, so that some are on the copy that is behind
BATCHES = 20
BATCH = 50
BODY = b"x" * 2000
SUBJECT = "saga.commands.lag.>"


async def test_read_whole_while_a_copy_is_behind(tmp_path: Path) -> None:
    async with brokers(tmp_path) as three:
        backend = await connect(three.cluster.url, NAMES, partitions=2, replicas=3)
        try:
            follower = three.node(await _follower(backend))
            stored = 0
            for _ in range(ROUNDS):
                pause(follower.pid)
                try:
                    for _ in range(BATCHES):
                        await _store(backend, stored)
                        stored += BATCH
                finally:
                    go_on(follower.pid)
                readings = [read for _ in range(READINGS) for read in _readings(backend)]
                assert await asyncio.gather(*readings) == [stored] * len(readings)
        finally:
            await backend.close()


async def _follower(backend: JetStreamBackend) -> str:
    """The name of a broker that neither leads the log nor is the one that we talk to."""
    leader = await leader_of(backend, NAMES.log_stream)
    ours = str(backend._link.server_info["server_name"])
    head = leader.rpartition("n")[0]
    return next(name for n in (1, 2, 3) if (name := f"{head}n{n}") not in (leader, ours))


async def _store(backend: JetStreamBackend, number: int) -> None:
    subjects = [f"saga.commands.lag.{number + place}" for place in range(BATCH)]
    outcome = await backend.log.commit([Outgoing(subject, BODY) for subject in subjects])
    assert isinstance(outcome, Committed), outcome


def _readings(backend: JetStreamBackend) -> tuple[Awaitable[int], Awaitable[int]]:
    return _count(backend.log.latest(SUBJECT)), _count(backend.log.history(SUBJECT))


async def _count(messages: AsyncIterator[Stored]) -> int:
    return len([message async for message in messages])
