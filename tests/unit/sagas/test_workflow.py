"""Goal: a workflow function gets each answer once, in ordinary control flow; undoing goes back.

Method: workflows tried with `given(…)`; after every step the stored document alone goes on, so each
answer is a replay of the function from its start, as after a crash.
"""

from __future__ import annotations

import asyncio
from typing import Any, assert_type

import pytest
from msgspec import Struct

from sagas import (
    StepFailed,
    WaitTimedOut,
    Workflow,
    WorkflowFailed,
    WorkflowSaga,
    step,
    workflow,
)
from sagas.errors import DefinitionError
from sagas.testing import Scenario, given


class Order(Struct):
    total: int
    items: tuple[str, ...] = ()


class Reservation(Struct):
    id: str


async def _undo(ctx: Any, data: Any) -> None: ...


async def _any(ctx: Any, input: Any) -> Any: ...


async def _reserve(ctx: Any, input: Order) -> Reservation: ...  # type: ignore[empty-body]


reserve = step("reserve", compensate=_undo)(_reserve)
pay = step("pay", _any, _undo)
ship = step("ship", _any, _undo)
hybrid = step("hybrid", _any, _undo, strict=False)
notice = step("notice", _any, background=True)


@workflow("Checkout")
async def checkout(saga: WorkflowSaga, order: Order) -> dict[str, Any]:
    """Reserve, pay, ship."""
    saga.state["at"] = "reserving"
    reservation = await reserve(saga, order)
    saga.state["at"] = "paying"
    await notice(saga, {"order": saga.key})
    paid = await pay(saga, {"id": reservation.id, "total": order.total})
    await ship(saga, {})
    return {"paid": paid, "reservation": reservation.id}


def _begun(definition: Any = checkout, **input: Any) -> Scenario:
    return given(definition, key="o-1").when(definition.id, {"total": 5, **input})


def _open(scenario: Scenario) -> list[str]:
    return [command.target for command in scenario.instance.commands.values()]


def _undone(scenario: Scenario) -> list[str]:
    return [undo.type for undo in scenario.instance.undo]


def _error(scenario: Scenario) -> tuple[str, str]:
    error = scenario.instance.error
    assert error is not None
    return error.type, error.message


def test_steps_answer_from_history_and_the_result_is_what_the_function_returns() -> None:
    run = _begun()
    assert checkout.description == "Reserve, pay, ship."
    assert _open(run) == ["reserve"]
    run.expect_state(input={"total": 5}, state={"at": "reserving"})
    run.when_step("reserve", {"id": "r-1"}).expect_state(state={"at": "paying"})
    assert _open(run) == ["notice", "pay"]
    run.when_step("pay", 7).when_step("ship").expect_status("completed")
    run.expect_result({"paid": 7, "reservation": "r-1"})
    run.when_step("notice").expect_status("completed")


def test_a_failure_that_leaves_the_function_undoes_the_steps_backwards() -> None:
    run = _begun().when_step("reserve", {"id": "r-1"}).when_step("pay")
    run.when_step_failed("ship", "no carrier", code="NO_CARRIER").expect_status("compensating")
    assert _undone(run) == ["pay", "reserve"]
    run.when_step("pay").when_step("reserve").expect_status("compensated")
    assert _error(run) == ("NO_CARRIER", "ship: no carrier")


@workflow("Tried")
async def tried(saga: WorkflowSaga, order: Order) -> str:
    for attempt in range(3):
        try:
            await hybrid(saga, {"attempt": attempt})
        except StepFailed as error:
            if error.data == "final":
                await pay(saga, {})
                raise WorkflowFailed("gave up", code="GAVE_UP") from error
            continue
        return f"attempt {attempt}"
    return "never"


def test_a_failure_may_be_caught_and_the_function_go_on() -> None:
    run = _begun(tried).when_step_failed("hybrid", "once").when_step("hybrid#2")
    run.expect_status("completed").expect_result("attempt 1")


def test_a_step_that_failed_is_undone_where_it_stood() -> None:
    run = _begun(tried).when_step_failed("hybrid").when_step_failed("hybrid#2", data="final")
    run.when_step("pay").expect_status("compensating")
    assert _undone(run) == ["pay", "hybrid#2", "hybrid"]
    assert _error(run) == ("GAVE_UP", "gave up")


