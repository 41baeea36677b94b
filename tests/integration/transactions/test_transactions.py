"""Goal: transactional steps are committed with their outcome or not at all, and answer once.

Method: lists through engine and worker in memory, on each database; what is left in the database is
read from outside. Broken databases are the real one with one method that raises.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from jobs import PermanentFailure, StepContext
from jobs.steps import all_step_jobs
from sagas import (
    DefinitionError,
    StepResponse,
    WorkflowSaga,
    retry,
    sequence,
    step,
    steps,
    transaction,
    workflow,
)
from store.run_result import failure_of, result_of
from tests.integration.transactions.kit import Outside, insert_user, retried
from tests.integration.transactions.shop import Line, Shop, User
from tests.steps_kit import Stage, output_of, state_of
from tests.worker_kit import memory_floor

pytestmark = pytest.mark.asyncio

Open = Callable[..., Any]
TWICE = retry(2, 0.01)


async def _line(ctx: StepContext[Any]) -> str:
    values = {"user_id": ctx.get("userId"), "number": 1, "sku": "s-1"}
    return (await ctx.transaction.insert("line", values))["sku"]


async def _refuses(ctx: StepContext[Any]) -> None:
    raise PermanentFailure("no carrier", code="NoCarrier")


async def test_all_steps_are_committed_together_with_their_outcome(stage: Open, shop: Shop) -> None:
    sign_up = steps("sign-up", [step("user", insert_user), step("line", _line)], transactional=True)
    ended = await (await stage(sign_up)).run("sign-up", "u-1", {"email": "a@b.com"})
    assert ended.status == "completed", ended.error
    assert [row["email"] for row in await shop.rows("user")] == ["a@b.com"]
    assert [row["sku"] for row in await shop.rows("line")] == ["s-1"]
    assert output_of(ended, "line") == "s-1"
    assert state_of(ended)["userId"] == output_of(ended, "user")["userId"]
    ((id, outcome),) = (await shop.outcomes()).items()
    assert id.startswith("sign-up.u-1.1.")
    assert outcome is not None


async def test_a_failure_rolls_back_and_undoes_what_was_done_elsewhere(
    stage: Open, shop: Shop
) -> None:
    outside = Outside()
    order = steps(
        "order",
        [
            step("hold", outside.do, outside.undo),
            sequence(
                "book",
                [
                    step("user", insert_user, outside.undo, data_only=True),
                    step("charge", outside.do, outside.undo),
                    step("ship", _refuses),
                ],
                transactional="shop-db",
            ),
        ],
    )
    ended = await (await stage(order)).run("order", "o-1", {"email": "a@b.com"})
    assert ended.status == "compensated"
    assert await shop.rows("user") == []
    assert outside.lines == ["hold 1", "charge 1", "-charge rolled back True", "-hold False"]
    told = failure_of(result_of(ended))
    assert (told.error, told.code) == ("ship: no carrier", "NoCarrier")
    assert told.compensated_steps == ("charge", "hold")


async def test_steps_of_a_transaction_have_keys_of_their_own_that_stay(stage: Open) -> None:
    seen: list[tuple[str, str]] = []

    async def note(ctx: StepContext[Any]) -> None:
        seen.append((ctx.step, ctx.idempotency_key))
        if ctx.step == "second" and ctx.attempt == 1:
            raise ConnectionError

    keys = steps(
        "keys",
        [step("first", note), step("second", note)],
        transactional=transaction(retry=TWICE),
    )
    ended = await (await stage(keys)).run("keys", "k", {})
    assert ended.status == "completed"
    assert seen[:2] == seen[2:]
    assert len({key for _, key in seen}) == 2


async def test_a_committed_transaction_is_undone_step_by_step(stage: Open, shop: Shop) -> None:
    async def remove(ctx: StepContext[Any], made: dict[str, Any]) -> None:
        assert not ctx.rolled_back
        await ctx.transaction.delete("user", made["userId"])

    order = steps(
        "order",
        [
            sequence("book", [step("user", insert_user, remove)], transactional=True),
            step("ship", _refuses),
        ],
    )
    ended = await (await stage(order)).run("order", "o-1", {"email": "a@b.com"})
    assert ended.status == "compensated"
    assert await shop.rows("user") == []
    assert len(await shop.outcomes()) == 2  # the transaction's and the undo's


async def test_own_statements_and_sessions_take_part(stage: Open, shop: Shop) -> None:
    async def with_session(ctx: StepContext[Any]) -> int:
        async with AsyncSession(ctx.transaction.connection, expire_on_commit=False) as session:
            user = User(email="orm@b.com")
            session.add(user)
            await session.flush()
            session.add(Line(user_id=user.id, number=1, sku="orm"))
            await session.commit()  # of the session; the transaction is not its own
            return user.id

    order = steps("order", [step("orm", with_session), step("ship", _refuses)], transactional=True)
    good = steps("good", [step("orm", with_session)], transactional=True)
    opened = await stage(order, good)
    assert (await opened.run("order", "o-1", {})).status == "failed"
    assert await shop.rows("user") == []
    assert (await opened.run("good", "g-1", {})).status == "completed"
    assert [row["sku"] for row in await shop.rows("line")] == ["orm"]


async def test_plain_functions_run_in_threads_within_the_transaction(
    stage: Open, shop: Shop
) -> None:
    def compute(ctx: StepContext[Any]) -> dict[str, Any]:
        return {"email": ctx.get("email").upper()}

    order = steps(
        "order", [step("compute", compute), step("user", insert_user)], transactional=True
    )
    assert (await (await stage(order)).run("order", "o", {"email": "x@y.z"})).status == "completed"
    assert [row["email"] for row in await shop.rows("user")] == ["X@Y.Z"]


async def test_a_workflow_calls_a_transactional_step(stage: Open, shop: Shop) -> None:
    @step("enter", transactional=True)
    async def enter(ctx: StepContext[Any], email: str) -> int:
        return (await ctx.transaction.insert("user", {"email": email}))["id"]

    @workflow("Entry")
    async def entry(saga: WorkflowSaga, email: str) -> int:
        return await enter(saga, email)

    ended = await (await stage(entry)).run("Entry", "e-1", "w@x.y")
    assert ended.status == "completed", ended.error
    assert [row["email"] for row in await shop.rows("user")] == ["w@x.y"]
    assert len(await shop.outcomes()) == 1


async def test_it_is_tried_again_as_a_whole_and_given_up_after_the_last_attempt(
    stage: Open, shop: Shop
) -> None:
    outside = Outside()

    async def shaky(ctx: StepContext[Any]) -> None:
        raise ConnectionError("the line is bad")

    order = steps(
        "order",
        [step("user", insert_user), step("charge", outside.do, outside.undo), step("shaky", shaky)],
        transactional=transaction(retry=TWICE),
    )
    ended = await (await stage(order)).run("order", "o-1", {"email": "a@b.com"})
    assert ended.status == "compensated"
    assert outside.lines == ["charge 1", "charge 2", "-charge rolled back True"]
    assert {one.attempts for one in ended.steps.values()} == {2}
    assert await shop.rows("user") == []
    assert failure_of(result_of(ended)).error == "shaky: ConnectionError: the line is bad"
    told = [text for text in (await shop.outcomes()).values() if text and "line is bad" in text]
    assert len(told) == 1


async def test_its_steps_were_tried_as_often_as_it_was(stage: Open, shop: Shop) -> None:
    async def second_time_lucky(ctx: StepContext[Any]) -> int:
        if ctx.attempt == 1:
            raise ConnectionError("the line is bad")
        return ctx.attempt

    order = steps(
        "order",
        [step("user", insert_user), step("lucky", second_time_lucky)],
        transactional=transaction(retry=TWICE),
    )
    ended = await (await stage(order)).run("order", "o-1", {"email": "a@b.com"})
    assert ended.status == "completed", ended.error
    assert {one.attempts for one in ended.steps.values()} == {2}


async def test_a_time_limit_rolls_back(stage: Open, shop: Shop) -> None:
    async def hangs(ctx: StepContext[Any]) -> None:
        await asyncio.Event().wait()

    order = steps(
        "order",
        [step("user", insert_user), step("hangs", hangs)],
        transactional=transaction(retry=TWICE, timeout=0.3),
    )
    ended = await (await stage(order)).run("order", "o-1", {"email": "a@b.com"})
    assert ended.status == "failed"
    assert ended.error is not None
    assert "no answer within 0.3 s" in ended.error.message
    assert await shop.rows("user") == []


async def test_what_a_step_left_for_its_undo_reaches_it(stage: Open, shop: Shop) -> None:
    seen: list[Any] = []

    async def run(ctx: StepContext[Any]) -> StepResponse[str]:
        return StepResponse("done", {"secret": 7})

    async def undo(ctx: StepContext[Any], data: Any) -> None:
        seen.append((ctx.output, data))

    order = steps("order", [step("one", run, undo), step("two", _refuses)], transactional=True)
    await (await stage(order)).run("order", "o-1", {})
    assert seen == [("done", {"secret": 7})]


async def test_a_failure_on_record_is_told_again_until_somebody_sends_it_anew(
    stage: Open, shop: Shop
) -> None:
    tries: list[int] = []

    async def picky(ctx: StepContext[Any]) -> None:
        tries.append(ctx.attempt)
        if len(tries) == 1:
            raise PermanentFailure("not yet")

    order = steps("order", [step("picky", picky)], transactional=True, on_failure="park")
    opened = await stage(order)
    assert (await opened.run("order", "o-1", {})).status == "parked"
    assert (await retried(opened, "order", "o-1")).status == "completed"
    assert len(tries) == 2


async def test_a_missing_table_of_outcomes_is_told_with_what_to_do(stage: Open, shop: Shop) -> None:
    async with shop.engine.begin() as connection:
        await connection.exec_driver_sql("DROP TABLE snorri_outcomes")
    order = steps("order", [step("user", insert_user)], transactional=transaction(retry=retry(1)))
    parked = await (await stage(order)).run("order", "o-1", {"email": "a@b.com"})
    assert parked.status == "parked"
    assert parked.error is not None
    assert "database.prepare()" in parked.error.message
    await shop.database.prepare()


async def test_a_database_that_outlives_an_installation_takes_no_run_for_an_old_one(
    shop: Shop,
) -> None:
    order = steps("order", [step("user", insert_user)], transactional=True)
    for email in ("a@b.com", "c@d.com"):
        floor = memory_floor()
        opened = await Stage(floor, [order]).open(providers=shop.providers)
        assert (await opened.run("order", "o-1", {"email": email})).status == "completed"
        await opened.close()
        await floor.close()
    assert [row["email"] for row in await shop.rows("user")] == ["a@b.com", "c@d.com"]


async def test_an_unknown_database_is_refused() -> None:
    wrong = steps("wrong", [step("user", insert_user)], transactional=7)
    with pytest.raises(DefinitionError, match="names no database"):
        all_step_jobs([wrong])


async def test_old_outcomes_can_be_forgotten(stage: Open, shop: Shop) -> None:
    order = steps("order", [step("user", insert_user)], transactional=True)
    await (await stage(order)).run("order", "o-1", {"email": "a@b.com"})
    assert await shop.database.forget_outcomes("1d") == 0
    assert await shop.database.forget_outcomes(0) == 1
    assert await shop.outcomes() == {}
