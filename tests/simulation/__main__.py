"""Run the simulation by hand: ``python -m tests.simulation --seeds 1000``.

Each seed is one run. A failing one is made smaller and told as a story; the same seed repeats it.
``mutants`` plants bugs, one after the other, and looks how soon each is found.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator

from tests.simulation.mutants import MUTANTS, find
from tests.simulation.plan import plan_of
from tests.simulation.shrink import shrink
from tests.simulation.story import story
from tests.simulation.world import Outcome, run


def main() -> int:
    """Run as the arguments say; 1 when something did not hold."""
    arguments = _arguments()
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Sets of texts are walked in the order of their hashes: the same in every run from here on.
        command = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        return subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "0"}).returncode
    if arguments.what == "mutants":
        return _mutants(arguments.seed, arguments.seeds)
    if arguments.jobs > 1:
        return _side_by_side(arguments)
    return _seeds(arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make sim", description="Deterministic simulation.")
    parser.add_argument("what", nargs="?", choices=("seeds", "mutants"), default="seeds")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=500, help="how many; at most, for mutants")
    parser.add_argument("--jobs", type=int, default=1, help="processes to run side by side")
    parser.add_argument("--every", type=int, default=1, help="run each n-th seed only")
    parser.add_argument("--story", action="store_true", help="tell the story of a good run too")
    return parser.parse_args()


def _seeds(arguments: argparse.Namespace) -> int:
    begun_s, failed, runs, transitions, steps = time.monotonic(), 0, 0, 0, 0
    for seed in range(arguments.seed, arguments.seed + arguments.seeds, arguments.every):
        outcome = run(plan_of(seed))
        runs, transitions = runs + 1, transitions + outcome.transitions
        steps += outcome.steps
        if outcome.complaints:
            failed += 1
            print(f"seed {seed} fails: {outcome.complaints[0][:300]}", flush=True)
            _tell(shrink(outcome))
        elif arguments.story:
            print("\n".join(story(outcome)))
    took_s = time.monotonic() - begun_s
    print(
        f"{runs} seeds from {arguments.seed} on, {failed} failed; {transitions} transitions,"
        f" {steps} steps, {took_s:.1f} s, {runs / took_s * 60:.0f} seeds a minute"
    )
    return 1 if failed else 0


def _tell(outcome: Outcome) -> None:
    print(f"the least that fails in this way: {outcome.plan}")
    print("\n".join(story(outcome)), flush=True)


def _side_by_side(arguments: argparse.Namespace) -> int:
    """The same seeds, each n-th in a process of its own."""
    children = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.simulation", "seeds"),
                *("--seed", str(arguments.seed + part)),
                *("--seeds", str(arguments.seeds - part)),
                *("--every", str(arguments.jobs)),
            ]
        )
        for part in range(arguments.jobs)
    ]
    return max([child.wait() for child in children])


def _mutants(first: int, most: int) -> int:
    missed = 0
    for name in MUTANTS:
        begun_s = time.monotonic()
        found = find(name, _numbers(first, most))
        took_s = time.monotonic() - begun_s
        if found is None:
            missed += 1
            print(f"NOT FOUND in {most} seeds ({took_s:.0f} s): {name}", flush=True)
        else:
            seeds = found.plan.seed - first + 1
            checks = ", ".join(sorted(found.checks))
            print(f"found after {seeds} seeds ({took_s:.1f} s) by {checks}: {name}", flush=True)
    return 1 if missed else 0


def _numbers(first: int, most: int) -> Iterator[int]:
    yield from range(first, first + most)


if __name__ == "__main__":
    sys.exit(main())
