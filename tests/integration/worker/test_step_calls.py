"""Goal: a step calls jobs as a workflow function does: once each, however often the step runs.

Method: runs through an engine and workers, in memory and on a server, with steps that fail after a
call, are sent again by an operator, lose their process, or ask for what can't be.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from jobs import (
    CallFailed,
    CallTimedOut,
    JobContext,
    PermanentFailure,
    StepContext,
    job,
    step_jobs,
)
from jobs.engine import Engine
from jobs.job import AnyJob
from sagas import RetryPolicy, StepList, retry, step, steps
from sagas.definition import Registry
from sagas.instance import Instance
from store.client import SagaClient
from store.subjects import Names
from tests.conftest import NatsServer
from tests.integration.worker import calling
from tests.projector_kit import projecting
from tests.steps_kit import Stage, output_of, state_of
from tests.waiting import eventually
from tests.worker_kit import WITHIN_S, Floor, jetstream_floor

pytestmark = pytest.mark.asyncio

NOT_AGAIN = RetryPolicy(attempts_max=1)


class Paid(Struct):
    """An answer."""

    receipt: str


class Till:
    """The job that is called: it notes what it was asked, and may refuse or wait."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.seen: list[tuple[str, str, str]] = []
        self.refuse = False
        self.fault = False
        self.go_on = asyncio.Event()
        self.go_on.set()

    @property
    def job(self) -> AnyJob:
        """The job of it."""

        @job("pay", on_success="Paid", on_failure="Unpaid", retry=NOT_AGAIN)
        async def pay(ctx: JobContext[Any], payload: Any) -> dict[str, str]:
            self.asked.append(payload)
            self.seen.append((ctx.saga, ctx.key, ctx.command_id))
            await self.go_on.wait()
            if self.fault:
                raise RuntimeError("the till is stuck")
            if self.refuse:
                raise PermanentFailure("the card was declined", {"card": 7}, code="DECLINED")
            return {"receipt": f"r-{len(self.asked)}"}

        return pay


@pytest.fixture
def till() -> Till:
    """Nothing asked yet."""
    return Till()


@pytest.fixture(params=["workers", "inline"])
def inline(request: pytest.FixtureRequest) -> bool:
    """Where the steps run."""
    return bool(request.param == "inline")


async def _stage(
    floor: Floor, stages: list[Stage], till: Till, order: StepList[Any, Any], inline: bool = False
) -> Stage:
    await floor.worker(till.job)
    stage = await Stage(floor, [order], inline=inline).open(ack_wait_s=1.0)
    stages.append(stage)
    return stage


async def test_a_step_that_is_tried_again_has_called_once(
    floor: Floor, till: Till, stages: list[Stage], inline: bool
) -> None:
    sent: list[str] = []

    async def charge(ctx: StepContext[Any]) -> dict[str, Any]:
        paid = await ctx.call("pay", {"amount": 5}, type=Paid)
        plain = await ctx.call("pay", {"amount": 6}, name="tip")
        sent.append(await ctx.send("pay", {"amount": 7}))
        if ctx.attempt < 3:
            raise OSError("after the calls")
        return {"first": paid.receipt, "tip": plain["receipt"]}

    order = steps("order", [step("charge", charge, retry=retry(3, 0.01))])
    stage = await _stage(floor, stages, till, order, inline)
    ended = await stage.run("order", "o-1", {})
    assert (ended.status, state_of(ended)["first"], state_of(ended)["tip"]) == (
        *("completed", "r-1", "r-2"),
    )

    async def all_asked() -> bool:
        return len(till.asked) >= 3

    await eventually(all_asked, WITHIN_S, "what was sent")
    assert till.asked == [{"amount": 5}, {"amount": 6}, {"amount": 7}]
    assert len(sent) == 3
    assert set(sent) == {till.seen[2][2]}
    assert {(saga, key) for saga, key, _ in till.seen} == {("order", "o-1")}
    assert await SagaClient(floor.backend, floor.names).dead_letters() == []


