"""Goal: the overview's counts and times are those of the instances and their versions.

Method: lives made by chance are projected; what the queries say is compared with the same counted
here, revision by revision.
"""

from __future__ import annotations

import random
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from sagas.instance import FINISHED, Instance
from store.codec import DeadLetter
from store.duck.projection import DuckProjections
from store.live_mask import LiveMask
from store.projection.checkpoint import Streams
from store.projection.overview import standing
from store.projection.port import Progress, ReadModel
from store.projection.spans import grid
from store.projection.throughput import Throughput
from tests.unit.store.lives import BEGAN, NAMES, at, lives_by_chance, log_of, projected

pytestmark = pytest.mark.asyncio
R = TypeVar("R")


def _since(revisions: list[tuple[int, Instance]]) -> int:
    """The sequence since which an instance has the status it has."""
    status = revisions[-1][1].status
    since = revisions[-1][0]
    for seq, one in reversed(revisions):
        if one.status != status:
            break
        since = seq
    return since


async def test_what_stands_how_and_what_ended_since(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    lives = lives_by_chance(chance, instances=30, moves=150)
    letter = DeadLetter(id="a", at=BEGAN, type="Paid", reason="no", stream="events", seq=7)
    read = await projected(tmp_path, log_of(lives, [letter]), chance)
    by_key: dict[str, list[tuple[int, Instance]]] = defaultdict(list)
    for seq, one in enumerate(lives, 1):
        by_key[one.key].append((seq, one))
    last = [revisions[-1][1] for revisions in by_key.values()]
    for seq in (0, 75, 140, 500):
        totals, by_saga = await standing(read, at(seq))
        counted = Counter((one.saga, one.status) for one in last)
        assert {(s, status): n for s, some in by_saga.items() for status, n in some.items()} == (
            counted
        )
        now = Counter(one.status for one in last)
        ended = Counter(
            revisions[-1][1].status for revisions in by_key.values() if _since(revisions) >= seq
        )
        assert (totals.running, totals.parked) == (now["running"], now["parked"])
        assert (totals.paused, totals.compensating) == (0, 0)
        assert (totals.failed_since, totals.completed_since) == (
            ended["failed"],
            ended["completed"],
        )
        assert totals.cancelled_since == ended["cancelled"]
        began = [revisions[0][0] for revisions in by_key.values()]
        assert totals.started_since == sum(first >= seq for first in began)
        assert totals.open_dead_letters == 1
    await read.close()


async def test_what_went_through_in_spans_of_time(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    lives = lives_by_chance(chance, instances=10, moves=150)
    read = await projected(tmp_path, log_of(lives), chance)
    width = timedelta(minutes=7, microseconds=3)
    since = grid(at(21), width, 1)
    throughput = Throughput(read)
    found = await throughput.spans(since, width)
    assert await throughput.spans(since, width) == found  # most of it remembered by now
    spans: dict[int, list[int]] = defaultdict(list)
    for seq in range(1, len(lives) + 1):
        if at(seq) < since:
            continue
        spans[(at(seq) - since) // width].append(seq)
    assert [one.from_at for one in found] == [since + span * width for span in spans]
    before: dict[int, str] = {}
    seen: dict[str, str] = {}
    for seq, one in enumerate(lives, 1):
        before[seq] = seen.get(one.key, "")
        seen[one.key] = one.status
    for row, seqs in zip(found, spans.values(), strict=True):
        moved = [lives[s - 1] for s in seqs if lives[s - 1].status != before[s]]
        assert row.transitions == len(seqs)
        assert row.started == sum(lives[s - 1].version == 1 for s in seqs)
        assert row.ended == sum(one.status in FINISHED for one in moved)
        assert row.failed == sum(one.status in ("parked", "failed") for one in moved)
        waited_ms = [(at(s) - BEGAN) / timedelta(milliseconds=1) for s in seqs]
        assert row.waited_p50_ms == pytest.approx(statistics.median(waited_ms), rel=0.02)
        if len(seqs) > 1:
            worst = statistics.quantiles(waited_ms, n=20, method="inclusive")[-1]
            assert row.waited_p95_ms == pytest.approx(worst, rel=0.02)
    await read.close()


async def test_what_was_counted_stays_right_while_rows_arrive(tmp_path: Path, seed: int) -> None:
    """Each look tells what a first look would tell, and counts what is new."""
    log = log_of(lives_by_chance(random.Random(seed), instances=10, moves=300))
    width = timedelta(minutes=5)
    since = grid(at(1), width, 1)
    read = DuckProjections(tmp_path, NAMES, LiveMask())
    await read.open()
    tables = await read.reset(Streams(events=BEGAN, log=BEGAN))
    asked = _Asked(read)
    throughput = Throughput(asked)
    applied = 0
    for until in (100, 101, 170, 171, 300):
        await tables.apply([], log[applied:until])
        applied = until
        assert await throughput.spans(since, width) == await Throughput(read).spans(since, width)
    assert asked.counted == [(-1, 100), (100, 101), (101, 170), (170, 171), (171, 300)]
    await throughput.spans(since, width)
    assert len(asked.counted) == 5, "nothing is new"
    await read.close()


class _Asked(ReadModel):
    """Reads, and remembers which batches were counted."""

    def __init__(self, read: DuckProjections) -> None:
        self._read = read
        self.counted: list[tuple[object, object]] = []

    async def fetch(self, sql: str, parameters: Mapping[str, object], row: type[R]) -> list[R]:
        if "after" in parameters:
            self.counted.append((parameters["after"], parameters["until"]))
        return await self._read.fetch(sql, parameters, row)

    @property
    def progress(self) -> Progress:
        return self._read.progress

    async def wait_for(self, log_seq: int, timeout_s: float) -> bool:
        return await self._read.wait_for(log_seq, timeout_s)
