"""Goal: what is remembered of the past and added up tells what plain SQL over all rows tells.

Method: values over nine orders of magnitude, by chance. Percentiles from buckets are compared with
DuckDB's own of the values; then transitions are written bit by bit, a few of them late, and after
each bit looks at windows by chance are compared with the plain query.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec import Struct

from store.duck.projection import DuckProjections
from store.live_mask import LiveMask
from store.projection.checkpoint import Streams
from store.projection.histogram import bucket_sql, percentiles
from store.projection.throughput import SETTLED, Minute, Throughput, grid
from store.subjects import Names

pytestmark = pytest.mark.asyncio

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
WIDTHS = (timedelta(minutes=1), timedelta(minutes=168), timedelta(seconds=7, microseconds=3))
PLAIN = """
SELECT $since + to_microseconds(span * $width_us) AS from_at, transitions, started, ended, failed,
    waited[1] AS waited_p50_ms, waited[2] AS waited_p95_ms
FROM (
    SELECT (epoch_us(committed_at) - epoch_us($since)) // $width_us AS span,
        count(*) AS transitions, count(*) FILTER (version = 1) AS started,
        count(*) FILTER (turn >= 2) AS ended, count(*) FILTER (turn % 2 = 1) AS failed,
        quantile_cont(waited_ms, [0.5, 0.95]) AS waited
    FROM base.transitions WHERE committed_at >= $since GROUP BY span
) ORDER BY from_at
"""


class _Exact(Struct, frozen=True):
    of_all: list[float]


class _Bucket(Struct, frozen=True):
    bucket: int
    count: int


@pytest_asyncio.fixture
async def read(tmp_path: Path) -> AsyncGenerator[DuckProjections]:
    """Projections without rows."""
    projections = DuckProjections(tmp_path, Names(), LiveMask())
    await projections.open()
    await projections.reset(Streams(events=BEGAN, log=BEGAN))
    yield projections
    await projections.close()


def _waited_ms(chance: random.Random) -> float:
    return chance.choice((0.0, 10 ** chance.uniform(-3, 6), 12.5))


def _write(read: DuckProjections, chance: random.Random, times: list[datetime]) -> None:
    rows = [(at, chance.randrange(1, 4), chance.randrange(4), _waited_ms(chance)) for at in times]
    columns = [list(column) for column in zip(*rows, strict=True)]
    with read.live().cursor() as cursor:
        cursor.execute(
            "INSERT INTO base.transitions (committed_at, version, turn, waited_ms)"
            " SELECT unnest(?), unnest(?), unnest(?), unnest(?)",
            columns,
        )


@pytest.mark.parametrize("size", [1, 2, 3, 40, 3_000])
async def test_percentiles_from_buckets(read: DuckProjections, seed: int, size: int) -> None:
    chance = random.Random(seed)
    _write(read, chance, [BEGAN] * size)
    parts = [0.0, 0.01, 0.5, 0.95, 0.99, 1.0]
    of_all = f"SELECT quantile_cont(waited_ms, {parts}) AS of_all FROM base.transitions"
    [exact] = await read.fetch(of_all, {}, _Exact)
    bucket = bucket_sql("waited_ms")
    counted = f'SELECT {bucket} AS bucket, count(*) AS "count" FROM base.transitions GROUP BY 1'
    counts = {one.bucket: one.count for one in await read.fetch(counted, {}, _Bucket)}
    assert percentiles(counts, parts) == pytest.approx(exact.of_all, rel=0.02, abs=0.001)
    apart = [Counter({bucket: n}) for bucket, n in counts.items()]
    assert percentiles(sum(apart, Counter()), parts) == percentiles(counts, parts)


async def test_no_values_have_no_percentiles() -> None:
    assert percentiles({}, [0.5, 0.95]) == [0.0, 0.0]


async def test_remembered_spans_are_those_of_plain_sql(read: DuckProjections, seed: int) -> None:
    chance = random.Random(seed)
    throughput = Throughput(read)
    now = BEGAN + timedelta(days=2)
    for _ in range(25):
        pause = timedelta(seconds=chance.choice((0, 1, 40, 600, 20_000)))
        times = sorted(now + pause * chance.random() for _ in range(chance.randrange(1, 40)))
        # A few are told after others that are younger, by less than what is let them.
        times += [now - SETTLED * 0.9 * chance.random() for _ in range(chance.randrange(3))]
        _write(read, chance, times)
        now = max([now, *times])
        for width in chance.sample(WIDTHS, 2):
            since = grid(now, width, chance.choice((2, 60, 500)))
            found = await throughput.spans(since, width)
            _assert_alike(found, await _plain(read, since, width))


async def _plain(read: DuckProjections, since: datetime, width: timedelta) -> list[Minute]:
    about = {"since": since, "width_us": width // timedelta(microseconds=1)}
    return await read.fetch(PLAIN, about, Minute)


def _assert_alike(found: list[Minute], plain: list[Minute]) -> None:
    assert [_counts(one) for one in found] == [_counts(one) for one in plain]
    for one, other in zip(found, plain, strict=True):
        exact = (other.waited_p50_ms, other.waited_p95_ms)
        assert (one.waited_p50_ms, one.waited_p95_ms) == pytest.approx(exact, rel=0.02, abs=0.001)


def _counts(one: Minute) -> tuple[object, ...]:
    return one.from_at, one.transitions, one.started, one.ended, one.failed
