"""Goal: a workflow calls keyed entities and hears how their calls ended, in memory and on a server.

Method: two workflows call the wallet of one key at the same time; what its step did, and what the
stored instances say, tells who came when and what was undone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from msgspec import Struct

from jobs import PermanentFailure, StepContext
from sagas import StepFailed, WorkflowFailed, WorkflowSaga, entity, step, workflow
from tests.steps_kit import Stage, state_of
from tests.worker_kit import Floor

pytestmark = pytest.mark.asyncio


class Amount(Struct):
    """What is taken from a wallet; an odd amount can't be booked."""

    cents: int


async def _unbook(ctx: StepContext[Any], data: Any) -> None: ...


@step("book", compensate=_unbook)
async def book(ctx: StepContext[Any], amount: Amount) -> int:
    """Note an amount."""
    return amount.cents


@step("check")
async def check(ctx: StepContext[Any], amount: Amount) -> int:
    """Refuse odd amounts."""
    if amount.cents % 2:
        raise PermanentFailure("odd amounts can't be booked")
    return amount.cents


purse = entity("Purse", initial={"cents": 100})


@purse.handler("take")
async def take(saga: WorkflowSaga, amount: Amount) -> int:
    """Take money out, undone when the amount does not pass the check."""
    if saga.state["cents"] < amount.cents:
        raise WorkflowFailed("the purse is empty", code="EMPTY")
    saga.state["cents"] -= amount.cents
    await book(saga, amount)
    await check(saga, amount)
    left: int = saga.state["cents"]
    return left


@workflow("Shopper")
async def shopper(saga: WorkflowSaga, amount: Amount) -> Any:
    """Take money from the one purse."""
    try:
        return await take.call(saga, "p-1", amount)
    except StepFailed as error:
        return error.code


@pytest_asyncio.fixture
async def stage(floor: Floor) -> AsyncIterator[Stage]:
    """Engine and worker for purse and shopper."""
    opened = await Stage(floor, [purse, shopper]).open()
    yield opened
    await opened.close()


async def test_calls_of_workflows_are_handled_in_turn_and_answered(stage: Stage) -> None:
    ended = await asyncio.gather(
        stage.run("Shopper", "s-1", {"cents": 40}), stage.run("Shopper", "s-2", {"cents": 40})
    )
    assert sorted(msgspec.json.decode(one.result) for one in ended) == [20, 60]
    empty = await stage.run("Shopper", "s-3", {"cents": 30})
    assert msgspec.json.decode(empty.result) == "EMPTY"
    odd = await stage.run("Shopper", "s-4", {"cents": 7})
    assert msgspec.json.decode(odd.result) == "StepFailed"
    instance = await stage.look("Purse", "p-1")
    assert instance is not None
    assert (instance.status, instance.steps, instance.undo) == ("running", {}, ())
    kept = state_of(instance)
    assert kept["state"] == {"cents": 20}
    assert [one.get("code", "") for one in kept["results"].values()] == [
        "",
        "",
        "EMPTY",
        "StepFailed",
    ]