async def test_what_a_job_refuses_ends_the_step_with_its_code_and_words(
    floor: Floor, till: Till, stages: list[Stage], inline: bool
) -> None:
    till.refuse = True
    caught: list[CallFailed] = []

    async def look(ctx: StepContext[Any]) -> None:
        try:
            await ctx.call("pay", {"amount": 1})
        except CallFailed as failed:
            caught.append(failed)

    async def charge(ctx: StepContext[Any]) -> None:
        await ctx.call("pay", {"amount": 2})

    order = steps("order", [step("look", look), step("charge", charge, retry=retry(3, 0.01))])
    stage = await _stage(floor, stages, till, order, inline)
    ended = await stage.run("order", "o-1", {})
    record = ended.steps["charge"]
    assert (record.status, record.error, record.code) == (
        *("failed", "the card was declined", "DECLINED"),
    )
    (failed,) = caught
    assert (failed.target, failed.code, failed.attempts) == ("pay", "DECLINED", 1)
    assert failed.answer["card"] == 7
    assert till.asked == [{"amount": 1}, {"amount": 2}]
    assert await SagaClient(floor.backend, floor.names).dead_letters() == []


async def test_what_was_sent_and_has_failed_is_a_dead_letter_that_can_be_sent_again(
    floor: Floor, till: Till, stages: list[Stage]
) -> None:
    till.fault = True

    async def charge(ctx: StepContext[Any]) -> Any:
        return await ctx.send("pay", {"amount": 2})

    stage = await _stage(floor, stages, till, steps("order", [step("charge", charge)]))
    ended = await stage.run("order", "o-1", {})
    assert ended.status == "completed"
    client = SagaClient(floor.backend, floor.names)
    letters = await eventually(client.dead_letters, WITHIN_S, "the dead letter")
    (letter,) = letters
    assert (letter.saga, letter.key, letter.command) == ("order", "o-1", output_of(ended, "charge"))
    assert "RuntimeError: the till is stuck" in letter.reason
    till.fault = False
    reply = await client.redrive(letter.id, by="ann", reason="it is mended")
    assert (reply.done, reply.status) == (True, "redriven")
    await eventually(lambda: len(till.asked) == 2, WITHIN_S, "the job being run again")
    assert till.asked == [{"amount": 2}, {"amount": 2}]
    assert {id for _, _, id in till.seen} == {letter.command}
    assert await client.dead_letters() == []


async def test_an_undo_calls_for_itself(floor: Floor, till: Till, stages: list[Stage]) -> None:
    async def charge(ctx: StepContext[Any]) -> Any:
        return await ctx.call("pay", "run")

    async def refund(ctx: StepContext[Any], paid: dict[str, str]) -> None:
        await ctx.call("pay", ["undo of", paid["receipt"]])

    async def fail(ctx: StepContext[Any]) -> None:
        raise PermanentFailure("no carrier")

    order = steps("order", [step("charge", charge, refund), step("ship", fail)])
    stage = await _stage(floor, stages, till, order)
    assert (await stage.run("order", "o-1", {})).status == "compensated"
    assert till.asked == ["run", ["undo of", "r-1"]]


async def test_a_retry_by_an_operator_asks_again_for_what_has_failed_only(
    floor: Floor, till: Till, stages: list[Stage]
) -> None:
    async def charge(ctx: StepContext[Any]) -> Any:
        first = await ctx.call("pay", "good")
        till.refuse = len(till.asked) < 2
        return [first, await ctx.call("pay", "declined at first")]

    order = steps("order", [step("charge", charge)], on_failure="park")
    stage = await _stage(floor, stages, till, order)
    parked = await stage.run("order", "o-1", {})
    assert parked.status == "parked"
    client = SagaClient(floor.backend, floor.names)
    reply = await client.act("order", "o-1", "retry", by="ann", reason="it has cover now")
    assert reply.done, reply

    async def completed() -> bool:
        return (await stage.end("order", "o-1")).status == "completed"

    await eventually(completed, WITHIN_S, "the end after the retry")
    ended = await stage.end("order", "o-1")
    assert output_of(ended, "charge") == [{"receipt": "r-1"}, {"receipt": "r-3"}]
    assert till.asked == ["good", "declined at first", "declined at first"]


async def test_a_call_that_has_no_answer_in_time_is_waited_for_again(
    floor: Floor, till: Till, stages: list[Stage]
) -> None:
    till.go_on.clear()
    late: list[CallTimedOut] = []

    async def charge(ctx: StepContext[Any]) -> Any:
        try:
            return await ctx.call("pay", 1, timeout="50ms" if ctx.attempt == 1 else None)
        except CallTimedOut as error:
            late.append(error)
            till.go_on.set()
            raise

    order = steps("order", [step("charge", charge, retry=retry(2, 0.01))])
    stage = await _stage(floor, stages, till, order)
    ended = await stage.run("order", "o-1", {})
    assert output_of(ended, "charge") == {"receipt": "r-1"}
    assert till.asked == [1]
    assert "within 0.05 s" in str(late[0])
    assert late[0].command == till.seen[0][2]


