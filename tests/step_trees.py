"""Random step lists, and the model of ten lines that says what must be undone of them.

A tree is drawn by ``choose(n)``, which gives one of 0 … n-1: hypothesis or a seeded generator.
"""

from __future__ import annotations

from collections.abc import Callable

from sagas import parallel, sequence
from sagas.programs.steps import AnyStep, Item

Choose = Callable[[int], int]
MakeStep = Callable[[str], AnyStep]

LEVELS, ITEMS, PARTS = 3, 5, 3


def draw_tree(choose: Choose, make_step: MakeStep) -> list[Item]:
    """One to five items, nested up to three levels; names are given by position."""
    count = 0

    def make(level: int) -> Item:
        nonlocal count
        count += 1
        kind = choose(4 if level else 1)
        if kind < 2:
            return make_step(f"s{count}")
        group = parallel if kind == 2 else sequence
        return group(f"g{count}", [make(level - 1) for _ in range(1 + choose(PARTS))])

    return [make(LEVELS) for _ in range(1 + choose(ITEMS))]


def to_undo(ends: list[tuple[AnyStep, bool]]) -> list[str]:
    """The undos that must follow the ends (well or not) of the steps that were waited for: of what
    ended well and of what failed without being strict, the last first; a step that failed had not
    ended well, so it comes before all others.
    """
    failed = [one.name for one, well in ends if not well and one.compensate and not one.strict]
    done = [one.name for one, well in ends if well and one.compensate]
    return [*failed, *reversed(done)]


def as_sets(names: list[str], ends: list[tuple[AnyStep, bool]]) -> list[list[str]]:
    """Names of undone steps to be compared: failed steps of one group have no order among
    themselves, all others have.
    """
    failed = {one.name for one, well in ends if not well}
    return [sorted(name for name in names if name in failed), [n for n in names if n not in failed]]
