"""What becomes of a command: successes, failures, retries, dead letters; on memory and on a server.

Method: commands are stored as the engine stores them, a worker with small jobs runs, and the
results are read from the events stream; time limits are real and short.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from jobs import JobContext, PermanentFailure, failure, job, success
from jobs.telemetry import CommandRefused, JobEnded, JobStarted, ResultsPublished
from sagas.retry import retry
from store import codec
from tests.worker_kit import TRACE, Floor, attempts

QUICK = retry(3, 0.01)


class Payment(Struct):
    """What the tests' jobs are asked for."""

    amount: int
    note: str = ""


@pytest.mark.asyncio
async def test_success_becomes_the_named_event_with_cause_trace_and_execution(floor: Floor) -> None:
    @job("pay", on_success="PaymentCompleted")
    async def pay(ctx: JobContext[Payment], payload: Payment) -> object:
        assert ctx.payload is payload
        return success({"paid": payload.amount, "key": ctx.idempotency_key, "who": ctx.saga})

    await floor.worker(pay, worker_id="w-1")
    id = await floor.send({"amount": 5}, key="a@b.com")
    result = await floor.result()
    assert (result.type, result.key) == ("PaymentCompleted", "a@b.com")
    assert result.payload == {"paid": 5, "key": id, "who": "Shop"}
    assert result.headers[codec.CAUSE] == id
    assert result.headers[codec.TRACEPARENT] == TRACE
    assert codec.OUTCOME not in result.headers
    assert codec.SAGA not in result.headers
    execution = result.execution
    assert (execution.command, execution.target, execution.worker) == (id, "pay", "w-1")
    assert (execution.attempt, execution.outcome, execution.error) == (1, "completed", "")
    assert execution.started <= execution.ended


@pytest.mark.asyncio
async def test_results_without_names_of_their_own(floor: Floor) -> None:
    @job("pay")
    async def pay(ctx: JobContext[Any]) -> None:
        assert ctx.payload == {"amount": 1}

    @job("refund")
    async def refund(ctx: JobContext[Any]) -> object:
        return failure("no money", {"left": 3})

    await floor.worker(pay, refund)
    await floor.send({"amount": 1})
    await floor.send({}, target="refund")
    done, failed = sorted(await floor.results(2), key=lambda result: result.type)
    assert (done.type, done.payload) == (codec.COMPLETED, {})
    assert (failed.type, failed.headers[codec.OUTCOME]) == (codec.FAILED, "failed")
    expected = {"reason": "no money", "error": "", "attempts": 1, "target": "refund", "left": 3}
    assert failed.payload == expected
    assert codec.DEAD_LETTER not in failed.headers


@pytest.mark.asyncio
async def test_an_exception_is_tried_again_and_every_attempt_is_on_record(floor: Floor) -> None:
    seen: list[tuple[int, str]] = []

    @job("pay", retry=QUICK, on_success="Paid")
    async def pay(ctx: JobContext[Any]) -> str:
        seen.append((ctx.attempt, ctx.command_id))
        if ctx.attempt < 3:
            raise ConnectionError("bank is away")
        return "ok"

    await floor.worker(pay)
    id = await floor.send()
    results = await floor.results(3)
    assert [r.type for r in results] == [codec.ATTEMPTED, codec.ATTEMPTED, "Paid"]
    assert attempts(results) == [(1, "retried"), (2, "retried"), (3, "completed")]
    assert results[0].execution.error == "ConnectionError: bank is away"
    assert codec.CAUSE not in results[0].headers
    assert seen == [(1, id), (2, id), (3, id)]


@pytest.mark.asyncio
async def test_after_the_last_attempt_it_is_a_failure_and_a_dead_letter(floor: Floor) -> None:
    @job("pay", retry=QUICK, on_failure="PaymentFailed")
    async def pay(ctx: JobContext[Any]) -> None:
        raise ValueError("zu wenig\r\nGeld: 3 €")

    await floor.worker(pay)
    id = await floor.send()
    result = await floor.result("PaymentFailed")
    assert result.headers[codec.CAUSE] == id
    assert result.headers[codec.OUTCOME] == "failed"
    letter = result.headers[codec.DEAD_LETTER]
    assert letter == r"given up after attempt 3: ValueError: zu wenig Geld: 3 \u20ac"
    assert result.payload["reason"] == "ValueError: zu wenig\r\nGeld: 3 €"
    assert result.payload["attempts"] == 3
    assert result.execution.error == result.payload["reason"]
    assert attempts(await floor.results(3)) == [(1, "retried"), (2, "retried"), (3, "failed")]


@pytest.mark.asyncio
async def test_a_permanent_failure_is_not_tried_again(floor: Floor) -> None:
    @job("pay", on_failure="PaymentFailed")
    async def pay(ctx: JobContext[Any]) -> None:
        raise PermanentFailure("card stolen", {"code": 43})

    await floor.worker(pay)
    await floor.send()
    result = await floor.result()
    assert (result.payload["reason"], result.payload["code"]) == ("card stolen", 43)
    assert result.payload["error"] == "PermanentFailure"
    assert codec.DEAD_LETTER not in result.headers


