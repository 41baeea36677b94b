"""Goal: a call is stored once, whatever the broker answers, and what can't be is told.

Method: the memory broker with scripted faults; what stands on the call's subject is counted.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from msgspec import Raw, structs

import store.job_calls
from sagas.names import BadName, is_awaited, is_by_hand, is_call, parse_command_id
from store import codec
from store.job_calls import JobCall, JobCalls, UnknownTarget
from store.memory import MemoryBroker, SystemClock
from store.memory.faults import Answer, Fault, Late, LoseReply, LoseRequest, ScriptedFaults
from store.port import (
    Busy,
    Conflict,
    Invalid,
    MessageTooLarge,
    Refused,
    Stored,
    Unknown,
    Unreachable,
)
from store.subjects import Names

pytestmark = pytest.mark.asyncio

CALL = JobCall(
    token="0123456789abcdef" * 2,
    sender="order.o=2E1.3.0",
    target="pay",
    payload=Raw(b'{"amount":5}'),
    saga="order",
    key="o.1",
    version=3,
)


class _Place:
    """A broker with the queue of one job."""

    def __init__(self) -> None:
        self.faults = ScriptedFaults()
        self.names = Names()
        self.backend = MemoryBroker(self.names, clock=SystemClock(), faults=self.faults).backend()
        self.calls = JobCalls(self.backend, self.names)

    async def open(self) -> None:
        await self.backend.queues.open("pay", ack_wait_s=30.0, in_flight_max=10)

    async def stored(self) -> list[Stored]:
        subject = self.names.command("pay", CALL.token)
        return [one async for one in self.backend.log.history(subject)]


async def _place() -> _Place:
    place = _Place()
    await place.open()
    return place


async def test_what_is_stored_says_whose_it_is() -> None:
    place = await _place()
    assert await place.calls.send(CALL) is True
    assert await place.calls.send(structs.replace(CALL, payload=Raw(b"6"))) is False
    (stored,) = await place.stored()
    assert stored.data == b'{"amount":5}'
    headers = stored.headers
    id = headers[codec.COMMAND_ID]
    assert id == f"order.o=2E1.3.0.call-{CALL.token}" == CALL.command
    assert (is_call(id), is_by_hand(id), parse_command_id(id)) == (True, False, None)
    sent = structs.replace(CALL, waits=False).command
    assert (is_call(sent), is_awaited(sent), is_awaited(id)) == (True, False, True)
    assert (headers[codec.SAGA], headers[codec.KEY], headers[codec.VERSION]) == (
        *("order", "o=2E1", "3"),
    )


@pytest.mark.parametrize(
    "fault",
    [
        LoseReply(),
        LoseRequest(),
        Answer(Busy("no room")),
        Answer(Unknown("silence")),
        Answer(Conflict("somebody is about to write it")),
    ],
    ids=lambda fault: type(getattr(fault, "outcome", fault)).__name__,
)
async def test_a_doubt_is_cleared_and_it_is_stored_once(fault: Fault) -> None:
    place = await _place()
    place.faults.on("log.commit", fault, times=2)
    await place.calls.send(CALL)
    assert len(await place.stored()) == 1
    assert await place.calls.send(CALL) is False
    assert len(await place.stored()) == 1


async def test_a_broker_that_does_not_say_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    place = await _place()
    monkeypatch.setattr(store.job_calls, "SEND_S", 0.05)
    place.faults.on("log.commit", Answer(Busy("no room")), times=1000)
    with pytest.raises(Unreachable, match="no room; try again, it is stored once"):
        await place.calls.send(CALL)
    assert await place.stored() == []


async def test_what_the_broker_refuses_is_not_repeated() -> None:
    place = await _place()
    place.faults.on("log.commit", Answer(Invalid(1, "a bad header")))
    with pytest.raises(Refused, match="a bad header"):
        await place.calls.send(CALL)
    assert await place.calls.send(CALL) is True


async def test_a_target_that_nobody_serves_is_told_until_somebody_does() -> None:
    place = _Place()
    with pytest.raises(UnknownTarget, match="snorri jobs pay"):
        await place.calls.send(CALL)
    await place.open()
    assert await place.calls.send(CALL) is True


async def test_the_largest_payload_goes_and_a_larger_one_is_told() -> None:
    place = await _place()
    much = structs.replace(CALL, payload=Raw(b'"' + b"x" * place.backend.payload_max + b'"'))
    with pytest.raises(MessageTooLarge, match=r"at most \d+ are allowed") as told:
        await place.calls.send(much)
    room = int(str(told.value).partition("at most ")[2].split()[0])
    just = structs.replace(CALL, payload=Raw(b'"' + b"x" * (room - 2) + b'"'))
    assert await place.calls.send(just) is True


@pytest.mark.parametrize("target", ["", "x" * 200])
async def test_a_target_that_can_be_none_is_told(target: str) -> None:
    place = await _place()
    with pytest.raises(BadName, match="target"):
        await place.calls.send(structs.replace(CALL, target=target))


def _execution(outcome: codec.Outcome) -> str:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    facts = codec.Execution(
        command=CALL.command,
        target="pay",
        worker="w",
        attempt=1,
        queued=at,
        started=at,
        ended=at,
        outcome=outcome,
    )
    return msgspec.json.encode(facts).decode()


@pytest.mark.parametrize("first", ["completed", "failed"])
@pytest.mark.parametrize("late", ["feeds", "nothing"])
async def test_the_first_answer_counts_however_often_the_job_has_run(
    first: codec.Outcome, late: str
) -> None:
    """A worker that dies before its acknowledgement has its job run again, to another end."""
    place = await _place()
    await place.calls.send(CALL)
    other: codec.Outcome = "failed" if first == "completed" else "completed"
    for outcome in (first, other):
        type = codec.COMPLETED if outcome == "completed" else codec.FAILED
        headers = {codec.CAUSE: CALL.command, codec.EXECUTION: _execution(outcome)}
        await place.backend.door.publish(place.names.event(type, CALL.token), b"1", headers)
    if late == "feeds":
        place.faults.on("feeds.take", Late(0.01), times=3)
    assert (await place.calls.result(CALL)).outcome == first
