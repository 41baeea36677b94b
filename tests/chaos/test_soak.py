"""Goal: what processes use is measured whole, and growth is noticed (R40).

Method: a soak of some seconds, of which only that it measures is asked; then figures that grow, by
a little and by too much.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import get_args

import pytest

from store.jetstream import topology
from tests.chaos.mixed.roles import WINDOW_S
from tests.chaos.mixed.samples import BROKER, Measure, Sample, Trend, trends
from tests.chaos.mixed.soak import HOLDS, Soaked, render, soak

pytestmark = pytest.mark.timeout(400)

LASTED_S = 100.0


def test_a_soak_measures_every_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topology, "DUPLICATE_WINDOW_S", WINDOW_S)
    monkeypatch.setattr("tests.chaos.mixed.soak.QUIET_S", 1.0)
    monkeypatch.setattr("tests.chaos.mixed.soak.EVERY_S", 1.0)
    soaked = asyncio.run(soak(1, tmp_path, lasts_s=12.0, per_s=4.0, fault_every_s=60.0, tell=print))
    assert soaked.complaints == []
    assert soaked.sagas > 20
    found = {(one.who, one.measure) for one in soaked.trends}
    units = ("engine-0", "engine-1", "jobs-0", "jobs-1", "api-0")
    each = set(get_args(Measure)) - {"consumers", "messages"}
    assert found == {
        *((unit, measure) for unit in units for measure in each),
        *((BROKER, m) for m in get_args(Measure) if m not in ("tasks", "objects")),
    }
    assert all(one.early > 0 for one in soaked.trends)


def _trend(measure: Measure, early: float, late: float, who: str = "jobs-0") -> Trend:
    """The trend of a figure that goes from one value to the other half way."""
    samples = [
        Sample(at_s=at_s, who=who, measure=measure, value=early if at_s < 50 else late)
        for at_s in range(100)
    ]
    (trend,) = trends(samples, LASTED_S)
    return trend


@pytest.mark.parametrize(
    ("measure", "early", "late", "flat"),
    [
        ("memory MB", 100.0, 104.0, True),
        ("memory MB", 100.0, 106.0, False),
        ("memory MB", 100.0, 50.0, True),
        ("tasks", 20.0, 22.0, True),
        ("tasks", 20.0, 23.0, False),
        ("file descriptors", 200.0, 209.0, True),
        ("consumers", 28.0, 40.0, False),
        ("objects", 100_000.0, 104_000.0, True),
        ("objects", 100_000.0, 106_000.0, False),
    ],
)
def test_growth_is_noticed(measure: Measure, early: float, late: float, flat: bool) -> None:
    assert _trend(measure, early, late).flat is flat


def _soaked(*trends: Trend) -> Soaked:
    return Soaked(
        seed=7,
        lasted_s=1800,
        sagas=10,
        faults=2,
        transitions=1000,
        trends=list(trends),
        complaints=[],
    )


@pytest.mark.parametrize("who", ["api-0", BROKER])
def test_what_holds_the_stored_may_grow_with_it_and_no_more(who: str) -> None:
    stored = _trend("messages", 100_000, 200_000, BROKER)
    holds = HOLDS[who, "memory MB"] * 100_000 / 2**20
    assert not _soaked(stored, _trend("memory MB", 100, 104 + holds, who)).grown
    more = _trend("memory MB", 100, 106 + holds, who)
    assert _soaked(stored, more).grown == [more]
    nothing = _trend("messages", 100_000, 100_000, BROKER)
    some = _trend("memory MB", 100, 106, who)
    assert _soaked(nothing, some).grown == [some]


def test_the_broker_may_have_some_threads_more() -> None:
    assert not _soaked(_trend("threads", 11, 19, BROKER)).grown
    assert _soaked(_trend("threads", 11, 21, BROKER)).grown
    assert _soaked(_trend("threads", 15, 18, "api-0")).grown


def test_the_page_names_what_has_grown_and_what_only_holds_what_is_stored() -> None:
    grown, api = _trend("tasks", 20, 40), _trend("memory MB", 100, 150, "api-0")
    soaked = _soaked(grown, api, _trend("messages", 100_000, 200_000, BROKER))
    assert soaked.grown == [grown]
    page = render(soaked)
    assert "| jobs-0 | tasks | 20 | 40 | +100.0% (grown) |" in page
    assert "| +50.0% (524 bytes for each message stored) |" in page
    assert "+100.0% (what is stored) |" in page
