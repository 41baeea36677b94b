"""Goal: what a job says when it fails does not carry the secret values of its command any further.

Method: a real worker on memory runs jobs that quote what they were given; the stored results, the
records of attempts, dead letters and the log are searched for it.
"""

from __future__ import annotations

import logging
from typing import Annotated

import msgspec
import pytest

from jobs import job
from jobs.context import JobContext
from jobs.outcome import (
    REASON_CHARS_MAX,
    PermanentFailure,
    failure,
    outcome_of,
    outcome_of_error,
)
from jobs.trouble import Trouble
from sagas import Message, Registry, SagaHandle, Secret, define_saga
from sagas.kernel import Snapshot, Transition, decide
from sagas.messages import EPOCH, Cause, Raw
from sagas.retry import retry
from store.masking import AT_WORK, MASKED, Mask
from tests.worker_kit import memory_floor

VALUE = "4111-1111-1111-1111"


class Order(msgspec.Struct):
    """A payload with a secret."""

    id: str
    card: Annotated[str, Secret]


@job("charge-secretly", retry=retry(1, "1s"))
async def charge(ctx: JobContext[Order], payload: Order) -> None:
    """Quotes what it must not tell."""
    ctx.log.info("charging", order=payload.id)
    raise ValueError(f"declined {payload.card} of {payload.id}")


@pytest.mark.asyncio
async def test_a_failure_is_stored_and_told_without_them(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    floor = memory_floor()
    try:
        await floor.worker(charge)
        await floor.send({"id": "o-1", "card": VALUE}, target="charge-secretly")
        result = await floor.result()
    finally:
        await floor.close()
    assert result.payload["reason"] == f"ValueError: declined {MASKED} of o-1"
    assert result.execution.error == f"ValueError: declined {MASKED} of o-1"
    assert VALUE not in repr(result)
    assert VALUE not in caplog.text


def test_reasons_lose_the_values_before_they_are_cut() -> None:
    before = AT_WORK.set(frozenset({VALUE}))
    try:
        told = [
            outcome_of_error(ValueError(f"declined {VALUE}")),
            outcome_of_error(PermanentFailure(f"declined {VALUE}")),
            outcome_of(failure(f"declined {VALUE}")),
            outcome_of_error(ValueError("x" * (REASON_CHARS_MAX - 22) + VALUE)),
        ]
    finally:
        AT_WORK.reset(before)
    assert VALUE[:8] not in repr(told)
    assert repr(told).count(MASKED) == 4


def test_a_parked_instance_is_told_of_without_them(caplog: pytest.LogCaptureFixture) -> None:
    def placed(saga: SagaHandle[dict[str, str]], message: Message[Order]) -> None:
        raise ValueError(f"no such card: {message.payload.card}")

    saga = define_saga("Shy").state({}).on("Placed", placed, starts=True).build()
    cause = Cause(
        kind="event",
        type="Placed",
        id="1",
        seq=1,
        at=EPOCH,
        payload=Raw(b'{"id":"o-1","card":"%s"}' % VALUE.encode()),
    )
    decision = decide(saga, Snapshot("o-1"), cause, EPOCH)
    assert isinstance(decision, Transition)
    trouble = Trouble(Mask(Registry([saga]).get("Shy").secrets))  # type: ignore[union-attr]
    trouble.parked.append(decision.after)
    with caplog.at_level(logging.WARNING):
        trouble.tell()
    assert "no such card" in caplog.text
    assert VALUE not in caplog.text
