"""The flow of steps: how each stands at a version, long flows, lists that have changed since."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from sagas import parallel, retry, sequence, step, steps, workflow
from sagas.definition import SagaDefinition
from sagas.programs.steps import UNDO
from sagas.testing import Scenario, given
from store.cards import PartCard, parts_of
from store.projection.jobs import AtStep
from ui.steps import ENDS, LONG, Crowd, Flow, Part, StepState, crowd, flow
from ui.timeline import Attempt


async def _work(ctx: Any, given: Any = None) -> Any:
    return None


ITEMS = [
    step("reserve", _work, _work),
    parallel("checks", [step("fraud", _work), sequence("paper", [step("print", _work, _work)])]),
    step("mail", _work, background=True),
    step("ship", _work, retry=retry(1)),
]
order = steps("order", ITEMS)
patient = steps("order", ITEMS, on_failure="park")
greet = step("greet", _work)


@workflow("Hello")
async def hello(saga: Any, input: Any) -> None:
    await asyncio.gather(greet(saga, 1), greet(saga, 2))
    await saga.sleep("1m")


def _done(scenario: Scenario, *targets: str) -> Scenario:
    for target in targets:
        scenario.when_answer(f"order.{target}", "Snorri-Completed", {"output": target})
    return scenario


def _drawn(scenario: Scenario, version: int = 0, attempts: Sequence[Attempt] = ()) -> Flow:
    declared = parts_of(scenario.definition.program)
    return flow(declared, scenario.history, version or len(scenario.history), attempts)


def _words(drawn: Flow) -> dict[str, str]:
    return {one.id: one.word + (f", {one.undo}" if one.undo else "") for one in drawn.states}


def _begun(definition: SagaDefinition = order) -> Scenario:
    return given(definition).when("order", {})


def test_a_transaction_tells_its_steps_and_what_was_rolled_back() -> None:
    booked = sequence("book", [step("pay", _work, _work), step("ship", _work)], transactional=True)
    booking = steps("booking", [booked])
    failed = given(booking).when("booking", {})
    assert _words(_drawn(failed)) == {"book": "running", "pay": "waiting", "ship": "waiting"}
    failed.when_failed("booking.book", "no carrier", step="ship", parts=[{"step": "pay"}])
    drawn = _drawn(failed)
    assert ([part.kind for part in drawn.parts], drawn.others) == (["transaction"], ())
    assert _words(drawn) == {"book": "failed", "pay": "rolled back, being undone", "ship": "failed"}


def test_each_step_tells_how_it_stands_in_the_groups_it_was_declared_in() -> None:
    drawn = _drawn(_done(_begun(), "reserve", "fraud"))
    assert [(part.kind, part.name) for part in drawn.parts] == [
        *(("step", "reserve"), ("parallel", "checks"), ("step", "mail"), ("step", "ship")),
    ]
    assert [part.kind for part in drawn.parts[1].parts] == ["step", "sequence"]
    assert _words(drawn) == {
        "reserve": "done",
        "fraud": "done",
        "print": "running",
        "mail": "waiting",
        "ship": "waiting",
    }
    assert [part.went for part in drawn.parts] == [True, True, False, False]


def test_what_was_undone_and_what_was_never_reached() -> None:
    scenario = _done(_begun(), "reserve", "print").when_failed("order.fraud", "a thief")
    assert _words(_drawn(scenario)) == {
        "reserve": "done, to be undone",
        "fraud": "failed",
        "print": "done, being undone",
        "mail": "not reached",
        "ship": "not reached",
    }
    scenario.when_answer(f"order.print{UNDO}", "Snorri-Completed", {})
    scenario.when_failed(f"order.reserve{UNDO}", "gone")
    told = {one.id: one for one in _drawn(scenario).states}
    assert (told["print"].undo, told["print"].undo_place) == ("undone", 1)
    assert (told["reserve"].undo, told["reserve"].undo_error) == ("undo failed", "gone")
    assert told["fraud"].error == "a thief"


def test_the_way_up_to_a_version() -> None:
    scenario = _done(_begun(), "reserve", "fraud", "print")
    assert _words(_drawn(scenario, 2))["fraud"] == "running"
    told = {one.id: one for one in _drawn(scenario).states}
    assert (told["reserve"].began, told["fraud"].began, told["ship"].began) == (1, 2, 4)
    late = flow(parts_of(order.program), scenario.history[2:], 4, [])
    assert [one.began for one in late.states if one.word == "running"] == [4, 4]
    assert late.states[0].began is None


def test_a_step_that_stopped_its_run_is_parked_and_the_others_wait() -> None:
    scenario = _begun(patient).when_failed("order.reserve", "no")
    assert _words(_drawn(scenario)) == {
        "reserve": "parked",
        **dict.fromkeys(("fraud", "print", "mail", "ship"), "waiting"),
    }


def test_attempts_are_counted_up_to_the_version_and_without_undos() -> None:
    scenario = _begun()
    (command,) = scenario.instance.commands
    at = scenario.now
    tries = [
        Attempt(
            command=command,
            attempt=number,
            worker="w",
            started_at=at + timedelta(seconds=number),
            ended_at=at + timedelta(seconds=number),
            outcome="retried",
            error="",
        )
        for number in (1, 2)
    ]
    assert _drawn(scenario, 1, tries).states[0].attempts == 2
    scenario.advance("10s")
    _done(scenario, "reserve")
    assert _drawn(scenario, 1, tries).states[0].attempts is None
    assert _drawn(scenario, 2, tries).states[0].attempts == 2


def test_a_workflow_shows_what_it_asked_for_at_once_side_by_side() -> None:
    scenario = given(hello).when("Hello", {}).advance("1s")
    for _ in range(2):
        scenario.when_answer("greet", "Snorri-Completed", {"output": 1})
    drawn = flow((), scenario.history, len(scenario.history), [])
    assert [part.kind for part in drawn.parts] == ["parallel", "step"]
    assert [(one.id, one.kind, one.word) for one in drawn.states] == [
        *(("greet", "step", "done"), ("greet#2", "step", "done"), ("sleep", "sleep", "running")),
    ]


def test_steps_that_the_list_has_no_more_are_told_apart() -> None:
    scenario = _done(_begun(), "reserve")
    drawn = flow([PartCard(name="reserve")], scenario.history, 2, [])
    assert [part.name for part in drawn.parts] == ["reserve"]
    assert [one.id for part in drawn.others for one in part.states()] == ["fraud", "print"]


@pytest.mark.parametrize("together", [True, False])
def test_a_long_flow_is_told_by_its_ends(together: bool) -> None:
    many: list[Any] = [step(f"s{n}", _work) for n in range(LONG + 1)]
    definition = steps("order", [parallel("all", many)] if together else many)
    drawn = _drawn(_done(_begun(definition), "s0"))
    parts = drawn.parts[0].parts if together else drawn.parts
    assert [part.name for part in parts if part.kind == "step"][:2] == ["s0", "s1"]
    told = sum(part.left or 1 for part in parts)
    assert told == LONG + 1
    assert len(drawn.states) <= 3 * (2 * ENDS + 1)


def test_a_definition_tells_how_many_stand_where() -> None:
    here = [AtStep("order.print", 3, 1), AtStep(f"order.reserve{UNDO}", 2, 4)]
    boxes = _boxes(crowd(parts_of(order.program), here).parts)
    assert (boxes["print"].running, boxes["print"].parked) == (3, 1)
    assert (boxes["reserve"].undoing, boxes["reserve"].parked) == (2, 4)
    assert [name for name, box in boxes.items() if box.any] == ["reserve", "print"]


def test_a_long_definition_keeps_the_steps_where_somebody_stands() -> None:
    declared = [PartCard(name=f"s{n}", target=f"t{n}") for n in range(LONG * 2)]
    drawn = crowd(declared, [AtStep("t99", 1, 0)])
    assert "s99" in _boxes(drawn.parts)
    assert len(drawn.parts) == 4 * ENDS + 3


def _boxes(parts: Sequence[Part]) -> dict[str, Crowd]:
    found: dict[str, Crowd] = {}
    for part in parts:
        assert not isinstance(part.box, StepState)
        found |= {part.name: part.box} if part.box else _boxes(part.parts)
    return found