async def test_what_can_t_be_called_is_told(
    floor: Floor, till: Till, stages: list[Stage], inline: bool
) -> None:
    async def wrong_name(ctx: StepContext[Any]) -> None:
        await ctx.call("pya", 1)

    async def too_large(ctx: StepContext[Any]) -> None:
        await ctx.send("pay", "x" * floor.backend.payload_max)

    async def no_json(ctx: StepContext[Any]) -> None:
        await ctx.call("pay", object())

    async def no_paid(ctx: StepContext[Any]) -> None:
        await ctx.call("pay", 1, type=int)

    functions = (wrong_name, too_large, no_json, no_paid)
    background = [step(one.__name__, one, strict=False, retry=retry(2, 0.01)) for one in functions]
    told: dict[str, tuple[str, str, int]] = {}
    lists = [steps(f"order-{one.name}", [one]) for one in background]
    await floor.worker(till.job)
    stage = await Stage(floor, lists, inline=inline).open()
    stages.append(stage)
    for one, of in zip(background, lists, strict=True):
        record = (await stage.run(of.id, "o-1", {})).steps[one.name]
        told[one.name] = (record.code, record.error, record.attempts)
    assert "snorri jobs pya" in told["wrong_name"][1]
    assert told["wrong_name"][2] == 2  # its worker may be about to come
    assert told["too_large"][0] == "PayloadTooLarge"
    assert "send a reference" in told["too_large"][1]
    assert told["no_json"][0] == "BadPayload"
    assert told["no_paid"][0] == "BadAnswer"
    assert [told[name][2] for name in ("too_large", "no_json", "no_paid")] == [1, 1, 1]
    assert till.asked == [1]


async def test_a_worker_that_is_killed_between_call_and_answer(
    nats_server: NatsServer, fresh_names: Callable[[], Names], till: Till
) -> None:
    till.go_on.clear()
    floor = await jetstream_floor(nats_server.url, fresh_names())
    engine = Engine(floor.backend, floor.names, Registry([calling.order]))
    await engine.start()
    await floor.worker(till.job)
    where = (nats_server.url, floor.names.namespace, floor.names.bucket, "1.0")
    victim = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.worker.calling", *where)
    )
    client = SagaClient(floor.backend, floor.names)
    try:
        await client.publish("order", {}, "o-1")
        await eventually(lambda: till.asked, WITHIN_S, "the call")
        victim.kill()
        await victim.wait()
        till.go_on.set()
        await floor.worker(*step_jobs(calling.order), ack_wait_s=1.0)

        async def ended() -> Instance | None:
            found = await client.get("order", "o-1")
            return found if found is not None and found.finished else None

        run = await eventually(ended, WITHIN_S, "the end of the run")
        assert run is not None
        assert output_of(run, "charge") == {"receipt": "r-1"}
        assert (run.steps["charge"].attempts, till.asked) == (2, ["once"])
    finally:
        if victim.returncode is None:
            victim.kill()
            await victim.wait()
        await engine.stop()
        await floor.close()


async def test_its_attempts_are_on_record_with_the_run(
    floor: Floor, till: Till, stages: list[Stage], tmp_path: Path
) -> None:
    async def charge(ctx: StepContext[Any]) -> Any:
        return await ctx.call("pay", 1)

    stage = await _stage(floor, stages, till, steps("order", [step("charge", charge)]))
    await stage.run("order", "o-1", {})
    async with projecting(await floor.other(), floor.names, tmp_path) as now:
        await now.caught_up()
        tables = now.projections.live().cursor()
        attempts = tables.execute(
            "SELECT target, saga, key, attempt, outcome FROM executions ORDER BY ended_at"
        ).fetchall()
        strays = tables.execute("SELECT * FROM outcomes WHERE outcome = 'no_saga'").fetchall()
        unread = tables.execute("SELECT * FROM base.unreadable").fetchall()
    assert attempts == [
        ("pay", "order", "o-1", 1, "completed"),
        ("order.charge", "order", "o-1", 1, "completed"),
    ]
    assert (strays, unread) == ([], [])