@workflow("Parts")
async def parts(saga: WorkflowSaga, order: Order) -> list[Any]:
    first = await asyncio.gather(*(pay(saga, {"item": item}) for item in order.items))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ship(saga, {"item": item})) for item in order.items]
    saga.state = {"first": first}
    return [task.result() for task in tasks]


def test_what_runs_at_the_same_time_is_undone_in_reverse_order_of_its_end() -> None:
    run = _begun(parts, items=["a", "b"])
    assert _open(run) == ["pay", "pay"]
    run.when_step("pay#2", "two").when_step("pay", "one")
    assert _open(run) == ["ship", "ship"]
    run.when_step_failed("ship", "broken")
    run.expect_status("compensating")
    assert "ship" in _open(run), "the one that is on its way is waited for"
    run.when_step("ship#2")
    assert _undone(run) == ["ship#2", "pay", "pay#2"]


def test_a_gather_keeps_the_order_of_its_arguments() -> None:
    run = _begun(parts, items=["a", "b"]).when_step("pay#2", "two").when_step("pay", "one")
    run.when_step("ship#2", 2).when_step("ship", 1).expect_result([1, 2])
    run.expect_state(state={"first": ["one", "two"]})


@workflow("Approval", signals={"approval": dict[str, bool], "note": str}, events={"Paid": int})
async def approval(saga: WorkflowSaga, order: Order) -> Any:
    await saga.sleep("1m")
    try:
        answer = await saga.promise("approval", timeout="1h")
        again = await saga.promise("approval")
    except TimeoutError:
        return "too late"
    assert answer == again
    saga.send("audit", answer)
    return [answer, await saga.wait_for_signal("note"), await saga.wait_for_signal("Paid", int)]


@approval.on_query("waits")
def _waits(state: dict[str, Any]) -> int:
    return len(state)


def test_signals_and_events_are_awaited_or_kept_until_somebody_waits() -> None:
    run = _begun(approval).signal("note", "early").advance("1m")
    assert sorted(run.instance.timers) == ["signal:approval"]
    run.signal("approval", {"yes": True}).expect_timers()
    run.when("Paid", 5).expect_status("completed").expect_result([{"yes": True}, "early", 5])
    assert run.query("waits") == 0


def test_a_wait_ends_with_its_time_out() -> None:
    run = _begun(approval).advance("2h").expect_status("completed").expect_result("too late")
    record = run.instance.steps["signal:approval"]
    assert (record.status, record.code) == ("failed", "TimedOut")
    assert issubclass(WaitTimedOut, WorkflowFailed)


@workflow("Faulty")
async def faulty(saga: WorkflowSaga, order: Order) -> None:
    await pay(saga, {})
    raise KeyError("a fault of the code")


def test_a_fault_of_the_code_parks_and_a_retry_goes_on() -> None:
    run = _begun(faulty).when_step("pay").expect_parked("a fault of the code")
    assert "in faulty" in str(run.instance.error and run.instance.error.traceback)
    run.action("retry").expect_parked("a fault of the code")
    assert run.instance.parked is not None
    assert run.instance.parked.attempts == 2


@workflow("Sleepy")
async def sleepy(saga: WorkflowSaga) -> None:
    async with asyncio.timeout(1):
        await pay(saga, {})


def test_real_time_is_refused() -> None:
    given(sleepy, key="k").when("Sleepy").expect_parked("use saga.sleep()")


def test_what_can_be_no_workflow_is_refused() -> None:
    with pytest.raises(DefinitionError, match="async def"):
        workflow("Plain")(lambda saga: None)  # type: ignore[arg-type,return-value]


@workflow("Typed")
async def typed(saga: WorkflowSaga, order: Order) -> list[Any]:
    reservation = assert_type(await reserve(saga, order), Reservation)
    inner = assert_type(await checkout.run_as_step(saga, order), dict[str, Any])
    return [reservation.id, inner["paid"]]


def test_types_flow_from_input_to_result() -> None:
    """The type checker reads this file too: each assert_type is its verdict."""
    assert_type(checkout, Workflow[Order, dict[str, Any]])
    assert_type(typed, Workflow[Order, list[Any]])
    assert (typed.input_type, typed.output_type) == (Order, list[Any])
    run = _begun(typed).when_step("reserve", {"id": "a"}).when_step("reserve#2", {"id": "b"})
    run.when_step("pay", 7).when_step("ship").expect_result(["a", 7])
