"""Goal: lists of steps run to their end through engine and worker, in memory and on a server.

Method: the functions of the steps write what they do into a list of the test; the end of a run is
read from the stored instance.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar

import msgspec
import pytest
import pytest_asyncio
from msgspec import Struct

from jobs import ErrorPolicy, PermanentFailure, Providers, StepContext
from sagas import StepResponse, WorkflowSaga, parallel, retry, step, steps, workflow
from sagas.definition import SagaDefinition
from tests.steps_kit import Stage, output_of, state_of
from tests.worker_kit import Floor, Room, busy

pytestmark = pytest.mark.asyncio

QUICK = retry(3, 0.01)

Open = Callable[..., Any]


class Order(Struct):
    """The input of the lists."""

    sku: str
    amount: int = 1


class Stock:
    """A dependency."""

    def __init__(self, name: str) -> None:
        self.name = name


class Declined(Exception):
    """An error of the tests."""


class Book:
    """What the steps did, in order; ``all`` is the one of steps that are declared once."""

    all: ClassVar[list[str]] = []

    def __init__(self) -> None:
        self.lines: list[str] = []

    def does(self, name: str, **gives: Any) -> Callable[..., Any]:
        """A run that returns ``gives``."""

        async def run(ctx: StepContext[Any]) -> dict[str, Any]:
            self.lines.append(name)
            return gives

        return run

    def undoes(self, name: str) -> Callable[..., Any]:
        """An undo that notes what it was given."""

        async def undo(ctx: StepContext[Any], data: Any) -> None:
            self.lines.append(f"-{name} {data}")

        return undo

    def fails(self, name: str, error: Exception) -> Callable[..., Any]:
        """A run that raises."""

        async def run(ctx: StepContext[Any]) -> None:
            self.lines.append(f"{name} {ctx.attempt}")
            raise error

        return run


@pytest.fixture
def book() -> Book:
    """Nothing done yet."""
    return Book()


@pytest_asyncio.fixture(params=[False, True], ids=["by-workers", "inline"])
async def stage(floor: Floor, request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    """Opens engine and worker for definitions, of two processes or of one."""
    opened: list[Stage] = []

    async def open(*definitions: SagaDefinition, **more: Any) -> Stage:
        opened.append(Stage(floor, definitions, inline=request.param))
        return await opened[-1].open(**more)

    yield open
    for one in opened:
        await one.close()


async def test_a_list_runs_to_its_end_with_merged_context(stage: Open, book: Book) -> None:
    async def reserve(ctx: StepContext[Order], order: Order) -> dict[str, Any]:
        ctx.set("reserved_by", ctx.run_id)
        return {"reservation": f"r-{order.sku}-{order.amount}"}

    async def charge(ctx: StepContext[Order]) -> dict[str, Any]:
        assert ctx.input == Order("x", 2)
        assert ctx.idempotency_key == ctx.command_id
        return {**ctx.data, "charge": f"for {ctx.get('reservation')}"}

    def ship(ctx: StepContext[Order]) -> Order:
        return Order(ctx.get("charge"), ctx.get("nothing", 7))

    order = steps(
        "order", [step("reserve", reserve), step("charge", charge), step("ship", ship)], input=Order
    )
    ended = await (await stage(order)).run("order", "o-1", {"sku": "x", "amount": 2})
    assert (ended.status, ended.error) == ("completed", None)
    assert state_of(ended) == {
        "sku": "x",
        "amount": 2,
        "reservation": "r-x-2",
        "reserved_by": "o-1",
        "charge": "for r-x-2",
    }
    assert output_of(ended, "reserve") == {"reservation": "r-x-2"}
    assert output_of(ended, "charge") == {"charge": "for r-x-2"}
    assert output_of(ended, "ship") == {"sku": "for r-x-2", "amount": 7}


async def test_a_failing_third_step_undoes_two_in_reverse(stage: Open, book: Book) -> None:
    async def charge(ctx: StepContext[Any]) -> StepResponse[dict[str, str]]:
        book.lines.append("charge")
        return StepResponse({"charge": "c-1"}, {"refund": "c-1"})

    order = steps(
        "order",
        [
            step("reserve", book.does("reserve", rid=1), book.undoes("reserve")),
            step("charge", charge, book.undoes("charge")),
            step("ship", book.fails("ship", PermanentFailure("no carrier", code="NoCarrier"))),
        ],
    )
    ended = await (await stage(order)).run("order", "o-1", {})
    assert ended.status == "compensated"
    assert ended.error is not None
    assert (ended.error.type, ended.error.message) == ("NoCarrier", "ship: no carrier")
    expected = ["reserve", "charge", "ship 1", "-charge {'refund': 'c-1'}", "-reserve {'rid': 1}"]
    assert book.lines == expected


async def test_a_step_is_tried_again_with_its_own_retry_then_undone(
    stage: Open, book: Book
) -> None:
    async def flaky(ctx: StepContext[Any]) -> dict[str, int]:
        if ctx.attempt < 3:
            raise ConnectionError("away")
        return {"attempts": ctx.attempt}

    order = steps(
        "order",
        [
            step("flaky", flaky, book.undoes("flaky"), retry=QUICK),
            step("never", book.fails("never", OSError("gone")), retry=retry(2, 0.01)),
        ],
    )
    ended = await (await stage(order)).run("order", "o-1", {})
    assert ended.status == "compensated"
    assert ended.error is not None
    assert ended.error.message == "never: OSError: gone"
    assert book.lines == ["never 1", "never 2", "-flaky {'attempts': 3}"]


async def test_a_time_out_ends_an_attempt_and_the_next_one_may_do(stage: Open) -> None:
    async def slow(ctx: StepContext[Any]) -> dict[str, int]:
        if ctx.attempt == 1:
            await busy(30)
        return {"attempt": ctx.attempt}

    order = steps("order", [step("slow", slow, timeout=0.2, retry=QUICK)])
    ended = await (await stage(order)).run("order", "o-1", {})
    assert (ended.status, state_of(ended)) == ("completed", {"attempt": 2})


async def test_an_undo_that_fails_for_good_parks_and_the_retry_has_its_own_policy(
    stage: Open, book: Book
) -> None:
    order = steps(
        "order",
        [
            step(
                "reserve",
                book.does("reserve"),
                book.fails("undo", OSError("no")),
                undo_retry=retry(2, 0.01),
            ),
            step("ship", book.fails("ship", PermanentFailure("no"))),
        ],
    )
    ended = await (await stage(order)).run("order", "o-1", {})
    assert ended.status == "parked"
    assert [undo.status for undo in ended.undo] == ["failed"]
    assert book.lines == ["reserve", "ship 1", "undo 1", "undo 2"]


async def test_parallel_steps_run_together_and_are_merged(stage: Open) -> None:
    room = Room(2)

    def visits(name: str) -> Callable[..., Any]:
        async def run(ctx: StepContext[Any]) -> dict[str, Any]:
            await room.visit()
            return {**ctx.data, name: True}

        return run

    pair = parallel("check", [step("stock", visits("stock")), step("credit", visits("credit"))])
    ended = await (await stage(steps("order", [pair]))).run("order", "o-1", {"n": 1})
    assert ended.status == "completed"
    assert state_of(ended) == {"n": 1, "stock": True, "credit": True}
    assert room.most == 2


async def test_background_steps_and_callbacks_don_t_hold_a_run(stage: Open, book: Book) -> None:
    async def on_completed(ctx: Any, told: dict[str, Any]) -> None:
        book.lines.append(f"completed {told['step']}")

    async def on_failed(ctx: Any, told: dict[str, Any]) -> None:
        book.lines.append(f"failed {told['failure']['message']}")

    notice = step("notice", book.fails("notice", PermanentFailure("no mail")), background=True)
    order = steps(
        "order",
        [step("reserve", book.does("reserve")), notice, step("ship", book.does("ship", s=1))],
        on_step_completed=on_completed,
    )
    broken = steps("broken", [step("ship", book.fails("b", Declined("no")))], on_failed=on_failed)
    play = await stage(order, broken, errors=ErrorPolicy(terminal=(Declined,)))
    await play.start("order", "o-1", {})
    ended = await play.end("order", "o-1", settled=True)
    assert (ended.status, state_of(ended)) == ("completed", {"s": 1})
    assert ended.steps["notice"].status == "failed"
    assert ended.steps["notice"].error == "no mail"
    assert {"completed reserve", "completed ship"} < set(book.lines)
    await play.start("broken", "o-1", {})
    await play.end("broken", "o-1", settled=True)
    assert "failed ship: no" in book.lines


async def test_hybrid_undo_hears_of_the_failure_with_partial_data(stage: Open) -> None:
    heard: list[object] = []

    async def create(ctx: StepContext[Any]) -> None:
        ctx.leave({"half": ctx.attempt})
        raise OSError("broke off")

    async def undo(ctx: StepContext[Any], data: dict[str, int]) -> None:
        heard.extend([ctx.failed, ctx.error, data])

    order = steps("order", [step("create", create, undo, strict=False, retry=retry(2, 0.01))])
    ended = await (await stage(order)).run("order", "o-1", {})
    assert ended.status == "compensated"
    assert heard == [True, "OSError: broke off", {"half": 2}]


async def test_dependencies_and_tenants_in_run_and_undo(stage: Open) -> None:
    seen: list[str] = []

    async def run(ctx: StepContext[Any], *, stock: Stock, limit: int = 5) -> None:
        seen.append(f"{stock.name} {limit}")

    async def undo(ctx: StepContext[Any], data: Any, stock: Stock) -> None:
        seen.append(f"-{stock.name}")

    providers = Providers()
    providers.provide("place", "shared")

    async def stock(ctx: StepContext[Any], place: Any) -> AsyncIterator[Stock]:
        yield Stock(f"{place} of {ctx.run_id}")
        seen.append(f"closed {ctx.payload.undo}")

    providers.provide(Stock, stock, scope="command")
    providers.tenant_by(lambda ctx: ctx.get("tenant") if isinstance(ctx, StepContext) else None)
    providers.for_tenant("acme", {"place": "acme's own"})
    fail = step("fail", Book().fails("fail", PermanentFailure("no")))
    play = await stage(steps("order", [step("run", run, undo), fail]), providers=providers)
    await play.run("order", "o-1", {})
    assert seen == ["shared of o-1 5", "closed False", "-shared of o-1", "closed True"]
    seen.clear()
    await play.run("order", "o-2", {"tenant": "acme"})
    assert seen == ["acme's own of o-2 5", "closed False", "-acme's own of o-2", "closed True"]


@step("hold", compensate=lambda ctx, data: Book.all.append(f"-hold {data}"), retry=QUICK)
async def hold(ctx: StepContext[Any], order: Order) -> dict[str, str]:
    """A step of the workflow below."""
    if ctx.attempt == 1:
        raise OSError("not at once")
    return {"held": order.sku}


@step("pay", errors=ErrorPolicy(terminal=(Declined,)))
async def pay(ctx: StepContext[Any], amount: int) -> int:
    """Another one, for small amounts."""
    if amount > 5:
        raise Declined(f"{amount} is too much")
    return amount * 100


@workflow("Purchase")
async def purchase(saga: WorkflowSaga, order: Order) -> dict[str, Any]:
    """Hold, then pay."""
    held = await hold(saga, order)
    return {**held, "cents": await pay(saga, order.amount)}


async def test_a_workflow_s_steps_run_as_jobs_of_their_own_names(stage: Open) -> None:
    Book.all.clear()
    play = await stage(purchase)
    ended = await play.run("Purchase", "p-1", {"sku": "x", "amount": 5})
    assert (ended.status, msgspec.json.decode(ended.result)) == (
        "completed",
        {"held": "x", "cents": 500},
    )
    ended = await play.run("Purchase", "p-2", {"sku": "y", "amount": 6})
    assert ended.status == "compensated"
    assert ended.error is not None
    assert "6 is too much" in ended.error.message
    assert Book.all == ["-hold {'held': 'y'}"]
