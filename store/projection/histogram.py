"""Percentiles from counts in buckets, which are cheap to count in SQL and can be added up.

Each bucket is a factor wider than the one before. Of a value only its bucket is kept, so a
percentile is within 2 % of the exact one (``quantile_cont`` of DuckDB), or a microsecond of it.
Pure.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

GROWTH = 1.04
LEAST_MS = 0.001
NOTHING = -1  # the bucket of what took less than that

Counts = Mapping[int, int]  # how many values fell into each bucket


def bucket_sql(column: str) -> str:
    """The bucket of a column of milliseconds as a DuckDB expression; NULL for NULL."""
    place = f"floor(ln({column} / {LEAST_MS}) / {math.log(GROWTH)!r})::INTEGER"
    return f"CASE WHEN {column} < {LEAST_MS} THEN {NOTHING} ELSE {place} END"


def percentiles(counts: Counts, parts: Sequence[float]) -> list[float]:
    """The values in milliseconds below which these parts (0 to 1) of all lie; 0 of no values.

    Between two neighbours it is interpolated, as ``quantile_cont`` does.
    """
    if not counts:
        return [0.0] * len(parts)
    buckets = sorted(counts)
    ends = list(accumulate(counts[bucket] for bucket in buckets))
    found: list[float] = []
    for part in parts:
        place = (ends[-1] - 1) * part
        low, high = (
            _middle_ms(buckets[bisect_right(ends, rank)])
            for rank in (math.floor(place), math.ceil(place))
        )
        found.append(low + (high - low) * (place % 1))
    return found


def _middle_ms(bucket: int) -> float:
    """The value that is as far from one end of a bucket as from the other, by factors."""
    return 0.0 if bucket == NOTHING else LEAST_MS * GROWTH ** (bucket + 0.5)
