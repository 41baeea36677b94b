"""Goal: what a definition takes and gives is known to whoever calls it, before anything runs.

Method: the type checker reads one file of calls; `assert_type` says what each gives, and it must
complain about exactly the lines that are marked as wrong.
"""

from __future__ import annotations

from pathlib import Path

from tests.typing.checking import assert_wrong_where_said

CALLS = """
from typing import Any, assert_type

from msgspec import Struct

from sagas import StepList, Workflow, WorkflowSaga, entity, step, steps, workflow
from store.runs import Run, RunResult, Runs


class Order(Struct):
    id: str


class Receipt(Struct):
    total: int


@step("charge")
async def charge(ctx: Any, order: Order) -> Receipt:
    return Receipt(1)


@workflow("Checkout")
async def checkout(saga: WorkflowSaga, order: Order) -> Receipt:
    assert_type(await saga.child(listed, order), Receipt)
    return assert_type(await charge(saga, order), Receipt)


@workflow("Ping")
async def ping(saga: WorkflowSaga) -> str:
    return "pong"


@checkout.on_query("paid")
def paid(state: dict[str, int], plus: int = 0) -> int:
    return plus


listed = steps("listed", [step("one", charge.run)], input=Order, output=Receipt)
loose = steps("loose", [step("one", charge.run)], input=Order)
built = steps("built", input=Order, output=Receipt).step("one", charge.run).build()
wallet = entity("Wallet", state=Order)


@wallet.handler("deposit")
async def deposit(saga: WorkflowSaga, amount: int) -> Receipt:
    return Receipt(amount)


@wallet.shared("balance")
def balance(state: Order, currency: str) -> float:
    return 1.0


async def right(runs: Runs) -> None:
    assert_type(checkout, Workflow[Order, Receipt])
    assert_type(listed, StepList[Order, Receipt])
    assert_type(built, StepList[Order, Receipt])
    assert_type(await runs.run(checkout, Order("o-1")), RunResult[Receipt])
    assert_type((await runs.run(checkout, Order("o-1"))).unwrap(), Receipt)
    assert_type((await runs.run(listed, Order("o-1"), key="o-1")).output, Receipt | None)
    assert_type(await runs.run(loose, Order("o-1")), RunResult[Any])
    assert_type(await runs.run(ping), RunResult[str])
    assert_type(await runs.run("anything", {"a": 1}), RunResult[Any])
    assert_type(await runs.start(checkout, Order("o-1")), Run[Receipt])
    assert_type(await runs.send(listed, Order("o-1")), Run[Receipt])
    assert_type(runs.get(checkout, "o-1"), Run[Receipt])
    assert_type(await runs.get(ping, "p-1").result(), RunResult[str])
    assert_type(await runs.call(deposit, "ada", 5), Receipt)
    assert_type(await runs.ask(balance, "ada", currency="EUR"), float)
    assert_type(await runs.ask(paid, "o-1"), int)


async def not_so(runs: Runs) -> None:
    await runs.run(checkout, Receipt(1))  # wrong: another input
    await runs.run(checkout)  # wrong: no input
    await runs.run(ping, 5)  # wrong: it takes none
    await runs.start(listed, {"id": "o-1"})  # wrong: no Order
    await runs.send(listed, None)  # wrong: no Order
    await runs.call(deposit, "ada", "5")  # wrong: no amount
    await runs.tell(deposit, "ada", None)  # wrong: no amount
    await runs.ask(balance, "ada")  # wrong: no currency
    await runs.ask(balance, "ada", currency=5)  # wrong: no text
    assert_type((await runs.run(checkout, Order("o-1"))).unwrap(), str)  # wrong: a Receipt
"""


def test_types_flow_from_a_definition_to_what_a_call_gives(tmp_path: Path) -> None:
    assert_wrong_where_said(tmp_path, CALLS)
