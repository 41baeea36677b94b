"""Goal: very large runs work, or fail with an error that names the limit and what to do.

Method: engine and worker on a real server; a thousand steps in a row, 500 at a time, 50 levels
deep, and data over the limits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from jobs import StepContext
from sagas import SagaDefinition, WorkflowSaga, parallel, sequence, step, steps, workflow
from sagas.instance import Instance
from sagas.programs.steps import Item
from store.client import SagaClient
from store.events import Published, Rejected
from store.subjects import Names
from tests.conftest import NatsServer
from tests.steps_kit import Stage, state_of
from tests.waiting import eventually
from tests.worker_kit import WITHIN_S, jetstream_floor

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(200)]

MANY, WIDE, DEEP = 1000, 500, 50
PATIENCE_S = 150.0
REACHED = asyncio.Event()  # the last step of a large workflow


@step("one", nothing_to_undo=True)
async def one(ctx: StepContext[int], number: int) -> int:
    """Give back what it was given."""
    return number


@step("last", nothing_to_undo=True)
async def last(ctx: StepContext[None], nothing: None) -> None:
    """Tell the test, which would slow a large run down by looking at it again and again."""
    REACHED.set()


@workflow("Long")
async def long(saga: WorkflowSaga, count: int) -> int:
    """Steps in a row."""
    total = 0
    for number in range(count):
        total += await one(saga, number)
    await last(saga, None)
    return total


@workflow("Wide")
async def wide(saga: WorkflowSaga, count: int) -> int:
    """Steps at a time."""
    total = sum(await asyncio.gather(*(one(saga, number) for number in range(count))))
    await last(saga, None)
    return total


@workflow("Family")
async def family(saga: WorkflowSaga, levels: int) -> int:
    """A child with a child with a child."""
    return 1 + await saga.child("Family", levels - 1) if levels else 0


async def _deeper(saga: WorkflowSaga, levels: int) -> int:
    if levels == 0:
        return 0
    return await one(saga, 1) + await saga.run_nested(_deeper, levels - 1)


@workflow("Deep")
async def deep(saga: WorkflowSaga, levels: int) -> int:
    """Functions in functions."""
    return await _deeper(saga, levels)


async def _named(ctx: StepContext[Any]) -> dict[str, int]:
    return {ctx.step: 1}


async def _large(ctx: StepContext[Any]) -> str:
    return "x" * ctx.data["bytes"]


async def _nothing(ctx: StepContext[Any]) -> None: ...


def _nested() -> Item:
    item: Item = step("leaf", _named)
    for level in range(DEEP):
        group = parallel if level % 2 else sequence
        item = group(f"g{level}", [step(f"s{level}", _named), item])
    return item


DEFINITIONS: list[SagaDefinition] = [
    *(long, wide, family, deep),
    steps("wide-list", [parallel("all", [step(f"s{n}", _named) for n in range(WIDE)])]),
    steps("deep-list", [_nested()]),
    steps("large", [step("first", _nothing, _nothing), step("big", _large)]),
    steps("sum", [step(f"big{n}", _large) for n in range(5)]),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(quick_nats: NatsServer) -> AsyncIterator[Stage]:
    """Engine and worker for all of them."""
    floor = await jetstream_floor(quick_nats.url, Names("extremes", "EXTREMES"))
    opened = await Stage(floor, DEFINITIONS, inline=True).open()
    yield opened
    await opened.close()
    await floor.close()


async def _large_run(stage: Stage, saga: str, count: int) -> Instance:
    REACHED.clear()
    await stage.start(saga, "k", count)
    async with asyncio.timeout(PATIENCE_S):
        await REACHED.wait()
    return await stage.end(saga, "k")


def _result(ended: Instance) -> Any:
    assert ended.status == "completed", ended.error
    return msgspec.json.decode(ended.result)


async def test_a_thousand_steps_in_a_row(stage: Stage) -> None:
    assert _result(await _large_run(stage, "Long", MANY)) == MANY * (MANY - 1) // 2


async def test_five_hundred_steps_at_a_time(stage: Stage) -> None:
    gathered = _result(await _large_run(stage, "Wide", WIDE))
    assert gathered == WIDE * (WIDE - 1) // 2
    ended = await stage.run("wide-list", "k", {})
    assert ended.status == "completed"
    assert state_of(ended) == {f"s{n}": 1 for n in range(WIDE)}


async def test_fifty_levels(stage: Stage) -> None:
    assert _result(await stage.run("Deep", "k", DEEP)) == DEEP
    assert _result(await stage.run("Family", "k", DEEP)) == DEEP
    assert len(state_of(await stage.run("deep-list", "k", {}))) == DEEP + 1


async def test_an_output_over_the_limit_fails_its_step_and_says_what_to_do(stage: Stage) -> None:
    await stage.start("large", "k", {"bytes": 900_000})
    ended = await stage.end("large", "k")
    assert ended.status == "compensated"
    assert ended.error is not None
    assert ended.error.type == "OutputTooLarge"
    for words in ("has 9000", "at most 300000", "return a reference"):
        assert words in ended.error.message


async def test_outputs_that_fit_alone_and_not_together_park_the_run(stage: Stage) -> None:
    await stage.start("sum", "k", {"bytes": 250_000})
    ended = await stage.end("sum", "k")
    assert ended.status == "parked"
    assert ended.error is not None
    for words in ("limit is 1000000", "steps 750", "keep large data elsewhere"):
        assert words in ended.error.message


async def test_inputs_over_the_limits_are_refused_or_become_dead_letters(stage: Stage) -> None:
    client = SagaClient(stage.floor.backend, stage.floor.names)
    refused = await client.publish("Long", "x" * 1_500_000, key="too-large")
    assert isinstance(refused, Rejected)
    assert not refused.retryable
    assert "store the data elsewhere and send a reference" in refused.reason
    taken = await client.publish("large", {"text": "x" * 900_000}, key="large")
    assert isinstance(taken, Published)

    async def letters() -> list[str]:
        return [letter.reason for letter in await client.dead_letters()]

    (reason,) = await eventually(letters, WITHIN_S, "a dead letter")
    assert "a saga takes 400000; store it elsewhere" in reason
    reply = await client.start("large", {"text": "x" * 900_000}, key="by-hand", by="tester")
    assert not reply.done
    assert "400000" in reply.reason
