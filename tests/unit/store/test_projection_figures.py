"""Goal: figures and pages over many rows are those of the rows.

Method: rows made by chance are put into the tables; percentiles, spans and pages are compared with
the same worked out here.
"""

from __future__ import annotations

import random
import statistics
from datetime import timedelta
from typing import Any

import pytest

from store.duck.projection import DuckProjections
from store.projection.records import EXECUTIONS, TIMERS, Listing, job_stats
from store.projection.sagas import last_events, saga_figures
from store.projection.where import Where
from tests.unit.store.lives import BEGAN

pytestmark = pytest.mark.asyncio

SINCE = BEGAN + timedelta(seconds=100, milliseconds=1)
TARGETS = ("pay", "ship")
OUTCOMES = ("completed", "failed", "retried", "timed_out", "returned")

Row = dict[str, Any]


def _put(read: DuckProjections, table: str, rows: list[Row]) -> None:
    names = list(rows[0])
    marks = ", ".join("?" for _ in names)
    quoted = ", ".join(f'"{name}"' for name in names)
    with read.live().cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO base.{table} ({quoted}) VALUES ({marks})",
            [list(row.values()) for row in rows],
        )


def _attempts(chance: random.Random, count: int) -> list[Row]:
    return [
        {
            "seq": seq,
            "command": f"c-{seq}",
            "target": chance.choice(TARGETS),
            "worker": "w",
            "attempt": 1,
            "queued_at": BEGAN,
            "started_at": BEGAN,
            "ended_at": BEGAN + timedelta(seconds=seq),
            "queued_ms": chance.random() * 100,
            "duration_ms": chance.random() * 1000,
            "outcome": chance.choice(OUTCOMES),
            "error": chance.choice(("", "", f"no way {seq}")),
        }
        for seq in range(count)
    ]


def _percentile(values: list[float], percent: int) -> float:
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


async def test_figures_of_jobs(read: DuckProjections, seed: int) -> None:
    rows = _attempts(random.Random(seed), 300)
    _put(read, "executions", rows)
    stats = await job_stats(read, SINCE)
    assert stats.keys() == set(TARGETS)
    for target, found in stats.items():
        mine = [row for row in rows if row["target"] == target and row["ended_at"] >= SINCE]
        assert found.attempts == len(mine)
        for outcome in ("completed", "failed", "retried", "timed_out"):
            assert getattr(found, outcome) == sum(row["outcome"] == outcome for row in mine)
        ran = [row["duration_ms"] for row in mine]
        assert found.duration_p50_ms == pytest.approx(_percentile(ran, 50))
        assert found.duration_p95_ms == pytest.approx(_percentile(ran, 95))
        assert found.duration_p99_ms == pytest.approx(_percentile(ran, 99))
        queued = [row["queued_ms"] for row in mine]
        assert found.queued_p50_ms == pytest.approx(_percentile(queued, 50))
        assert found.queued_p95_ms == pytest.approx(_percentile(queued, 95))
        assert found.last_ended_at == mine[-1]["ended_at"]
        last = [row for row in mine if row["error"]][-1]
        assert (found.last_error, found.last_error_at) == (last["error"], last["ended_at"])


async def test_figures_of_sagas(read: DuckProjections, seed: int) -> None:
    chance = random.Random(seed)
    rows = [
        {
            "saga": chance.choice(("Order", "Trip")),
            "key": f"k-{number}",
            "status": chance.choice(("completed", "failed")),
            "started_at": BEGAN - timedelta(seconds=chance.random() * 1000),
            "ended_at": BEGAN + timedelta(seconds=number),
        }
        for number in range(300)
    ]
    _put(read, "instances", rows)
    figures = await saga_figures(read, SINCE)
    assert figures.keys() == {"Order", "Trip"}
    for saga, found in figures.items():
        mine = [row for row in rows if row["saga"] == saga and row["ended_at"] >= SINCE]
        assert found.ended == len(mine)
        assert found.completed == sum(row["status"] == "completed" for row in mine)
        took = [(row["ended_at"] - row["started_at"]).total_seconds() for row in mine]
        assert found.p50_s == pytest.approx(_percentile(took, 50))
        assert found.p99_s == pytest.approx(_percentile(took, 99))


async def test_the_last_event_of_each_type(read: DuckProjections) -> None:
    rows = [
        {"seq": seq, "type": f"T{seq % 3}", "key": "k", "id": "", "stored_at": BEGAN}
        for seq in range(30)
    ]
    _put(read, "events", rows)
    found = await last_events(read, ["T0", "T2", "Nothing"])
    assert {type: one.seq for type, one in found.items()} == {"T0": 27, "T2": 29}
    assert await last_events(read, []) == {}


async def _paged(read: DuckProjections, listing: Listing[Any], limit: int) -> list[Any]:
    """All rows of the target or type x, page by page."""
    found: list[Any] = []
    place: list[object] | None = None
    while True:
        where = Where()
        where.equal("target" if listing is EXECUTIONS else '"type"', "pay")
        rows, place = await listing.page(read, where, place, limit)
        found += rows
        if place is None:
            return found
        assert len(rows) == limit


@pytest.mark.parametrize("limit", [1, 7, 1000])
async def test_pages_have_every_row_once_and_in_order(
    read: DuckProjections, seed: int, limit: int
) -> None:
    chance = random.Random(seed)
    attempts = _attempts(chance, 60)
    _put(read, "executions", attempts)
    wanted = [row["seq"] for row in attempts if row["target"] == "pay"]
    assert [row.seq for row in await _paged(read, EXECUTIONS, limit)] == wanted[::-1]
    timers = [
        {
            "saga": chance.choice(("Order", "Trip")),
            "key": f"k-{chance.randrange(5)}",
            "id": f"t-{number}",
            "version": 1,
            "type": chance.choice(TARGETS),
            "set_at": BEGAN,
            "due_at": BEGAN + timedelta(hours=chance.randrange(4)),  # many at the same time
            "status": "pending",
        }
        for number in range(60)
    ]
    _put(read, "timers", timers)
    order = sorted(
        (t["due_at"], t["saga"], t["key"], t["id"]) for t in timers if t["type"] == "pay"
    )
    found = [(t.due_at, t.saga, t.key, t.id) for t in await _paged(read, TIMERS, limit)]
    assert found == order


async def test_a_page_of_nothing_is_empty(read: DuckProjections) -> None:
    assert await TIMERS.page(read, Where(), None, 50) == ([], None)
