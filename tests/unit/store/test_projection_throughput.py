"""Goal: what is remembered of the past and added up tells what plain SQL over all rows tells.

Method: values over nine orders of magnitude, by chance. Percentiles from buckets are compared with
DuckDB's own of the values; then transitions and attempts are written batch by batch, some of them
late, and after each batch looks at windows by chance are compared with the plain query.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from msgspec import Struct, structs

from store.duck.projection import DuckProjections
from store.projection.attempts import Attempts, JobSpan
from store.projection.histogram import bucket_sql, percentiles
from store.projection.port import Progress
from store.projection.records import JobStats, job_stats
from store.projection.spans import grid
from store.projection.throughput import Minute, Throughput
from tests.unit.store.lives import BEGAN

pytestmark = pytest.mark.asyncio

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


PLAIN_ATTEMPTS = """
SELECT $since + to_microseconds(span * $width_us) AS from_at, completed, failed,
    took[1] AS p50_ms, took[2] AS p95_ms
FROM (
    SELECT (epoch_us(ended_at) - epoch_us($since)) // $width_us AS span,
        count(*) FILTER (outcome = 'completed') AS completed,
        count(*) FILTER (outcome NOT IN ('completed', 'returned')) AS failed,
        quantile_cont(duration_ms, [0.5, 0.95]) AS took
    FROM executions WHERE target = $target AND ended_at >= $since GROUP BY span
) ORDER BY from_at
"""
OUTCOMES = ("completed", "failed", "retried", "timed_out", "returned")


class _Exact(Struct, frozen=True):
    of_all: list[float]


class _Bucket(Struct, frozen=True):
    bucket: int
    count: int


def _waited_ms(chance: random.Random) -> float:
    return chance.choice((0.0, 10 ** chance.uniform(-3, 6), 12.5))


def _write(read: DuckProjections, chance: random.Random, tick: int, times: list[datetime]) -> None:
    rows = [(at, chance.randrange(1, 4), chance.randrange(4), _waited_ms(chance)) for at in times]
    _insert(read, "transitions", tick, ("committed_at", "version", "turn", "waited_ms"), rows)


def _attempt(
    read: DuckProjections, chance: random.Random, tick: int, times: list[datetime]
) -> None:
    rows = [
        (
            *(at, chance.choice(("pay", "ship")), chance.choice(OUTCOMES)),
            *(_waited_ms(chance), _waited_ms(chance), chance.choice(("", f"no way at {at}"))),
        )
        for at in times
    ]
    names = ("ended_at", "target", "outcome", "duration_ms", "queued_ms", "error")
    _insert(read, "executions", tick, names, rows)


def _insert(
    read: DuckProjections,
    table: str,
    tick: int,
    names: tuple[str, ...],
    rows: Sequence[tuple[object, ...]],
) -> None:
    columns = [list(column) for column in zip(*rows, strict=True)]
    values = ", ".join("unnest(?)" for _ in names)
    with read.live().cursor() as cursor:
        cursor.execute(
            f"INSERT INTO base.{table} (tick, {', '.join(names)}) SELECT {tick}, {values}", columns
        )


@pytest.mark.parametrize("size", [1, 2, 3, 40, 3_000])
async def test_percentiles_from_buckets(read: DuckProjections, seed: int, size: int) -> None:
    chance = random.Random(seed)
    _write(read, chance, 1, [BEGAN] * size)
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
    throughput, attempts = Throughput(read), Attempts(read)
    now = BEGAN + timedelta(days=2)
    for tick in range(1, 26):
        times = _times(chance, now)
        now = max(now, *times)
        chance.choice((_write, _attempt))(read, chance, tick, times)
        for width in chance.sample(WIDTHS, 2):
            since = grid(now, width, chance.choice((2, 60, 500)))
            found = await throughput.spans(since, width)
            _assert_alike(found, await _plain(read, since, width))
            of_pay = await attempts.of("pay", since, width)
            await _assert_attempts(read, of_pay, since, width)


def _times(chance: random.Random, now: datetime) -> list[datetime]:
    """When rows of a batch were: after the others, or long ago as clocks that are wrong tell it."""
    pause = timedelta(seconds=chance.choice((0, 1, 40, 600, 20_000)))
    late = [now - timedelta(hours=5) * chance.random() for _ in range(chance.randrange(3))]
    return [now + pause * chance.random() for _ in range(chance.randrange(1, 40))] + late


async def test_what_was_counted_is_not_counted_again(read: DuckProjections, seed: int) -> None:
    """Unless the tables are others: fewer rows up to there, or a rebuild that goes on."""
    chance = random.Random(seed)
    throughput = Throughput(read)
    _write(read, chance, 1, [BEGAN, BEGAN])
    [before] = await throughput.spans(BEGAN, WIDTHS[0])
    with read.live().cursor() as cursor:
        cursor.execute("UPDATE base.transitions SET waited_ms = 1e6")
    _write(read, chance, 2, [BEGAN + WIDTHS[0]])
    assert (await throughput.spans(BEGAN, WIDTHS[0]))[0] == before
    read.report(Progress(rebuilding=0.5))
    renewed = await throughput.spans(BEGAN, WIDTHS[0])
    _assert_alike(renewed, await _plain(read, BEGAN, WIDTHS[0]))
    read.report(Progress())
    with read.live().cursor() as cursor:
        cursor.execute("DELETE FROM base.transitions WHERE tick = 1")
    [left] = await throughput.spans(BEGAN, WIDTHS[0])
    assert (left.from_at, left.transitions) == (BEGAN + WIDTHS[0], 1)


async def test_a_look_at_nothing(read: DuckProjections) -> None:
    assert await Throughput(read).spans(BEGAN, WIDTHS[0]) == []
    assert await Attempts(read).of("pay", BEGAN, WIDTHS[0]) == ([], None)


async def _assert_attempts(
    read: DuckProjections,
    found: tuple[list[JobSpan], JobStats | None],
    since: datetime,
    width: timedelta,
) -> None:
    width_us = width // timedelta(microseconds=1)
    about = {"since": since, "width_us": width_us, "target": "pay"}
    spans, together = found
    plain = await read.fetch(PLAIN_ATTEMPTS, about, JobSpan)
    for one, other in zip(spans, plain, strict=True):
        _assert_near(one, other)
    exact = (await job_stats(read, since)).get("pay")
    if exact is None or together is None:
        assert exact is together
    else:
        _assert_near(together, exact)


def _assert_near(one: Struct, other: Struct) -> None:
    """Equal, times but for 2 %."""
    for name, value in structs.asdict(one).items():
        exact = getattr(other, name)
        if name.endswith("_ms"):
            exact = pytest.approx(exact, rel=0.02, abs=0.001)
        assert value == exact, name


async def _plain(read: DuckProjections, since: datetime, width: timedelta) -> list[Minute]:
    about = {"since": since, "width_us": width // timedelta(microseconds=1)}
    return await read.fetch(PLAIN, about, Minute)


def _assert_alike(found: list[Minute], plain: list[Minute]) -> None:
    for one, other in zip(found, plain, strict=True):
        _assert_near(one, other)
