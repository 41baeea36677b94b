"""Goal: the overview's counts and times are those of the instances and their versions.

Method: lives made by chance are projected; what the queries say is compared with the same counted
here, revision by revision.
"""

from __future__ import annotations

import random
import statistics
from collections import Counter, defaultdict
from datetime import timedelta
from pathlib import Path

import pytest

from sagas.instance import FINISHED, Instance
from store.codec import DeadLetter
from store.projection.overview import minutes, standing
from tests.unit.store.lives import BEGAN, at, lives_by_chance, log_of, projected

pytestmark = pytest.mark.asyncio


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
    since, width = at(20) + timedelta(seconds=1), timedelta(minutes=7, microseconds=3)
    found = await minutes(read, since, width)
    spans: dict[int, list[int]] = defaultdict(list)
    for seq in range(21, len(lives) + 1):
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
        assert row.waited_p50_ms == pytest.approx(statistics.median(waited_ms))
        if len(seqs) > 1:
            worst = statistics.quantiles(waited_ms, n=20, method="inclusive")[-1]
            assert row.waited_p95_ms == pytest.approx(worst)
    await read.close()
