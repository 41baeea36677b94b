"""What a mixed run does, made of its seed alone: the same seed gives the same plan.

A run is a number of rounds. In each some sagas are begun while one fault strikes; the kinds of
faults come in a random order, each once before one comes again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from msgspec import Struct

from tests.chaos.mixed.faults import KINDS, Fault, draw
from tests.chaos.mixed.scripts import Script, make_script

ENGINES = 2
WORKERS = 2


class Round(Struct, frozen=True, kw_only=True):
    """Sagas that begin while a fault strikes, ``strike_s`` after the round has begun."""

    number: int
    scripts: tuple[Script, ...]
    strike_s: float
    fault: Fault


class Plan(Struct, frozen=True, kw_only=True):
    """A whole run."""

    seed: int
    rounds: tuple[Round, ...]

    @property
    def sagas(self) -> int:
        """How many instances it begins."""
        return sum(len(round.scripts) for round in self.rounds)


def make_plan(seed: int, sagas: int, faults: int, only: str = "") -> Plan:
    """The plan of a seed: ``sagas`` instances over ``faults`` rounds, all kinds or ``only`` one."""
    chance = random.Random(seed)
    numbers = iter(range(sagas))
    rounds: list[Round] = []
    for number, kind in zip(range(faults), _kinds(chance, only), strict=False):
        fault = draw(kind, chance, engines=ENGINES, workers=WORKERS)
        strike_s = chance.uniform(0.4, 1.4)
        lasts_s = strike_s + fault.hold_s + 1.0
        share = sagas * (number + 1) // faults - sagas * number // faults
        scripts = tuple(
            make_script(next(numbers), chance, chance.uniform(0.0, lasts_s)) for _ in range(share)
        )
        rounds.append(Round(number=number, scripts=scripts, strike_s=strike_s, fault=fault))
    return Plan(seed=seed, rounds=tuple(rounds))


def _kinds(chance: random.Random, only: str) -> Iterator[str]:
    kinds = [only] if only else sorted(KINDS)
    while True:
        yield from chance.sample(kinds, len(kinds))
