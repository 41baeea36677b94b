"""Cells on paper: how keys find their cell, and what a change of the number of cells moves.

A cell is a whole installation: a pair of streams, a bucket, engines. A subject mapping of the
brokers chooses it by the hash of the key, in slots, so that a cell is given and taken slots and not
keys. Run as ``python -m tests.simulation.cells``; docs/cluster.md has what it says.

The hash is nats-server's own for ``{{partition(n)}}``, so the slots here are those of production.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from store.memory.routing import partition_of

SLOTS = 256


class Spread(NamedTuple):
    """How evenly keys lie: the fullest and the emptiest cell, as parts of the mean."""

    most: float
    least: float


def slot_of(token: str) -> int:
    """The slot of a key's (escaped) token, as the brokers compute it."""
    return partition_of(token, SLOTS)


def even(cells: int) -> list[int]:
    """A table of slots for so many cells: the cell of each slot, as even as can be."""
    return [slot * cells // SLOTS for slot in range(SLOTS)]


def grown(table: Sequence[int], cells: int) -> list[int]:
    """The table with one cell more, to which each of the others gives its share and no more."""
    new = list(table)
    share = SLOTS // (cells + 1)
    while new.count(cells) < share:
        fullest = Counter(cell for cell in new if cell != cells).most_common(1)[0][0]
        new[new.index(fullest)] = cells
    return new


def moved(before: Sequence[int], after: Sequence[int], keys: Sequence[str]) -> float:
    """The part of the keys whose cell is another one in the end."""
    slots = [slot_of(key) for key in keys]
    return sum(before[slot] != after[slot] for slot in slots) / len(slots)


def spread(table: Sequence[int], weights: Mapping[str, int]) -> Spread:
    """How evenly the weight of keys lies on the cells of a table."""
    loads = Counter[int]()
    for key, weight in weights.items():
        loads[table[slot_of(key)]] += weight
    mean = sum(loads.values()) / (max(table) + 1)
    return Spread(max(loads.values()) / mean, min(loads[cell] for cell in set(table)) / mean)


def zipfian(chance: random.Random, count: int, draws: int) -> dict[str, int]:
    """Keys of which few are wanted most: the n-th with a weight of one nth."""
    weights = [1 / (place + 1) for place in range(count)]
    drawn = chance.choices(range(count), weights, k=draws)
    return {f"o-{number}": times for number, times in Counter(drawn).items()}


def report(seed: int = 1) -> list[str]:
    """What the page says, line by line."""
    chance = random.Random(seed)
    keys = [f"o-{chance.randrange(10**12)}" for _ in range(100_000)]
    plain = dict.fromkeys(keys, 1)
    skewed = zipfian(chance, 20_000, 200_000)
    lines = ["cells  fullest  emptiest  fullest when skewed  moved by one more"]
    table = even(2)
    for cells in (2, 3, 4, 8, 16):
        while max(table) + 1 < cells:
            table = grown(table, max(table) + 1)
        even_spread, uneven = spread(table, plain), spread(table, skewed)
        part = moved(table, grown(table, cells), keys)
        lines.append(
            f"{cells:5}  {even_spread.most:7.2f}  {even_spread.least:8.2f}  {uneven.most:19.2f}"
            f"  {part:16.1%}"
        )
    naive = moved([slot % 4 for slot in range(SLOTS)], [slot % 5 for slot in range(SLOTS)], keys)
    lines.append(f"without a table, 4 to 5 by the remainder: {naive:.0%} moved")
    return lines


if __name__ == "__main__":
    print("\n".join(report()))
