"""Goal: a batch is full where the broker's limits are, and what does not fit leaves no trace.

Method: batches built by hand over a cache, and lanes given more than one batch can hold.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from jobs.batch import BATCH_BYTES_MAX, Batch
from jobs.cache import Cache
from jobs.intake import Intake, Reader
from jobs.partition import Partition
from sagas.definition import Registry
from sagas.instance import SEEN_MAX
from store.port import BATCH_MESSAGES_MAX, Stored
from store.subjects import Names
from tests.unit.jobs.rig import Rig
from tests.unit.jobs.sample import all_sagas

NAMES = Names()
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Bench:
    """One batch over an empty cache; instances appear in it as they are asked for."""

    def __init__(self) -> None:
        self.cache = Cache()
        self.partition = Partition(1, None)
        self.reader = Reader(NAMES, Registry(all_sagas()))
        self.batch = self.new()
        self.seq = 0

    def new(self) -> Batch:
        """Another batch over the same cache."""
        return Batch(NAMES, self.cache, "engine.1", "engine")

    def intake(self, type: str, key: str, id: str = "", **payload: object) -> Intake:
        """A message as the reader gives it, its instances loaded."""
        self.seq += 1
        body = msgspec.json.encode({"order": key, **payload})
        headers = {"Nats-Msg-Id": id} if id else {}
        subject = f"saga.in.1.{type}.{key}"
        stored = Stored(subject, self.seq, self.seq * 1000, body, headers)
        intake = self.reader.read(self.partition, "events", stored)
        for arrival in intake.arrivals:
            if self.cache.get(arrival.subject) is None:
                self.cache.put(arrival.key, arrival.subject, None, sure=True)
        return intake

    def add(self, type: str, key: str, id: str = "", **payload: object) -> bool:
        """Add such a message."""
        return self.batch.add(self.intake(type, key, id, **payload), NOW)


def test_expectations_stand_on_the_first_revision_of_an_instance_only() -> None:
    bench = Bench()
    assert bench.add("Placed", "a")
    assert bench.add("Noted", "a", n=1)
    assert bench.add("Placed", "b")
    sealed = bench.batch.seal(NOW)
    subject = NAMES.instance("Order", "a")
    assert [m.expect for m in sealed if m.subject == subject] == [0, None]
    assert sealed[-1].subject == NAMES.position(1)
    assert sealed[-1].expect == 0
    assert ("Nats-Rollup", "sub") in sealed[-1].headers


def test_after_the_commit_revisions_and_positions_are_known() -> None:
    bench = Bench()
    bench.add("Placed", "a")
    bench.add("Noted", "a", n=1)
    sealed = bench.batch.seal(NOW)
    bench.batch.committed(100, len(sealed))
    entry = bench.cache.get(NAMES.instance("Order", "a"))
    assert entry is not None
    at = max(i for i, m in enumerate(sealed) if m.subject == entry.subject)
    assert entry.revision == 100 - len(sealed) + 1 + at
    assert (bench.partition.revision, bench.partition.events) == (100, 2)


def test_a_full_batch_takes_no_more_and_the_rest_starts_the_next() -> None:
    bench = Bench()
    added = 0
    while bench.add("Placed", f"o-{added}"):
        added += 1
    assert len(bench.batch.seal(NOW)) <= BATCH_MESSAGES_MAX
    assert added > 400
    entry = bench.cache.get(NAMES.instance("Order", f"o-{added}"))
    assert entry is not None
    assert entry.snapshot.instance is None  # nothing of the one that did not fit
    bench.batch = bench.new()
    assert bench.add("Placed", f"o-{added}")


def test_a_batch_is_full_by_bytes_too() -> None:
    bench = Bench()
    assert bench.add("Placed", "a")
    size = 0
    while bench.add("Noted", "a", n="x" * 30_000):
        size = sum(len(m.payload) for m in bench.batch.messages)
    assert BATCH_BYTES_MAX // 2 < size <= BATCH_BYTES_MAX


def test_one_message_alone_is_always_taken() -> None:
    bench = Bench()
    bench.add("Placed", "a")
    bench.batch = bench.new()
    assert bench.add("Many", "a", n=390)


def test_an_id_of_a_message_that_did_not_fit_is_not_remembered() -> None:
    bench = Bench()
    bench.add("Placed", "a")
    for n in range(SEEN_MAX + 5):
        bench.add("Noted", "a", id=f"n-{n}", n=n)
    late = bench.intake("Noted", "a", id="late", n=1)
    while bench.add("Noted", "a", n=0):
        pass
    assert not bench.batch.add(late, NOW)
    bench.batch = bench.new()
    assert bench.batch.add(late, NOW)
    assert len(bench.batch.transitions) == 1


def test_an_unsure_entry_settles_nothing_but_may_be_written() -> None:
    bench = Bench()
    noted = bench.intake("Noted", "a", n=1)
    entry = bench.cache.get(NAMES.instance("Order", "a"))
    assert entry is not None
    entry.sure = False
    assert not bench.batch.add(noted, NOW)
    assert bench.batch.doubts == {entry.subject}
    assert bench.batch.intakes == []
    bench.batch = bench.new()
    assert bench.add("Placed", "a")
    assert entry.sure


@pytest.mark.asyncio
async def test_more_than_a_batch_can_hold_is_carried_over(rig: Rig) -> None:
    keys = [f"o-{n}" for n in range(700)]
    for key in keys:
        await rig.publish("Placed", key, {"order": key})
    await rig.lane()
    await rig.drained(20)
    assert rig.keys("Order") == set(keys)
    assert len(rig.commands("pay")) == 700
    assert rig.counts[0].conflicts == 0


@pytest.mark.asyncio
async def test_eight_mebibytes_are_carried_over(rig: Rig) -> None:
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    for n in range(30):
        await rig.publish("Noted", "o-1", {"order": "o-1", "n": "x" * 10_000 + str(n)})
    await rig.lane()
    await rig.drained(20)
    assert rig.last("Order", "o-1").version == 31
    assert rig.counts[0].conflicts == 0
