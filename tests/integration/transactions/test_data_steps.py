"""Goal: ready-made steps create, update and delete rows, and their undos leave other work alone.

Method: lists of one such step and one that fails, run on each database; between the two somebody
else may change the row. What is left is read from outside.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

from jobs import PermanentFailure, StepContext
from jobs.data import create, delete, update
from sagas import DefinitionError, retry, steps, transaction
from sagas.instance import Instance
from sagas.programs.steps import AnyStep, step
from store.run_result import failure_of, result_of
from tests.integration.transactions.shop import Role, Shop
from tests.steps_kit import Stage, output_of, state_of
from tests.worker_kit import Floor

pytestmark = pytest.mark.asyncio

Meddle = Callable[[], Awaitable[None]]
Run = Callable[..., Awaitable[Instance]]

ANN = {
    "id": 1,
    "email": "ann@b.com",
    "role": "member",
    "credit": "12.50",
    "photo": "aGVsbG8=",
    "notes": {"tags": ["a", 1]},
    "since": "2026-01-31T08:00:00",
}


@pytest_asyncio.fixture
async def run(floor: Floor, shop: Shop) -> AsyncIterator[Run]:
    """Runs a list of steps to its end."""
    opened: list[Stage] = []

    async def run(items: list[AnyStep], input: object = None, **options: Any) -> Instance:
        stage = Stage(floor, [steps("list", items, **options)])
        opened.append(stage)
        await stage.open(providers=shop.providers)
        return await stage.run("list", "k-1", {} if input is None else input)

    yield run
    for stage in opened:
        await stage.close()


def _then_fail(meddle: Meddle | None = None) -> AnyStep:
    """A step that fails, after somebody else has been at the database."""

    async def fail(ctx: StepContext[Any]) -> None:
        if meddle is not None:
            await meddle()
        raise PermanentFailure("no")

    return step("fail", fail)


def _create(**more: Any) -> AnyStep:
    return create("make", "user", ANN, **more)


async def _there(shop: Shop) -> dict[str, Any]:
    """Ann, as somebody else has made her."""
    async with shop.database.transaction() as transaction:
        await transaction.insert("user", ANN)
    (row,) = await shop.rows("user")
    return row


async def test_create_adds_a_row_and_stores_its_key(run: Run, shop: Shop) -> None:
    ended = await run(
        [create("make", "user", lambda ctx: {"email": ctx.get("email")}, store_as="userId")],
        {"email": "a@b.com"},
    )
    assert ended.status == "completed", ended.error
    (row,) = await shop.rows("user")
    assert (row["email"], row["role"], row["credit"]) == ("a@b.com", Role.GUEST, Decimal("0.00"))
    assert state_of(ended) == {"email": "a@b.com", "userId": row["id"]}  # no other column joins
    assert output_of(ended, "make")["role"] == "guest"


async def test_columns_of_all_types_come_back_as_they_were(run: Run, shop: Shop) -> None:
    before = await _there(shop)
    assert before["photo"] == b"hello"
    assert before["role"] is Role.MEMBER
    ended = await run([delete("drop", "user", 1), _then_fail()])
    assert ended.status == "compensated", ended.error
    assert await shop.rows("user") == [before]


async def test_a_key_of_several_columns(run: Run, shop: Shop) -> None:
    await _there(shop)
    line = {"user_id": 1, "number": 2, "sku": "s"}
    ended = await run([create("line", "line", line, store_as="line")])
    assert state_of(ended)["line"] == {"user_id": 1, "number": 2}
    assert await shop.rows("line") == [line]


async def test_the_undo_of_create_deletes_the_row(run: Run, shop: Shop) -> None:
    ended = await run([_create(), _then_fail()])
    assert ended.status == "compensated"
    assert await shop.rows("user") == []


async def test_the_undo_of_create_is_content_when_the_row_is_gone(run: Run, shop: Shop) -> None:
    ended = await run([_create(), _then_fail(lambda: shop.empty("user"))])
    assert ended.status == "compensated"


async def test_the_undo_of_update_restores_its_columns_alone(run: Run, shop: Shop) -> None:
    before = await _there(shop)
    change = update("set", "user", lambda ctx: {"id": 1}, {"credit": "99.00", "role": "guest"})
    ended = await run([change, _then_fail(lambda: shop.change("user", email="new@b.com"))])
    assert ended.status == "compensated", ended.error
    assert await shop.rows("user") == [{**before, "email": "new@b.com"}]


async def test_update_answers_with_the_row(run: Run, shop: Shop) -> None:
    await _there(shop)

    async def wanted(ctx: StepContext[Any]) -> dict[str, Any]:
        return {"credit": "1.25"}

    ended = await run([update("set", "user", 1, wanted)])
    assert output_of(ended, "set") == {**ANN, "credit": "1.25"}


@pytest.mark.parametrize("kind", ["create", "update", "delete"])
async def test_what_somebody_else_has_changed_parks_the_undo(
    kind: str, run: Run, shop: Shop
) -> None:
    if kind != "create":
        await _there(shop)

    async def meddle() -> None:
        if kind == "delete":
            async with shop.database.transaction() as transaction:
                await transaction.insert("user", {**ANN, "credit": "7.00"})
        await shop.change("user", credit=Decimal("7.00"))

    done = {
        "create": _create(),
        "update": update("make", "user", 1, {"credit": "99.00"}),
        "delete": delete("make", "user", 1),
    }
    ended = await run([done[kind], _then_fail(meddle)])
    assert ended.status == "parked"
    assert ended.error is not None
    assert "was changed meanwhile (credit)" in ended.error.message
    assert "7.00" not in ended.error.message
    (row,) = await shop.rows("user")
    assert row["credit"] == Decimal("7.00")


async def test_the_undo_of_update_parks_when_the_row_is_gone(run: Run, shop: Shop) -> None:
    await _there(shop)
    change = update("set", "user", 1, {"credit": "99.00"})
    ended = await run([change, _then_fail(lambda: shop.empty("user"))])
    assert ended.status == "parked"
    assert ended.error is not None
    assert "was deleted meanwhile" in ended.error.message


async def test_without_compensate_nothing_is_undone(run: Run, shop: Shop) -> None:
    ended = await run([_create(compensate=False), _then_fail()])
    assert ended.status == "failed"
    assert len(await shop.rows("user")) == 1


async def test_a_rollback_leaves_nothing_to_undo(run: Run, shop: Shop) -> None:
    ended = await run([_create(), _then_fail()], transactional=True)
    assert ended.status == "failed"
    assert ended.undo == ()
    assert await shop.rows("user") == []


async def test_a_committed_transaction_is_undone_by_its_rows(run: Run, shop: Shop) -> None:
    line = {"user_id": 1, "number": 2, "sku": "s"}
    items = [_create(), create("line", "line", line), update("set", "user", 1, {"role": "guest"})]
    ended = await run(items, transactional=True)
    assert ended.status == "completed"
    assert [record.order for record in ended.steps.values()] == [1, 2, 3, 4]
    assert len(await shop.outcomes()) == 1


@pytest.mark.parametrize(
    ("made", "code", "text"),
    [
        (create("bad", "usr", {}), "UnknownEntity", "known: line, user"),
        (create("bad", "user", {"mail": 1}), "BadField", "has no column 'mail'"),
        (create("bad", "user", {"credit": "much"}), "BadField", "user.credit takes Decimal"),
        (create("bad", "user", {"email": None}), "RowRefused", "refuses it"),
        (update("bad", "user", 5, {"role": "guest"}), "RowMissing", "no row with this key"),
        (delete("bad", "user", 5), "RowMissing", "no row with this key"),
        (delete("bad", "line", 5), "BadField", "whole primary key (user_id, number)"),
    ],
)
async def test_what_can_not_be_done_fails_for_good(
    made: AnyStep, code: str, text: str, run: Run
) -> None:
    told = failure_of(result_of(await run([made])))
    assert told.code == code
    assert text in told.error


async def test_a_refused_row_says_which_constraint_and_no_values(run: Run, shop: Shop) -> None:
    await _there(shop)
    told = failure_of(
        result_of(await run([create("two", "user", {"id": 2, "email": ANN["email"]})]))
    )
    assert told.code == "RowRefused"
    assert "email" in told.error
    assert ANN["email"] not in told.error


async def test_the_steps_take_retries_for_themselves_only_outside_of_a_transaction() -> None:
    lone = create("make", "user", ANN, retry=retry(2), timeout="3s")
    assert (lone.retry, lone.timeout_s) == (retry(2), 3.0)
    with pytest.raises(DefinitionError, match="tried again as a whole"):
        steps("list", [lone], transactional=transaction())
