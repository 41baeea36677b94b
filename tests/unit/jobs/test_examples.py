"""Goal: the sample jobs do what their sagas expect, and a repeated attempt gives the same ids.

Method: jobs are functions, so they are called as such; the answers are held against what the sample
sagas handle and can decode.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from jobs.context import Command, Desk, JobContext
from jobs.dependencies import Need
from jobs.examples import jobs
from jobs.examples.simulation import FLAKY_ATTEMPTS
from jobs.job import AnyJob
from jobs.outcome import Failure, Success, outcome_of
from sagas.effects import Send
from sagas.examples import definitions, registry
from sagas.testing import given
from store.job_calls import JobCalls


class _Desk(Desk):
    """Takes what a job publishes."""

    def __init__(self) -> None:
        self.published: list[str] = []

    def beat(self) -> None:
        pass

    async def publish(self, type: str, key: str, payload: bytes, msg_id: str) -> None:
        self.published.append(type)

    async def resolve(self, key: object) -> object:
        raise AssertionError(f"no sample asks for {key}")

    async def resolve_need(self, need: Need) -> tuple[bool, object]:
        raise AssertionError(f"no sample is a step that asks for {need.name}")

    @property
    def calls(self) -> JobCalls:
        raise AssertionError("no sample is a step that asks another job")


def _run(one: AnyJob, payload: dict[str, Any], attempt: int = 1) -> Success | Failure:
    command = Command(id="c-1", target=one.target, key="k", key_token="k", idempotency_key="idem-1")
    decoded = one.decode(msgspec.json.encode(payload))
    context: JobContext[Any] = JobContext(command, attempt, decoded, _Desk())
    return outcome_of(asyncio.run(one(context, decoded)))


PAYLOAD = {"orderId": "o-1", "userId": "u-1", "cartId": "c-1", "tripId": "t-1", "amount": 1}
BY_TARGET = {one.target: one for one in jobs}


@pytest.mark.parametrize("one", jobs, ids=lambda one: one.target)
def test_a_repeat_gives_the_same_answer(one: AnyJob) -> None:
    first = _run(one, PAYLOAD)
    assert isinstance(first, Success)
    assert _run(one, PAYLOAD, attempt=2) == first
    assert one.description


@pytest.mark.parametrize("one", jobs, ids=lambda one: one.target)
def test_flaky_and_broken(one: AnyJob) -> None:
    for attempt in range(1, FLAKY_ATTEMPTS + 1):
        with pytest.raises(RuntimeError):
            _run(one, {**PAYLOAD, "simulate": "flaky"}, attempt)
    assert isinstance(_run(one, {**PAYLOAD, "simulate": "flaky"}, FLAKY_ATTEMPTS + 1), Success)
    with pytest.raises(RuntimeError, match="never works"):
        _run(one, {**PAYLOAD, "simulate": "broken"}, 99)


@pytest.mark.parametrize(
    ("target", "simulate"),
    [
        ("process-payment", "decline"),
        ("capture-payment", "decline"),
        ("reserve-inventory", "no-stock"),
        ("create-shipment", "no-carrier"),
        ("book-flight", "sold-out"),
        ("book-hotel", "sold-out"),
        ("book-car", "sold-out"),
    ],
)
def test_an_answer_of_no_is_a_failure_and_no_defect(target: str, simulate: str) -> None:
    outcome = _run(BY_TARGET[target], {**PAYLOAD, "simulate": simulate})
    assert isinstance(outcome, Failure)
    assert not outcome.defect
    assert BY_TARGET[target].on_failure


def test_every_command_of_the_sample_sagas_has_a_job_with_an_answer_they_read() -> None:
    for definition in definitions:
        for type in definition.handlers:
            for one in jobs:
                if type != one.on_success:
                    continue
                outcome = _run(one, PAYLOAD)
                assert isinstance(outcome, Success)
                definition.handlers[type].decode(Raw(outcome.data))
    handled = set(registry().types)
    unheard = {one.on_success for one in jobs} - handled - {"PaymentRefunded"}
    assert not {type for type in unheard if type and not type.endswith("Cancelled")}


def test_a_checkout_asks_jobs_that_exist() -> None:
    checkout = next(one for one in definitions if one.id == "CheckoutSaga")
    run = given(checkout, key="o-1").when("OrderCreated", {"orderId": "o-1", "total": 5})
    sent = [effect for effect in run.instance.effects if isinstance(effect, Send)]
    assert [effect.target for effect in sent] == ["process-payment"]
    answer = _run(BY_TARGET["process-payment"], msgspec.json.decode(sent[0].payload))
    assert isinstance(answer, Success)