@pytest.mark.asyncio
async def test_the_retry_of_the_send_wins(floor: Floor) -> None:
    @job("pay", retry=retry(9, 0.01))
    async def pay(ctx: JobContext[Any]) -> None:
        raise OSError("no")

    await floor.worker(pay)
    await floor.send(RETRY=msgspec.json.encode(retry(2, 0.01)).decode())
    assert (await floor.result(codec.FAILED)).payload["attempts"] == 2


@pytest.mark.asyncio
@pytest.mark.parametrize("body", [b"{", b'{"amount":"x"}', b"\xff\xfe", b""])
async def test_a_payload_that_does_not_fit_fails_once_with_its_reason(
    floor: Floor, body: bytes
) -> None:
    @job("pay")
    async def pay(ctx: JobContext[Payment], payload: Payment) -> None:
        raise AssertionError("must not run")

    await floor.worker(pay)
    await floor.put("pay", "o-1", body, {codec.COMMAND_ID: "Shop.o-1.1.0"})
    result = await floor.result()
    assert result.type == codec.FAILED
    assert result.payload["reason"].startswith("the payload does not fit the job 'pay'")
    assert result.headers[codec.DEAD_LETTER]
    assert not floor.told.of(JobStarted)[1:]


@pytest.mark.asyncio
async def test_what_is_no_command_is_taken_off_and_told(floor: Floor) -> None:
    @job("pay", on_success="Paid")
    async def pay(ctx: JobContext[Any]) -> None:
        return None

    await floor.put("pay", "x", b"{}", {})
    await floor.put("pay", "y", b"{}", {codec.COMMAND_ID: "a.b.1.0", codec.RETRY: "often"})
    await floor.put("pay", "z", b"{}", {codec.COMMAND_ID: "a.b.1.0", codec.DEADLINE: "soon"})
    await floor.send()
    await floor.worker(pay)
    assert (await floor.result()).type == "Paid"
    refused = await floor.told.seen(CommandRefused, 3)
    assert [codec.COMMAND_ID in refused[0].reason, "header" in refused[1].reason] == [True, True]


@pytest.mark.asyncio
async def test_a_result_that_is_too_large_becomes_a_failure(floor: Floor) -> None:
    @job("pay", on_success="Paid", on_failure="PaymentFailed")
    async def pay(ctx: JobContext[Any]) -> object:
        return "x" * (2_000_000 if ctx.key == "big" else 10)

    await floor.send(key="big")
    await floor.send(key="small")
    await floor.worker(pay)
    results = {r.key: r for r in await floor.results(2)}
    assert results["small"].type == "Paid"
    assert results["big"].type == "PaymentFailed"
    assert "return a reference" in results["big"].payload["reason"]


@pytest.mark.asyncio
async def test_results_that_wait_are_one_batch(floor: Floor) -> None:
    gate = asyncio.Event()

    @job("pay", concurrency=20, on_success="Paid")
    async def pay(ctx: JobContext[Any]) -> None:
        await gate.wait()

    for number in range(20):
        await floor.send(key=f"k{number}")
    await floor.worker(pay)
    await floor.told.seen(JobStarted, 20)
    gate.set()
    await floor.results(20)
    assert [m.count for m in await floor.told.seen(ResultsPublished)] == [20]


@pytest.mark.asyncio
async def test_a_job_publishes_events_that_a_repeat_does_not_double(floor: Floor) -> None:
    @job("pay", on_success="Paid", retry=retry(3, 0.01))
    async def pay(ctx: JobContext[Any]) -> None:
        await ctx.publish("Charged", {"cents": 5})
        await ctx.publish("Logged", {"n": 2}, key="audit")
        if ctx.attempt < 3:
            raise OSError("after the publish")

    await floor.worker(pay)
    id = await floor.send()
    await floor.result("Paid")
    charged, logged = await floor.result("Charged"), await floor.result("Logged")
    assert (charged.key, charged.payload, logged.key) == ("o-1", {"cents": 5}, "audit")
    assert [charged.headers[codec.MSG_ID], logged.headers[codec.MSG_ID]] == [f"{id}.p1", f"{id}.p2"]
    assert codec.CAUSE not in charged.headers
    assert charged.headers[codec.TRACEPARENT] == TRACE


@pytest.mark.asyncio
async def test_a_job_that_cancels_itself_or_exits_has_only_failed(floor: Floor) -> None:
    @job("pay", on_success="Paid", retry=retry(3, 0.01))
    async def pay(ctx: JobContext[Any]) -> None:
        if ctx.attempt == 1:
            raise asyncio.CancelledError
        if ctx.attempt == 2:
            raise SystemExit(3)

    await floor.worker(pay)
    await floor.send()
    results = await floor.results(3)
    assert [r.execution.error for r in results] == ["CancelledError", "SystemExit: 3", ""]


@pytest.mark.asyncio
async def test_quick_jobs_all_end_once(floor: Floor) -> None:
    @job("pay", concurrency=4, on_success="Paid")
    async def pay(ctx: JobContext[Any]) -> None: ...

    for number in range(200):
        await floor.send(key=f"k{number}")
    worker = await floor.worker(pay)
    results = await floor.results(200)
    await worker.stop()
    assert len({r.headers[codec.CAUSE] for r in results}) == len(results) == 200
    assert {m.attempt for m in floor.told.of(JobEnded)} == {1}
