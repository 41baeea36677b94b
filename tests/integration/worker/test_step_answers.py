"""Goal: what a step's function may not do, and what becomes of answers that can't be kept.

Method: engine and worker in memory and on a server; the end of a run is read from its instance.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from msgspec import Struct

from jobs import ErrorPolicy, PermanentFailure, Providers, StepContext
from jobs.inline import inline_targets
from jobs.steps import ANSWER_BYTES_MAX, all_step_jobs
from sagas import Registry, WorkflowSaga, retry, step, steps, workflow
from sagas.errors import DefinitionError
from store.client import SagaClient
from tests.steps_kit import Stage
from tests.worker_kit import Floor

pytestmark = pytest.mark.asyncio

ONCE = retry(1, 0.01)
_heard: list[object] = []


class Order(Struct):
    """The input of the workflows."""

    sku: str
    shop: str = ""


class Declined(Exception):
    """An error of the tests."""


class Stock:
    """A dependency."""

    def __init__(self, name: str) -> None:
        self.name = name


@pytest_asyncio.fixture
async def open_stage(floor: Floor) -> AsyncIterator[Any]:
    """Opens engine and worker for definitions."""
    _heard.clear()
    opened: list[Stage] = []

    async def open(*definitions: Any, **more: Any) -> Stage:
        opened.append(Stage(floor, definitions))
        return await opened[-1].open(**more)

    yield open
    for one in opened:
        await one.close()


async def _undo(ctx: StepContext[Any], data: Any) -> None:
    _heard.append((ctx.step, ctx.failed, data))


async def _huge(ctx: StepContext[Any]) -> dict[str, str]:
    ctx.leave({"file": "f-1"})
    return {"text": "a" * ANSWER_BYTES_MAX}


async def _odd(ctx: StepContext[Any]) -> dict[str, object]:
    ctx.leave({"file": "f-2"})
    return {"value": object()}


async def _fails(ctx: StepContext[Any]) -> None:
    raise OSError("broken")


@pytest.mark.parametrize(
    ("run", "code", "file"), [(_huge, "OutputTooLarge", "f-1"), (_odd, "BadOutput", "f-2")]
)
async def test_a_strict_step_whose_answer_can_not_be_kept_is_undone(
    open_stage: Any, run: Any, code: str, file: str
) -> None:
    play = await open_stage(steps("order", [step("write", run, _undo)]))
    ended = await play.run("order", "o-1", {})
    assert (ended.status, ended.steps["write"].code) == ("compensated", code)
    assert _heard == [("write", True, {"file": file})]


async def test_the_run_answers_for_a_failed_step_so_it_is_no_dead_letter(
    open_stage: Any, floor: Floor
) -> None:
    order = steps(
        "order",
        [
            step("mail", _fails, background=True, retry=ONCE),
            step("write", _huge, _undo),
            step("pay", _fails, retry=ONCE),
        ],
    )
    play = await open_stage(order)
    await play.run("order", "o-1", {})
    await play.end("order", "o-1", settled=True)
    client = SagaClient(floor.backend, floor.names)
    letters = await client.dead_letters()
    # Nobody waits for the mail, so nobody else would hear of it.
    assert [(one.saga, one.key, "broken" in one.reason) for one in letters] == [
        ("order", "o-1", True)
    ]
    reply = await client.redrive(letters[0].id, by="tester")
    assert not reply.done
    assert reply.reason.startswith("order/o-1 is compensated, and what an instance that has ended")
    assert "run the job by hand, then discard" in reply.reason


async def test_a_background_step_goes_to_its_queue_for_its_dead_letter() -> None:
    mixed = steps("mixed", [step("mail", _fails, background=True), step("write", _huge, _undo)])
    targets = inline_targets(Registry([mixed]), all_step_jobs([mixed]))
    assert targets == {"mixed.write", "mixed.write.undo"}


@step("Hold", compensate=_undo)
async def _hold(ctx: StepContext[Any], order: Order, *, stock: Stock) -> str:
    _heard.append((ctx.tenant, stock.name))
    return order.sku


@step("Release", retry=ONCE)
async def _release(ctx: StepContext[Any], order: Order) -> str:
    ctx.set("released", True)
    return "out"


@step("Pay")
async def _pay(ctx: StepContext[Any], order: Order) -> str:
    if ctx.attempt == 1:
        raise Declined("no money")
    return "paid on the second try"


async def _undo_of_tenant(ctx: StepContext[Any], data: Any, stock: Stock) -> None:
    _heard.append((f"undo {ctx.tenant}", stock.name))


_tenants = step("Keep", _hold.run, _undo_of_tenant)


@workflow("Keeping", tenant="shop", steps=[_tenants])
async def _keeping(saga: WorkflowSaga, order: Order) -> str:
    await _tenants(saga, order)
    return await _release(saga, order)


async def test_the_tenant_of_a_workflow_reaches_run_and_undo(open_stage: Any) -> None:
    providers = Providers()
    providers.provide(Stock, Stock("shared"))
    providers.for_tenant("acme", {Stock: Stock("acme's own")})
    play = await open_stage(_keeping, providers=providers)
    await play.run("Keeping", "k-1", Order(sku="x", shop="acme"))
    assert _heard == [("acme", "acme's own"), ("undo acme", "acme's own")]
    _heard.clear()
    await play.run("Keeping", "k-2", Order(sku="x"))
    assert _heard == [("", "shared"), ("undo ", "shared")]


async def test_a_tenant_that_nobody_declared_fails_its_run_at_the_first_try(
    open_stage: Any,
) -> None:
    providers = Providers()
    providers.provide(Stock, Stock("shared"))
    providers.for_tenant("acme", {Stock: Stock("acme's own")})
    play = await open_stage(_keeping, providers=providers)
    ended = await play.run("Keeping", "k-1", Order(sku="x", shop="nobody's"))
    assert ended.status == "failed"
    assert 'nobody declared the tenant "nobody\'s" (known: acme)' in ended.error.message
    assert [one.attempts for one in ended.steps.values()] == [1]


async def test_a_workflow_s_step_is_told_that_there_is_no_context_to_set(open_stage: Any) -> None:
    providers = Providers()
    providers.provide(Stock, Stock("shared"))
    play = await open_stage(_keeping, providers=providers)
    ended = await play.run("Keeping", "k-1", Order(sku="x"))
    assert "no context to set 'released'" in ended.error.message


TERMINAL = ErrorPolicy(terminal=(Declined,))


@workflow("Paying", errors=TERMINAL)
async def _paying(saga: WorkflowSaga, order: Order) -> str:
    return await _pay(saga, order)


@workflow("PayingAnyhow")
async def _paying_anyhow(saga: WorkflowSaga, order: Order) -> str:
    return await _pay(saga, order)


async def test_a_workflow_says_which_errors_end_its_steps(open_stage: Any) -> None:
    play = await open_stage(_paying)
    ended = await play.run("Paying", "p-1", Order(sku="x"))
    assert (ended.status, ended.steps["Pay"].code) == ("failed", "Declined")


async def test_a_shared_step_has_one_policy() -> None:
    with pytest.raises(DefinitionError, match=r"'Pay' .* 'Paying' and 'PayingAnyhow'"):
        all_step_jobs([_paying, _paying_anyhow])


async def test_a_declared_failure_of_a_strict_step_is_not_undone(open_stage: Any) -> None:
    async def refuses(ctx: StepContext[Any]) -> None:
        raise PermanentFailure("no", {"half": 1})

    play = await open_stage(steps("order", [step("write", refuses, _undo)]))
    assert (await play.run("order", "o-1", {})).status == "failed"
    assert _heard == []
