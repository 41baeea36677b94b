"""Goal: the simulation sees what it is for. Bugs planted into the real functions are found.

Method: each bug in turn, over seeds until one run fails. A few of them in every run of the tests,
all with SNORRI_TEST_LONG=1 or ``make sim ARGS=mutants``.
"""

from __future__ import annotations

import pytest

from tests.conftest import LONG
from tests.simulation.mutants import MUTANTS, find

SEEDS_MAX = 500
QUICK = (
    "a command is left out of a commit",
    "message ids are not remembered",
    "compensation in the order of the steps",
)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MUTANTS if LONG else QUICK)
def test_a_planted_bug_is_found(name: str) -> None:
    assert find(name, range(SEEDS_MAX)) is not None, f"{SEEDS_MAX} seeds did not show it"
