"""Goal: what the catalogue of engine moments promises is told, once, and truly.

Method: a lane in memory with a hook that keeps all moments; commits that go well, are refused or
stay without an answer, a dead letter, and a partition that somebody else has moved.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TypeVar

import msgspec
import pytest

from jobs.telemetry import (
    BatchCommitted,
    BatchConflicted,
    CommitBusy,
    CommitUnknown,
    Hooks,
    LoggingHook,
    PartitionLeft,
    PartitionTaken,
    Telemetry,
)
from store.codec import Position
from store.memory import Answer, Hold, LoseReply, ScriptedFaults, partition_of
from store.port import Busy, Conflict, Outgoing
from tests.unit.jobs.rig import PARTITIONS, Rig

M = TypeVar("M")


def _told(rig: Rig, kind: type[M]) -> list[M]:
    return [moment for moment in rig.counts[0].moments if isinstance(moment, kind)]


@pytest.mark.asyncio
async def test_a_commit_tells_its_transitions_messages_and_letters(rig: Rig) -> None:
    await rig.publish("Placed", "a", {"order": "a"})
    await rig.publish("Placed", "b", b"no json")
    await rig.lane()
    await rig.drained()
    batches = _told(rig, BatchCommitted)
    assert sum(batch.messages for batch in batches) == 2
    assert sum(batch.letters for batch in batches) == 1
    told = [(t.after.key, t.after.version) for batch in batches for t in batch.transitions]
    assert told == [("a", 1)]
    assert {batch.engine for batch in batches} == {"engine1"}
    assert all(batch.duration_s >= 0 for batch in batches)
    assert [moment.partition for moment in _told(rig, PartitionTaken)] == list(range(PARTITIONS))


@pytest.mark.asyncio
async def test_trouble_with_a_commit_is_told(rig: Rig, faults: ScriptedFaults) -> None:
    faults.on("log.commit", Answer(Busy("no room")), times=2)
    faults.on("log.commit", LoseReply())
    faults.on("log.commit", Answer(Conflict("10071")))
    await rig.lane()
    for key in "ab":
        await rig.publish("Placed", key, {"order": key})
        await rig.drained()
    await rig.until(lambda: len(_told(rig, BatchCommitted)) == 2, "both being told")
    assert [moment.reason for moment in _told(rig, CommitBusy)] == ["no room"] * 2
    assert len(_told(rig, CommitUnknown)) == 1
    assert [moment.messages for moment in _told(rig, BatchConflicted)] == [1]
    assert sum(len(batch.transitions) for batch in _told(rig, BatchCommitted)) == 2


@pytest.mark.asyncio
async def test_a_partition_moved_by_another_is_told_as_lost(rig: Rig) -> None:
    lane = await rig.lane()
    number = partition_of("a", PARTITIONS)
    record = msgspec.json.encode(Position(events=0, signals=0, owner="another", batch="x"))
    await rig.outside.log.commit([Outgoing(rig.names.position(number), record)])
    await rig.publish("Placed", "a", {"order": "a"})
    await rig.until(lambda: number not in lane.partitions, "the partition being left")
    left = _told(rig, PartitionLeft)
    assert [(moment.partition, moment.lost) for moment in left] == [(number, True)]


@pytest.mark.asyncio
async def test_an_engine_knows_how_much_waits(rig: Rig, faults: ScriptedFaults) -> None:
    held = asyncio.Event()
    faults.on("log.commit", Hold(held), process="engine1")
    lane = await rig.lane()
    assert lane.waiting == 0
    total = 5_000  # more than one commit and the batches behind it take
    for number in range(total):
        await rig.publish("Placed", f"o-{number}", {"order": f"o-{number}"})
    await rig.until(lambda: total - 3_000 < lane.waiting < total, "a backlog")
    held.set()
    await rig.drained(30)
    assert lane.waiting == 0


def test_a_hook_that_fails_keeps_nothing_from_the_others(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Telemetry] = []

    class Broken:
        def told(self, moment: Telemetry) -> None:
            raise RuntimeError("no way")

    class Ear:
        def told(self, moment: Telemetry) -> None:
            heard.append(moment)

    moment = PartitionTaken("e", 1)
    Hooks(Broken(), LoggingHook(), Ear()).told(moment)
    assert heard == [moment]
    assert "a telemetry hook failed" in caplog.text


def test_the_log_tells_of_commits_and_their_trouble(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "snorri.engine"):
        hook = LoggingHook()
        hook.told(BatchCommitted("e", (), 7, 0, 0.25))
        hook.told(BatchConflicted("e", 7))
        hook.told(CommitBusy("e", "no room"))
        hook.told(CommitUnknown("e", "no answer"))
        hook.told(PartitionTaken("e", 1))
    assert [record.message for record in caplog.records] == [
        "0 transitions of 7 messages committed in 0.250 s",
        "7 messages are decided again",
        "the broker is busy: no room",
        "nobody knows whether a commit is stored: no answer",
    ]
