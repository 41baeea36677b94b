"""Goal: a workflow that no longer fits its history says so; one that is changed with care goes on.

Method: a run is begun with one function and continued with another under the same name, as after a
deploy; and runs of many steps, deep and wide, reach their end or say what is too much.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from sagas import StepFailed, WorkflowSaga, step, steps, workflow
from sagas.errors import DefinitionError
from sagas.replay import replay
from sagas.testing import Scenario, given


async def _any(ctx: Any, input: Any) -> Any: ...


async def _undo(ctx: Any, data: Any) -> None: ...


first = step("first", _any, _undo)
second = step("second", _any, _undo)
third = step("third", _any, _undo)
stranger = step("stranger", _any)

Function = Callable[[WorkflowSaga, Any], Coroutine[Any, Any, Any]]


def _flow(function: Function, **options: Any) -> Any:
    return workflow("Flow", **options)(function)


def _begun(function: Function, input: object = None, **options: Any) -> Scenario:
    return given(_flow(function, **options), key="k").when("Flow", input)


def _deploy(run: Scenario, function: Function, **options: Any) -> None:
    run.definition = _flow(function, **options)


async def _old(saga: WorkflowSaga, input: Any) -> Any:
    a = await first(saga, input)
    return [a, await second(saga, input)]


async def _swapped(saga: WorkflowSaga, input: Any) -> Any:
    a = await second(saga, input)
    return [a, await first(saga, input)]


async def _shorter(saga: WorkflowSaga, input: Any) -> Any:
    return await first(saga, input)


def test_other_steps_than_history_park_the_run_and_old_code_lets_it_go_on() -> None:
    run = _begun(_old).when_step("first", 1)
    _deploy(run, _swapped)
    run.when_step("second", 2).expect_parked(
        "at place 1 history has the step 'first', the function"
    )
    run.expect_parked("asks for the step 'second'")
    assert run.instance.error is not None
    assert run.instance.error.type == "Diverged"
    _deploy(run, _old)
    run.action("retry").expect_status("completed").expect_result([1, 2])


def test_fewer_steps_than_history_park_the_run() -> None:
    run = _begun(_old).when_step("first", 1)
    _deploy(run, _shorter)
    run.when_step("second", 2).expect_parked("history goes on with the step 'second'")


async def _swallows(saga: WorkflowSaga, input: Any) -> Any:
    try:
        return await second(saga, input)
    except Exception:
        return "swallowed"


def test_a_function_that_catches_everything_hides_no_divergence() -> None:
    run = _begun(_old)
    _deploy(run, _swallows)
    run.when_step("first").expect_parked("the function asks for the step 'second'")


async def _versioned(saga: WorkflowSaga, input: Any) -> Any:
    a = await first(saga, input)
    if saga.patched("third-comes-between"):
        await third(saga, input)
    assert saga.patched("third-comes-between") == saga.patched("third-comes-between")
    return [a, await second(saga, input)]


async def _later(saga: WorkflowSaga, input: Any) -> Any:
    a = await first(saga, input)
    await third(saga, input)
    return [a, await second(saga, input)]


def test_runs_that_had_passed_a_change_keep_the_old_way() -> None:
    old = _begun(_old).when_step("first", 1)
    _deploy(old, _versioned)
    old.when_step("second", 2).expect_result([1, 2])


def test_runs_that_come_to_a_change_take_the_new_way() -> None:
    new = _begun(_old)
    _deploy(new, _versioned)
    new.when_step("first", 1).when_step("third")
    _deploy(new, _later)  # the question is asked no more
    new.when_step("second", 2).expect_result([1, 2])


async def _unknown(saga: WorkflowSaga, input: Any) -> Any:
    return await _hidden()(saga, input)


def _hidden() -> Any:
    return step("hidden", _any)


def test_a_step_that_the_workflow_does_not_know_is_a_clear_error() -> None:
    _begun(_unknown).expect_parked("does not know the step 'hidden'; name it in steps=")


async def _namesakes(saga: WorkflowSaga, input: Any) -> Any:
    await first(saga, input)


def test_two_steps_of_one_name_are_refused() -> None:
    definition = _flow(_namesakes, steps=[step("first", _any)])
    with pytest.raises(DefinitionError, match="two steps are named 'first'"):
        assert definition.program.steps


async def _pure(saga: WorkflowSaga, input: Any) -> Any:
    drawn = [saga.random(), str(saga.uuid()), saga.now()]
    await first(saga, input)
    return [*drawn, saga.random(), str(saga.uuid()), saga.now()]


def test_chance_and_time_are_the_same_in_every_replay() -> None:
    run = _begun(_pure)
    run.advance("1h").when_step("first").expect_status("completed")
    again = replay(run.definition, run.history)
    assert again.first is None
    result = run.instance.result
    assert len(set(bytes(result).decode().strip("[]").split(","))) == 6


CHILD = steps("Child", [step("only", _any)])


async def _parent(saga: WorkflowSaga, input: Any) -> Any:
    saga.spawn("Audit", {"of": saga.run_id})
    try:
        return await saga.child(CHILD, {"n": 1}, key="c-1")
    except StepFailed as error:
        return [error.step, error.code]


def test_children_are_awaited_or_let_go() -> None:
    run = _begun(_parent)
    assert run.instance.children == {"Child/c-1": "running", "Audit/k-1-0": "running"}
    run.child_ended("Audit").expect_status("running")
    run.child_ended("Child", "c-1", result={"n": 2}).expect_result({"n": 2})
    failed = _begun(_parent).child_ended("Child", "c-1", "compensated", reason="no stock")
    failed.expect_result(["Child", "child_compensated"])


async def _called(saga: WorkflowSaga, input: Any) -> Any:
    saga.publish("Asked", {"n": 1})
    return await saga.call("rates", {"currency": "EUR"}, type=dict[str, float])


def test_jobs_are_called_and_events_published_once() -> None:
    run = _begun(_called)
    assert [type(effect).__name__ for effect in run.instance.effects] == ["Publish", "Send"]
    run.when_answer("rates", "Snorri-Completed", {"EUR": 1.0})
    assert [type(effect).__name__ for effect in run.instance.effects] == ["Complete"]
    run.expect_result({"EUR": 1.0})
    _begun(_called).when_failed("rates", "closed").expect_status("failed")


async def _inner(saga: WorkflowSaga, input: int) -> int:
    await first(saga, input)
    return 0 if input == 0 else 1 + await saga.run_nested(_inner, input - 1)


Nested = workflow("Nested")(_inner)


async def _outer(saga: WorkflowSaga, input: Any) -> Any:
    depth = await Nested.run_as_step(saga, 49)
    await second(saga, depth)
    return depth


def test_fifty_levels_join_one_run_and_are_undone_with_it() -> None:
    run = _begun(_outer)
    for level in range(50):
        run.when_step("first" if level == 0 else f"first#{level + 1}")
    run.when_step_failed("second", "no").expect_status("compensating")
    assert [undo.type for undo in run.instance.undo[:2]] == ["first#50", "first#49"]
    assert len(run.instance.undo) == 50


async def _wide(saga: WorkflowSaga, input: int) -> Any:
    return sum(await asyncio.gather(*(first(saga, n) for n in range(input))))


def test_hundreds_of_steps_at_the_same_time_begin_as_there_is_room() -> None:
    run = _begun(_wide, 360)
    assert len(run.instance.commands) == 350
    for n in range(360):
        run.when_step("first" if n == 0 else f"first#{n + 1}", 1)
    run.expect_status("completed").expect_result(360)


async def _chatty(saga: WorkflowSaga, input: int) -> Any:
    for n in range(input):
        saga.publish("Ping", n)
    return input


def test_events_beyond_one_transition_follow_in_the_next_ones() -> None:
    run = _begun(_chatty, 800)
    for _ in range(3):
        run.advance(0)
    run.expect_status("completed")
    sent = [e for one in run.history for e in one.effects if type(e).__name__ == "Publish"]
    assert len(sent) == 800


async def _endless(saga: WorkflowSaga, input: Any) -> Any:
    turn = 0
    while turn >= 0:
        turn += 1
        await asyncio.sleep(0)


def test_a_loop_that_waits_for_nothing_is_stopped() -> None:
    _begun(_endless).expect_parked("goes on and on")


async def _tidy(saga: WorkflowSaga, input: Any) -> Any:
    try:
        return await first(saga, input)
    finally:
        saga.publish("Left")
        saga.state["left"] = True


def test_a_finally_block_counts_when_the_function_leaves_not_when_it_waits() -> None:
    run = _begun(_tidy)
    assert len(run.instance.effects) == 1
    run.expect_state(state={}).when_step("first").expect_state(state={"left": True})
    assert [type(effect).__name__ for effect in run.instance.effects] == ["Publish", "Complete"]


async def _raced(saga: WorkflowSaga, input: Any) -> Any:
    work = asyncio.create_task(first(saga, input))
    pause = asyncio.create_task(saga.sleep("1h"))
    await asyncio.wait([work, pause], return_when=asyncio.FIRST_COMPLETED)
    pause.cancel()
    await second(saga, input)
    return work.done()


def test_a_pause_that_is_given_up_leaves_no_timer() -> None:
    run = _begun(_raced)
    run.expect_timers("sleep").when_step("first").expect_timers()
    run.when_step("second").expect_result(True)


async def _asked(saga: WorkflowSaga, input: Any) -> Any:
    return await saga.promise("decision")


def test_a_handler_of_a_signal_resolves_a_promise_once() -> None:
    definition = _flow(_asked, signals={"decision": str})

    @definition.on_signal("approve")
    def _approve(saga: WorkflowSaga, by: dict[str, str]) -> None:
        saga.state["by"] = by["name"]
        saga.resolve("decision", "yes")

    run = given(definition, key="k").when("Flow")
    run.signal("approve", {"name": "Ann"}).expect_status("completed").expect_result("yes")
    run.expect_state(state={"by": "Ann"})
    early = given(definition, key="k").when("Flow")
    early.signal("decision", "no").expect_result("no")


@pytest.mark.asyncio
async def test_a_decision_may_be_made_inside_of_a_running_loop() -> None:
    task = asyncio.current_task()
    _begun(_wide, 3).when_step("first", 1).when_step("first#2", 1).when_step(
        "first#3", 1
    ).expect_result(3)
    assert asyncio.current_task() is task
    assert asyncio.get_running_loop() is not None
