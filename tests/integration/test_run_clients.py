"""Goal: whoever calls runs and entities gets the same answers over the log and over HTTP.

Method: engine, worker and API over the memory broker; every test calls once through a client of
the broker and once through the API.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from msgspec import Struct

from jobs import PermanentFailure, StepContext
from jobs.steps import all_step_jobs
from sagas import Secret, WorkflowFailed, WorkflowSaga, entity, retry, step, steps, workflow
from store.port import StoreError, Unreachable
from store.runs import CallFailed, RunFailed, RunRefused, Runs, UnexpectedOutput, connect
from tests.api_kit import BASE_URL, Api, instance_path, open_api
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

ONCE = retry(1, 0.01)


class Order(Struct):
    total: int
    decline: bool = False


class Receipt(Struct):
    paid: int


class Card(Struct):
    number: Annotated[str, Secret]


async def _reserve(ctx: StepContext[Any], order: Order) -> dict[str, str]:
    return {"rid": f"r-{order.total}"}


async def _release(ctx: StepContext[Any], reserved: Any) -> None: ...


async def _pay(ctx: StepContext[Any], order: Order) -> dict[str, int]:
    if order.decline:
        raise PermanentFailure("declined", code="CARD_DECLINED")
    if ctx.attempt == 1:
        raise OSError("not at once")
    return {"paid": order.total}


ORDER = steps(
    "order",
    [step("reserve", _reserve, _release), step("pay", _pay, retry=retry(2, 0.01))],
    input=Order,
    output=Receipt,
)
WRONG = steps("wrong", [step("reserve", _reserve)], input=Order, output=Receipt)
OPEN = asyncio.Event()


async def _when_open(ctx: StepContext[Any]) -> str:
    if not OPEN.is_set():
        raise PermanentFailure("closed")
    return "open"


async def _keep(ctx: StepContext[Any], card: Card) -> Card:
    return card


CARDS = steps("cards", [step("keep", _keep)], input=Card, output=Card)
HELD = steps("held", [step("door", _when_open)], on_failure="park")


@step("quote")
async def _quote(ctx: StepContext[Any], order: Order) -> Receipt:
    return Receipt(order.total)


@workflow("Approval", signals={"answer": bool})
async def approval(saga: WorkflowSaga, order: Order) -> Receipt:
    quoted = await _quote(saga, order)
    saga.state["asked"] = quoted.paid
    if not await saga.wait_for_signal("answer", bool):
        raise WorkflowFailed("the boss said no", code="REFUSED")
    return quoted


@approval.on_query("asked")
def asked(state: dict[str, int], plus: int = 0) -> int:
    return state["asked"] + plus


@workflow("Ping")
async def ping(saga: WorkflowSaga) -> str:
    return "pong"


class Account(Struct):
    balance: int = 0


wallet = entity("Wallet", state=Account)


@wallet.handler("deposit")
async def deposit(saga: WorkflowSaga, amount: int) -> Receipt:
    if amount < 0:
        raise WorkflowFailed("nothing to deposit", code="NEGATIVE")
    saga.state.balance += amount
    return Receipt(saga.state.balance)


@wallet.shared("balance")
def balance(state: Account, times: int = 1) -> int:
    return state.balance * times


SAGAS = (ORDER, WRONG, CARDS, HELD, approval, ping, wallet)


@asynccontextmanager
async def _open(folder: Path) -> AsyncGenerator[tuple[Api, tuple[Runs, ...]]]:
    """An installation and two clients of it: over the log, and over its API."""
    async with open_api(folder, sagas=SAGAS, jobs=all_step_jobs(SAGAS)) as api:
        transport = httpx.ASGITransport(api.app)  # type: ignore[arg-type]
        async with connect(base_url=BASE_URL, transport=transport) as over_http:
            yield api, (Runs(api.client, by="test"), over_http)


async def test_a_list_gives_its_typed_output_and_how_its_steps_went(tmp_path: Path) -> None:
    async with _open(tmp_path) as (_, lines):
        for n, runs in enumerate(lines):
            result = await runs.run(ORDER, Order(total=5), key=f"o {n}/x")
            assert result.unwrap() == Receipt(5)
            assert (result.status, result.key, result.attempts) == ("completed", f"o {n}/x", 1)
            assert result.context == {"total": 5, "decline": False, "rid": "r-5", "paid": 5}
            assert [(id, one.status, one.attempts) for id, one in result.steps.items()] == [
                ("reserve", "completed", 1),
                ("pay", "completed", 2),
            ]
            assert len(result.trace_id) == 32
            again = await runs.run(ORDER, Order(total=5), key=f"o {n}/x")
            assert again == result
            with pytest.raises(RunRefused, match="another input"):
                await runs.run(ORDER, Order(total=6), key=f"o {n}/x")


async def test_a_failure_names_the_step_its_code_and_what_was_undone(tmp_path: Path) -> None:
    async with _open(tmp_path) as (_, lines):
        for runs in lines:
            result = await runs.run(ORDER, Order(total=5, decline=True))
            assert (result.success, result.status, result.output) == (False, "compensated", None)
            assert (result.failed_step, result.code) == ("pay", "CARD_DECLINED")
            assert result.compensated_steps == ("reserve",)
            with pytest.raises(RunFailed, match="compensated at 'pay': pay: declined") as caught:
                result.unwrap()
            assert caught.value.result == result


async def test_a_workflow_is_signalled_queried_and_waited_for(tmp_path: Path) -> None:
    async with _open(tmp_path) as (api, lines):
        for n, runs in enumerate(lines):
            run = await runs.send(approval, Order(total=7), key=f"a-{n}")
            await api.status("Approval", f"a-{n}", "running")
            with pytest.raises(TimeoutError, match="has not ended within 0"):
                await run.result(timeout=0.05)
            await _quoted(api, f"a-{n}")
            assert await runs.ask(asked, f"a-{n}", plus=1) == 8
            assert await run.query("asked") == 7
            assert await run.status() == "running"
            await run.signal("answer", True)
            assert (await run.result()).unwrap() == Receipt(7)
            with pytest.raises(RunRefused, match="completed"):
                await run.signal("answer", True)
            assert (await runs.run(ping)).unwrap() == "pong"


async def _quoted(api: Api, key: str) -> None:
    """Wait until the workflow waits for its signal."""

    async def waits() -> bool:
        found = await api.client.get("Approval", key)
        return found is not None and "signal:answer" in found.steps

    await eventually(waits, 10, "the workflow waiting for an answer")


async def test_a_parked_run_goes_on_and_counts_its_attempts(tmp_path: Path) -> None:
    async with _open(tmp_path) as (_, lines):
        for n, runs in enumerate(lines):
            OPEN.clear()
            run = await runs.start(HELD, {}, key=f"h-{n}")
            stopped = await run.result()
            assert (stopped.status, stopped.failed_step) == ("parked", "door")
            OPEN.set()
            await run.resume("the door is open")
            done = await run.result()
            assert (done.output, done.attempts, done.steps["door"].attempts) == ("open", 2, 2)
            with pytest.raises(RunRefused, match="nothing to resume"):
                await run.resume()


async def test_entities_answer_calls_in_turn_and_queries_at_any_time(tmp_path: Path) -> None:
    async with _open(tmp_path) as (_, lines):
        for n, runs in enumerate(lines):
            assert await runs.call(deposit, f"ada-{n}", 5, id=f"c-{n}") == Receipt(5)
            assert await runs.call(deposit, f"ada-{n}", 5, id=f"c-{n}") == Receipt(5), (
                "handled once"
            )
            with pytest.raises(CallFailed, match="nothing to deposit") as caught:
                await runs.call(deposit, f"ada-{n}", -1)
            assert caught.value.code == "NEGATIVE"
            await runs.tell(deposit, f"ada-{n}", 2)
            assert await runs.call(deposit, f"ada-{n}", 0) in (Receipt(7), Receipt(5))
            assert await runs.ask(balance, f"ada-{n}", times=2) in (10, 14)
            with pytest.raises(LookupError):
                await runs.ask(balance, "nobody")


async def test_runs_go_on_in_the_trace_of_who_starts_them(tmp_path: Path) -> None:
    parent = f"00-{'ab' * 16}-{'cd' * 8}-01"
    async with _open(tmp_path) as (api, lines):
        for n, runs in enumerate(lines):
            started = await runs.in_trace(parent).run(ORDER, Order(1), key=f"o-{n}")
            sent = await (await runs.in_trace("ef" * 16).send(ORDER, Order(1))).result()
            assert (started.trace_id, sent.trace_id) == ("ab" * 16, "ef" * 16)
            there = await api.client.get("order", f"o-{n}")
            assert there is not None
            assert there.trace == parent
            with pytest.raises(ValueError, match="no traceparent and no trace id"):
                runs.in_trace("abc-123")


async def test_what_can_not_be_is_refused(tmp_path: Path) -> None:
    async with _open(tmp_path) as (_, lines):
        for runs in lines:
            with pytest.raises(RunRefused):
                await runs.run("nothing", {})
            with pytest.raises(RunRefused, match="does not fit"):
                await runs.run("order", {"total": "much"})
            with pytest.raises(RunRefused, match="does not fit order"):
                await runs.run(ORDER, {"total": "much"})  # type: ignore[call-overload]
            with pytest.raises(UnexpectedOutput, match="missing required field `paid`"):
                await runs.run(WRONG, Order(total=1))
            with pytest.raises(LookupError):
                await runs.get(ORDER, "none").status()
            with pytest.raises(RunRefused, match=r"no instance|does not exist"):
                await runs.get(ORDER, "none").cancel()


async def test_over_http_the_shapes_are_those_of_the_document(tmp_path: Path) -> None:
    jobs = all_step_jobs(SAGAS)
    async with open_api(tmp_path, sagas=SAGAS, jobs=jobs) as api:
        start = {"input": {"total": 5, "decline": True}, "key": "o-1", "wait": True}
        told = await api.post("/api/v1/sagas/sagas/order/start", start, status=200)
        assert told["failure"] == {
            "error": "pay: declined",
            "code": "CARD_DECLINED",
            "failedStep": "pay",
            "compensatedSteps": ["reserve"],
        }
        assert (told["success"], told["settled"], told["attempts"]) == (False, True, 1)
        assert told["steps"]["reserve"]["output"] == {"rid": "r-5"}
        assert await api.get(instance_path("order", "o-1", "result")) == told
        joined = await api.post(
            "/api/v1/sagas/sagas/order/start", {**start, "join": True}, status=200
        )
        assert joined == told
        waiting = {"timeoutMs": 100}
        await api.get(instance_path("order", "none", "result"), status=404, **waiting)
        await api.post("/api/v1/sagas/sagas/Approval/start", {"input": {"total": 1}, "key": "a"})
        running = await api.get(instance_path("Approval", "a", "result"), status=202, **waiting)
        assert (running["settled"], "failure" in running) == (False, False)
        call = instance_path("Wallet", "ada", "call", "deposit")
        assert (await api.post(call, {"input": 3}, status=200))["output"] == {"paid": 3}
        problem = await api.post(call, {"input": -3}, status=422)
        assert (problem["code"], problem["detail"]) == ("NEGATIVE", "nothing to deposit")
        problem = await api.post(instance_path("order", "o-1", "call", "x"), {}, status=409)
        assert "does not fit order" in problem["detail"]


async def test_secret_fields_stay_inside_where_they_go_out_over_http(tmp_path: Path) -> None:
    async with _open(tmp_path) as (api, (inside, over_http)):
        result = await inside.run(CARDS, Card("4111-1111"), key="c-1")
        assert result.unwrap() == Card("4111-1111")
        outside = await over_http.get(CARDS, "c-1").result()
        assert outside.unwrap() != Card("4111-1111")
        told = await api.http.get(instance_path("cards", "c-1", "result"))
        assert "4111" not in told.text
        assert told.json()["steps"]["keep"]["status"] == "completed"


async def test_an_address_that_is_none() -> None:
    for wrong in ({}, {"nats_url": "nats://a", "base_url": "http://b"}, {"base_url": "b"}):
        with pytest.raises(ValueError, match=r"address|write it as"):
            async with connect(**wrong):  # type: ignore[arg-type]
                pass
    with pytest.raises(StoreError):
        async with connect(nats_url="nats://127.0.0.1:1"):
            pass
    async with connect(base_url="http://127.0.0.1:1") as runs:
        with pytest.raises(Unreachable, match="did not answer"):
            await runs.get("order", "o-1").status()
