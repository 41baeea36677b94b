"""Goal: whatever strikes in whatever order, nothing is lost, doubled or stuck (R01, R02, R04, R13,
R14, R15, R16, R18, R19, R37); and the judge who says so would notice.

Method: a short `make chaos` with faults that the seed draws; then what it left behind is falsified,
one thing after the other, and judged again.
"""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Callable
from datetime import timedelta

import pytest
from msgspec import structs

from store.jetstream import topology
from tests.chaos.mixed import judge
from tests.chaos.mixed.faults import KINDS
from tests.chaos.mixed.judge import Evidence
from tests.chaos.mixed.oplog import Entry
from tests.chaos.mixed.plan import make_plan
from tests.chaos.mixed.report import render
from tests.chaos.mixed.roles import WINDOW_S
from tests.chaos.mixed.run import Outcome, run
from tests.conftest import LONG

pytestmark = pytest.mark.timeout(1200 if LONG else 400)

SAGAS, FAULTS = (600, len(KINDS)) if LONG else (80, 3)


@pytest.fixture(scope="module")
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What a run came to."""
    given: int | None = request.config.getoption("--seed")
    seed = random.randrange(2**32) if given is None else given
    print(f"--seed {seed}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(topology, "DUPLICATE_WINDOW_S", WINDOW_S)
        return asyncio.run(
            run(make_plan(seed, SAGAS, FAULTS), tmp_path_factory.mktemp("mixed"), print)
        )


def test_nothing_is_lost_doubled_or_stuck(outcome: Outcome) -> None:
    assert outcome.complaints == []
    assert len(outcome.recoveries) == FAULTS
    assert outcome.instances > SAGAS
    assert outcome.effects > SAGAS


def test_the_page_of_a_run_has_its_figures(outcome: Outcome) -> None:
    page = render(outcome)
    assert f"{outcome.transitions} transitions" in page
    assert all(f"| {one.what} | {one.how} |" in page for one in KINDS.values())
    assert page.count("| 0 |\n") >= len(judge.ENDS)


def test_a_seed_gives_the_same_plan_and_every_kind_of_fault() -> None:
    plan = make_plan(7, 230, len(KINDS))
    assert plan == make_plan(7, 230, len(KINDS))
    assert plan != make_plan(8, 230, len(KINDS))
    assert plan.sagas == 230
    assert {round.fault.kind for round in plan.rounds} == set(KINDS)


# --- what the judge must notice


def _some(evidence: Evidence, saga: str, status: str = "") -> tuple[str, str]:
    """An instance of a saga, that has ended so."""
    return next(
        name
        for name, history in evidence.decided.items()
        if name[0] == saga and history[-1].instance.status.startswith(status)
    )


def _history_gone(evidence: Evidence) -> None:
    del evidence.decided[_some(evidence, "ChaosOrder")]


def _event_not_taken(evidence: Evidence) -> None:
    evidence.decided[_some(evidence, "Batch")].pop(0)


def _taken_twice(evidence: Evidence) -> None:
    history = evidence.decided[_some(evidence, "Bell")]
    history.insert(0, history[0])


def _never_done(evidence: Evidence) -> None:
    del evidence.ledger[_some(evidence, "ChaosOrder", "completed")[1]]["charge"]


def _done_twice(evidence: Evidence) -> None:
    evidence.ledger[_some(evidence, "ChaosOrder")[1]]["reserve"].add("another")


def _done_for_nobody(evidence: Evidence) -> None:
    evidence.ledger[_some(evidence, "ChaosOrder", "completed")[1]]["release"] = {"why"}


def _out_of_order(evidence: Evidence) -> None:
    saga, key = _some(evidence, "Parcel", "completed")
    done = evidence.ledger[f"{saga}/{key}"]
    evidence.ledger[f"{saga}/{key}"] = dict(reversed(done.items()))


def _not_ended(evidence: Evidence) -> None:
    evidence.decided[_some(evidence, "Batch")].pop()


def _ended_otherwise(evidence: Evidence) -> None:
    history = evidence.decided[_some(evidence, "ChaosOrder", "completed")]
    wrong = structs.replace(history[-1].instance, status="failed")
    history[-1] = structs.replace(history[-1], instance=wrong)


def _out_of_nothing(evidence: Evidence) -> None:
    evidence.decided["Bell", "b-none"] = evidence.decided[_some(evidence, "Bell")]


def _rang_early(evidence: Evidence) -> None:
    history = next(
        history
        for (saga, _), history in evidence.decided.items()
        if saga == "Bell" and history[-1].instance.cause.kind == "timer"
    )
    rang = history[-1].instance
    cause = structs.replace(rang.cause, at=rang.cause.at - timedelta(seconds=60))
    history[-1] = structs.replace(history[-1], instance=structs.replace(rang, cause=cause))


def _went_back(evidence: Evidence) -> None:
    for version in (3, 2):
        evidence.entries.append(Entry(at_ns=0, did="read", saga="Bell", key="b-1", version=version))


def _given_up(evidence: Evidence) -> None:
    evidence.letters.append("{}")


PLANTED: list[tuple[judge.Fault, Callable[[Evidence], None]]] = [
    ("lost", _history_gone),
    ("lost", _event_not_taken),
    ("double", _taken_twice),
    ("lost", _never_done),
    ("double", _done_twice),
    ("phantom", _done_for_nobody),
    ("wrong", _out_of_order),
    ("stuck", _not_ended),
    ("wrong", _ended_otherwise),
    ("phantom", _out_of_nothing),
    ("early", _rang_early),
    ("backwards", _went_back),
    ("dead letter", _given_up),
]


@pytest.mark.parametrize(("fault", "plant"), PLANTED, ids=[p.__name__ for _, p in PLANTED])
def test_the_judge_notices(
    outcome: Outcome, fault: judge.Fault, plant: Callable[[Evidence], None]
) -> None:
    evidence = copy.deepcopy(outcome.evidence)
    plant(evidence)
    assert fault in {complaint.fault for complaint in judge.judge(evidence)}
