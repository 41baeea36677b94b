"""Goal: whatever is killed, stalled, cut off, lost, late or repeated, a run ends well and holds to
all that is promised; and a failing run can be repeated and read.

Method: a selection of seeds, each a whole installation in virtual time. ``make sim`` runs thousands
of them; ``--seed N`` here begins at another one.
"""

from __future__ import annotations

import pytest
from msgspec import structs

from tests.conftest import LONG
from tests.simulation.plan import Order, Plan, Trouble, plan_of
from tests.simulation.shrink import shrink
from tests.simulation.story import story
from tests.simulation.world import Outcome, run

SEEDS = 400 if LONG else 40
PARTS = 8  # tests that share the seeds


@pytest.fixture
def first(request: pytest.FixtureRequest) -> int:
    """The first seed: always the same ones, or those that were asked for."""
    return request.config.getoption("--seed") or 0


@pytest.mark.parametrize("part", range(PARTS))
def test_all_holds_for_each_seed(first: int, part: int) -> None:
    for seed in range(first + part, first + SEEDS, PARTS):
        outcome = run(plan_of(seed))
        if outcome.complaints:
            told = "\n".join(story(shrink(outcome)))
            pytest.fail(f"seed {seed}: {outcome.complaints}\nthe least that fails so:\n{told}")


@pytest.mark.parametrize("seed", [3, 8, 242])
def test_a_seed_gives_the_same_run_again(seed: int) -> None:
    runs = [run(plan_of(seed)) for _ in range(2)]
    assert runs[0].trace == runs[1].trace
    assert runs[0].steps == runs[1].steps
    assert len({run(plan_of(other)).trace for other in (seed, seed + 1)}) == 2


def _fails_with_a_kill(plan: Plan) -> Outcome:
    """A run that counts as failed when something is killed while a tally is counted."""
    outcome = run(plan)
    killed = any(trouble.what == "kill" for trouble in plan.troubles)
    tally = any(order.kind == "tally" for order in plan.orders)
    complaints = ("planted: a kill and a tally",) if killed and tally else ()
    return structs.replace(outcome, complaints=complaints)


def test_a_failing_run_is_made_smaller_and_told() -> None:
    plan = structs.replace(
        plan_of(5),
        orders=(
            Order(kind="checkout", key="checkout-0", at_s=0.1),
            Order(kind="tally", key="tally-1", at_s=0.2, count=4),
            Order(kind="trip", key="trip-2", at_s=0.3),
        ),
        troubles=(
            Trouble("stall", "e1", 20, seconds=1.0),
            Trouble("kill", "e1", 30, seconds=0.5),
            Trouble("lose_reply", "e1", 3, call="log.commit"),
        ),
    )
    least = shrink(_fails_with_a_kill(plan), _fails_with_a_kill)
    assert [trouble.what for trouble in least.plan.troubles] == ["kill"]
    assert [(order.kind, order.count) for order in least.plan.orders] == [("tally", 1)]
    lines = story(least)
    assert any("e1 is killed" in line for line in lines)
    assert any("Tally/tally-1 v1 running by event Opened" in line for line in lines)
    assert lines[-1] == "WRONG: planted: a kill and a tally"
    assert [line.split()[0] for line in lines[:-1]] == [str(n) for n in range(1, len(lines))]
