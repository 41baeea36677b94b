"""Goal: what is too much for one transition of a run waits its turn; what is too much for a
document is told with its parts.

Method: given / when / expect with many steps at a time and with large data.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from sagas import DefinitionError, WorkflowSaga, parallel, sequence, step, steps, workflow
from sagas.instance import COMMANDS_MAX, PAYLOAD_BYTES_MAX, VALUE_BYTES_MAX, encode
from sagas.kernel import Refused
from sagas.messages import to_raw
from sagas.programs.room import ROOM_FOR_OTHERS
from sagas.programs.steps import LEVELS_MAX, Item, StepResult
from sagas.programs.workflow_execution import ASKED_MAX
from sagas.testing import Scenario, given

WIDE = 100


async def _run(ctx: Any, input: Any = None) -> Any: ...


def _answer_all(run: Scenario, output: object = None) -> None:
    while run.instance.status == "running":
        run.advance("1s")
        waiting = [one.step for one in run.instance.commands.values()]
        if waiting:
            run.when_step(waiting[0], output)


def _most_open(run: Scenario) -> int:
    return max(len(version.commands) for version in run.history)


def test_a_large_context_lets_fewer_steps_out_at_a_time() -> None:
    wide = steps("wide", [parallel("all", [step(f"s{n}", _run) for n in range(WIDE)])])
    run = given(wide, key="k").when("wide", {"text": "x" * 20_000})
    _answer_all(run)
    run.expect_status("completed")
    assert 10 < _most_open(run) < 30
    assert max(len(encode(version)) for version in run.history) < VALUE_BYTES_MAX
    small = given(wide, key="k").when("wide")
    assert len(small.instance.commands) == WIDE


_one = step("one", _run)


@workflow("Wide")
async def _wide(saga: WorkflowSaga, bytes: int) -> None:
    await asyncio.gather(*(_one(saga, "x" * bytes) for _ in range(WIDE)))


def test_large_inputs_of_a_workflow_s_steps_let_fewer_out_at_a_time() -> None:
    run = given(_wide, key="k").when("Wide", 10_000)
    first = len(run.history[0].commands)
    _answer_all(run)
    run.expect_status("completed")
    assert 20 < first < _most_open(run) < 70
    assert max(len(encode(version)) for version in run.history) < VALUE_BYTES_MAX


@workflow("Loud")
async def _loud(saga: WorkflowSaga, events: int) -> None:
    for number in range(events):
        saga.publish("Noise", number)


def test_effects_without_commands_have_room_in_later_transitions() -> None:
    run = given(_loud, key="k").when("Loud", 500).advance("1s")
    run.expect_status("completed")
    assert sum(type(one).__name__ == "Publish" for v in run.history for one in v.effects) == 500


def test_a_step_alone_that_does_not_fit_is_told_with_the_largest_parts() -> None:
    alone = steps("alone", [step("one", _run)])
    run = given(alone, key="k").when("alone", {"text": "x" * 390_000})
    run.expect_parked("LimitExceeded: the transition would be 1560")
    run.expect_parked("the limit is 1000000 (commands 390")
    run.expect_parked("keep large data elsewhere and pass references")
    fits = given(alone, key="k").when("alone", {"text": "x" * 240_000})
    fits.when_step("one").expect_status("completed")


def test_a_start_by_hand_that_does_not_fit_is_refused_and_makes_no_instance() -> None:
    alone = steps("alone", [step("one", _run)])
    run = given(alone, key="k").when_spawned({"text": "x" * 300_000})
    assert isinstance(run.last, Refused)
    assert "it can't start: the transition would be 1200" in run.last.reason
    assert "keep large data elsewhere and pass references" in run.last.reason
    assert run.history == []
    run.when_spawned({"text": "x" * 240_000}).when_step("one").expect_status("completed")


def test_outputs_that_do_not_fit_together_are_told() -> None:
    many = steps("many", [step(f"s{n}", _run) for n in range(5)])
    run = given(many, key="k").when("many")
    for n in range(4):
        if run.instance.status == "running":
            run.when_step(f"s{n}", "x" * 290_000)
    run.expect_parked("(steps 870")


def test_an_output_whose_fields_join_the_context_is_in_its_answer_once() -> None:
    fields = {"text": "x" * 190_000}
    twice = steps("twice", [step("one", _run), step("two", _run)])
    run = given(twice, key="k").when("twice")
    told = StepResult(output=to_raw(fields), set={"n": to_raw(1)}, merged=True)
    run.when_answer("twice.one", "Snorri-Completed", told)
    run.expect_state(n=1, **fields)
    assert run.instance.steps["one"].keys == ("n", "text")
    assert len(encode(run.history[-1])) < VALUE_BYTES_MAX


def _nested(levels: int) -> Item:
    item: Item = step("leaf", _run, _run)
    for level in range(levels):
        group = parallel if level % 2 else sequence
        item = group(f"g{level}", [step(f"s{level}", _run, _run), item])
    return item


def test_as_many_levels_of_groups_as_are_allowed_and_their_undos() -> None:
    run = given(steps("deep", [_nested(LEVELS_MAX - 1)]), key="k").when("deep")
    for _ in range(80):
        run.when_step(next(iter(run.instance.commands.values())).step)
    run.when_step_failed(next(iter(run.instance.commands.values())).step)
    undone = 0
    while run.instance.commands:
        run.when_step(next(iter(run.instance.commands.values())).step)
        undone += 1
    run.expect_status("compensated")
    assert undone >= 80


def test_groups_nested_without_end_are_refused_when_they_are_declared() -> None:
    with pytest.raises(DefinitionError, match=f"over {LEVELS_MAX} levels deep"):
        _nested(500)


def test_the_page_on_steps_tells_these_limits() -> None:
    text = (Path(__file__).parents[3] / "docs" / "steps.md").read_text(encoding="utf-8")
    for limit, of in (
        (PAYLOAD_BYTES_MAX, "bytes; 240,000 for a list"),
        (VALUE_BYTES_MAX, "bytes"),
        (COMMANDS_MAX - ROOM_FOR_OTHERS, ", fewer with a large context"),
        (LEVELS_MAX, "levels"),
        (ASKED_MAX, "things"),
    ):
        assert f"| {limit:,}{'' if of.startswith(',') else ' '}{of} |" in text
