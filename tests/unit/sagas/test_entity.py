"""Goal: an entity handles one call at a time, keeps its state, and undoes a call that fails.

Method: a wallet tried with `given(…)`; a workflow calls it, with both sides played by hand.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Struct

from sagas import StepFailed, WorkflowFailed, WorkflowSaga, entity, step, workflow
from sagas.effects import Publish, Signal
from sagas.errors import DefinitionError
from sagas.testing import Scenario, given


class Account(Struct):
    balance: int = 0


class Transfer(Struct):
    amount: int
    to: str = ""


async def _any(ctx: Any, input: Any) -> Any: ...


debit = step("debit", _any, _any)
credit = step("credit", _any, _any)
wallet = entity("Wallet", state=Account, description="Money of one customer")


@wallet.handler("deposit")
async def deposit(saga: WorkflowSaga, input: Transfer) -> int:
    saga.state.balance += input.amount
    return saga.state.balance


@wallet.handler("transfer")
async def transfer(saga: WorkflowSaga, input: Transfer) -> int:
    if saga.state.balance < input.amount:
        raise WorkflowFailed("not enough money", code="NO_FUNDS")
    saga.state.balance -= input.amount
    await debit(saga, input)
    await credit(saga, input)
    return saga.state.balance


@wallet.shared("balance")
def _balance(state: Account) -> int:
    return state.balance


def _call(run: Scenario, id: str, handler: Any, amount: int) -> Scenario:
    return run.when("Wallet", handler.request(Transfer(amount=amount)), id=id)


def _result(run: Scenario, id: str) -> Any:
    return msgspec.json.decode(run.instance.state).get("results", {}).get(id)


def _open(run: Scenario) -> list[str]:
    return [command.target for command in run.instance.commands.values()]


def _rich() -> Scenario:
    return _call(given(wallet, key="w-1"), "c-0", deposit, 100)


def test_a_call_changes_the_state_and_its_result_is_kept() -> None:
    run = _rich().expect_status("running")
    assert _result(run, "c-0") == {"output": 100}
    assert run.query("balance") == 100


def test_calls_are_handled_one_after_the_other() -> None:
    run = _call(_call(_rich(), "c-1", transfer, 30), "c-2", transfer, 30)
    assert (_open(run), run.query("balance")) == (["debit"], 100)
    run.when_step("debit").when_step("credit")
    assert (_result(run, "c-1"), _open(run), run.query("balance")) == (
        {"output": 70},
        ["debit"],
        70,
    )
    run.when_step("debit").when_step("credit")
    assert (_result(run, "c-2"), run.instance.steps) == ({"output": 40}, {})


def test_a_failed_call_is_undone_and_leaves_the_state_as_it_was() -> None:
    run = _call(_call(_rich(), "c-1", transfer, 30), "c-2", deposit, 1)
    run.when_step("debit").when_step_failed("credit", "closed")
    assert _open(run) == ["debit.undo"]
    assert _result(run, "c-2") is None, "it waits until the one before it is undone"
    run.when_step("debit").expect_status("running")
    assert _result(run, "c-1") == {"error": "credit: closed", "code": "StepFailed"}
    assert _result(run, "c-2") == {"output": 101}
    assert (run.instance.undo, run.instance.commands) == ((), {})


def test_an_undo_that_fails_parks_the_entity_until_an_operator_clears_the_way() -> None:
    run = _call(_rich(), "c-1", transfer, 30).when_step("debit").when_step_failed("credit")
    run.when_step_failed("debit", "no way back").expect_parked("no way back")
    run.action("skip", by_hand=True).expect_status("running")
    assert _result(run, "c-1")["code"] == "StepFailed"


def test_a_refusal_of_the_handler_or_of_the_call_is_a_result() -> None:
    run = _call(_rich(), "c-1", transfer, 300)
    assert _result(run, "c-1") == {"error": "not enough money", "code": "NO_FUNDS"}
    run.when("Wallet", {"handler": "steal"}, id="c-2")
    assert "no handler 'steal'; it has: deposit, transfer" in _result(run, "c-2")["error"]
    run.when("Wallet", {"handler": "deposit", "input": {"amount": "x"}}, id="c-3")
    assert "does not fit 'deposit'" in _result(run, "c-3")["error"]
    run.expect_status("running")


@workflow("Shopping")
async def _shopping(saga: WorkflowSaga, input: Transfer) -> Any:
    deposit.tell(saga, "w-2", Transfer(amount=1))
    try:
        return await transfer.call(saga, "w-1", input)
    except StepFailed as error:
        return [error.code, error.reason]


def _exchange(amount: int) -> Scenario:
    """A workflow calls the wallet, which replies; each end is carried over to the other side."""
    shop = given(_shopping, key="s-1").when("Shopping", Transfer(amount=amount))
    (_, asked) = [e for e in shop.instance.effects if isinstance(e, Publish)]
    assert (asked.type, asked.key) == ("Wallet", "w-1")
    money = _rich().when("Wallet", asked.payload, id=asked.id)
    for name in ("debit", "credit"):
        if money.instance.commands:
            money.when_step(name)
    (reply,) = [e for e in money.instance.effects if isinstance(e, Signal)]
    assert (reply.to.saga, reply.to.key) == ("Shopping", "s-1")
    return shop.receive(reply.cause)


def test_a_workflow_calls_an_entity_and_waits_for_its_reply() -> None:
    _exchange(30).expect_status("completed").expect_result(70)
    _exchange(300).expect_status("completed").expect_result(["NO_FUNDS", "not enough money"])


def test_what_can_be_no_handler_is_refused() -> None:
    with pytest.raises(DefinitionError, match="two handlers 'deposit'"):
        wallet.handler("deposit")(_any)
    with pytest.raises(DefinitionError, match="async def"):
        wallet.handler("plain")(lambda saga, input: None)  # type: ignore[arg-type,return-value]


def _ended_with(action: Any) -> Scenario:
    """A wallet that an operator ends while two wait for it: one in line, one in the backlog."""
    money = _rich().when("Wallet", transfer.request(Transfer(amount=1)), id="c-1")
    money.when("Wallet", _asked("s-1"), id="c-2")
    money.action("pause").when("Wallet", _asked("s-2"), id="c-3")
    return money.action(action)


def _asked(by: str) -> Any:
    """What a workflow with this key sends when it calls the wallet."""
    shop = given(_shopping, key=by).when("Shopping", Transfer(amount=2))
    return [one for one in shop.instance.effects if isinstance(one, Publish)][1].payload


def _told(run: Scenario) -> dict[str, Any]:
    """Who is told of which failure by the last version."""
    replies = [one for one in run.instance.effects if isinstance(one, Signal)]
    return {one.to.key: msgspec.json.decode(one.cause.payload)["failure"] for one in replies}


def test_who_waits_for_an_entity_that_is_ended_is_told_so() -> None:
    money = _ended_with("cancel").expect_status("cancelled")
    told = _told(money)
    assert {key: failure["code"] for key, failure in told.items()} == {
        "s-1": "Ended",
        "s-2": "Ended",
    }
    assert told["s-1"]["reason"].startswith("Wallet/w-1 is cancelled and handles no calls")
    assert _result(money, "c-1")["code"] == _result(money, "c-2")["code"] == "Ended"
    before = money.instance.version
    money.when("Wallet", _asked("s-3"), id="c-4").expect_status("cancelled")
    assert list(_told(money)) == ["s-3"]
    money.when("Wallet", deposit.request(Transfer(amount=1)), id="c-5").expect_ignored("finished")
    assert money.instance.version == before + 1
