"""Goal: what a run can't take is refused clearly, and work that was done is never left behind.

Method: lists, workflows and entities tried with `given(…)`; answers are written by hand.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw, Struct

from sagas import (
    StepFailed,
    WorkflowFailed,
    WorkflowSaga,
    entity,
    parallel,
    step,
    steps,
    workflow,
)
from sagas.effects import Publish, Send
from sagas.programs.steps import StepCall
from sagas.testing import Scenario, given


class Order(Struct):
    total: int
    shop: str = ""


async def _function(ctx: Any, data: Any = None) -> Any: ...


reserve = step("reserve", _function, _function)
charge = step("charge", _function, _function)
order = steps("order", [reserve, charge], input=Order, tenant="shop")


@workflow("Buying", tenant=lambda order: order.shop)
async def _buying(saga: WorkflowSaga, input: Order) -> str:
    saga.state["at"] = "reserve"
    await reserve(saga, input.total)
    try:
        await charge(saga, input.total)
    except StepFailed:
        raise WorkflowFailed("no money") from None
    return "bought"


def _call(run: Scenario) -> StepCall:
    (send,) = [effect for effect in run.instance.effects if isinstance(effect, Send)]
    return msgspec.json.decode(send.payload, type=StepCall)


@pytest.mark.parametrize("saga", [order, _buying])
def test_a_step_that_did_its_work_is_undone_though_its_answer_was_of_no_use(saga: Any) -> None:
    run = given(saga, key="o-1").when(saga.id, {"total": 5}).when_step("reserve")
    target = next(iter(run.instance.commands.values())).target
    run.when_failed(target, "the answer is too large", done=True, code="OutputTooLarge", data=7)
    run.expect_status("compensating")
    undo = _call(run)
    assert (undo.step, undo.failed, bytes(undo.data)) == ("charge", True, b"7")
    run.when_step("charge").when_step("reserve").expect_status("compensated")


def test_its_place_in_the_order_is_that_of_its_answer() -> None:
    both = steps("both", [parallel("p", [reserve, charge])])
    run = given(both, key="o-1").when("both", {})
    run.when_failed("both.charge", "too large", done=True).when_step("reserve")
    assert [undo.type for undo in run.instance.undo] == ["reserve", "charge"]


@pytest.mark.parametrize("saga", [order, _buying])
def test_the_tenant_of_a_run_reaches_its_steps_and_their_undos(saga: Any) -> None:
    run = given(saga, key="o-1").when(saga.id, Order(total=5, shop="acme"))
    assert _call(run).tenant == "acme"
    run.when_step("reserve").when_step_failed("charge")
    assert (_call(run).undo, _call(run).tenant) == (True, "acme")
    assert _call(given(saga, key="o-2").when(saga.id, {"total": 5})).tenant == ""


@pytest.mark.parametrize("saga", [order, _buying])
def test_a_start_by_hand_that_does_not_fit_begins_nothing(saga: Any) -> None:
    run = given(saga, key="o-1").when_spawned({"total": "much"})
    run.expect_refused(f"does not fit {saga.id}: Expected `int`")
    assert run.history == []
    parent = given(saga, key="o-1").when_spawned({"total": "much"}, parent=("P", "p-1"))
    parent.expect_parked("Expected `int`")  # the parent waits for it, so it is there


def test_a_workflow_s_state_is_not_patched_but_a_list_s_context_is() -> None:
    run = given(_buying, key="o-1").when("Buying", {"total": 5})
    run.action("patch", patch=Raw(b'{"state":{"at":"home"}}')).expect_refused("would not last")
    run = given(order, key="o-1").when("order", {"total": 5})
    run.action("patch", patch=Raw(b'{"total":6}')).expect_state(total=6)


class Account(Struct):
    balance: int = 0


wallet = entity("Wallet", state=Account)


@wallet.handler("deposit")
async def _deposit(saga: WorkflowSaga, amount: int) -> int:
    saga.state.balance += amount
    return saga.state.balance


@wallet.handler("twice")
async def _twice(saga: WorkflowSaga, amount: int) -> Any:
    await charge(saga, amount)
    return await _deposit.call(saga, saga.key, amount)


@wallet.handler("round")
async def _round(saga: WorkflowSaga, other: str) -> Any:
    return await _round.call(saga, other, saga.key)


def test_an_entity_s_state_is_patched_while_no_call_works_on_it() -> None:
    run = given(wallet, key="w-1").when("Wallet", _deposit.request(5))
    run.action("patch", patch=Raw(b'{"state":{"balance":9}}'))
    assert _balance(run) == 9
    run.action("patch", patch=Raw(b'{"state":{"balance":"x"}}')).expect_refused("would not fit")
    run.when("Wallet", _twice.request(1))
    run.action("patch", patch=Raw(b'{"state":{"balance":0}}')).expect_refused("handles a call")


def _balance(run: Scenario) -> Any:
    return msgspec.json.decode(run.instance.state)["state"]["balance"]


def _results(run: Scenario) -> Any:
    return msgspec.json.decode(run.instance.state)["results"]


def test_an_entity_that_calls_itself_fails_that_call_and_undoes_it() -> None:
    run = given(wallet, key="w-1").when("Wallet", _twice.request(1), id="c-1").when_step("charge")
    run.expect_status("running").when_step("charge")  # its undo
    assert _results(run)["c-1"]["code"] == "CallsItself"
    assert "tell it, or do the work in the handler" in _results(run)["c-1"]["error"]
    run.when("Wallet", _deposit.request(2), id="c-2")
    assert _results(run)["c-2"] == {"output": 2}


def test_entities_that_would_wait_for_each_other_are_refused() -> None:
    first = given(wallet, key="w-1").when("Wallet", _round.request("w-2"), id="c-1")
    (asked,) = [effect for effect in first.instance.effects if isinstance(effect, Publish)]
    second = given(wallet, key="w-2").when("Wallet", asked.payload, id=asked.id)
    assert _results(second)[asked.id]["code"] == "CallsItself"


def test_a_malformed_call_by_hand_is_refused_and_the_entity_goes_on() -> None:
    run = given(wallet, key="w-1").when("Wallet", _deposit.request(5))
    run.when_spawned({"no": "handler"}).expect_refused("does not fit Wallet")
    run.expect_status("running").when("Wallet", _deposit.request(2))
    assert _balance(run) == 7
