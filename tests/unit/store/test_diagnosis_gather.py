"""Goal: the facts behind the sentences are those of the broker, without any projections.

Method: an engine and workers on a memory broker bring instances into each state of waiting; the
sentences are read until they are as expected.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from jobs import JobContext, JobRegistry, job
from jobs.engine import Engine
from jobs.job import AnyJob
from jobs.worker import Worker
from sagas import Registry, define_saga, schedule, send, spawn
from store.client import SagaClient
from store.diagnosis_gather import Diagnosis
from store.memory import MemoryBroker, SystemClock
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

stay = (
    define_saga("Stay")
    .state({})
    .on("StayBooked", lambda saga, message: send("pay", {}), starts=True)
    .on("StayPaid", lambda saga, message: None)
    .build()
)


def _ask(saga: Any, message: Any) -> Any:
    """Whatever the message asks for."""
    what = message.payload["what"]
    return {
        "command": send("pay", {}),
        "turn": send("pay", {}, concurrency_key="c-7"),
        "timer": schedule({"type": "GiveUp"}, "2h", id="patience"),
        "child": spawn("Stay", {}, key="s-1"),
        "stranger": spawn("Nobody", {}, key="n-1"),
        "nothing": None,
    }[what]


def _broken(saga: Any, message: Any) -> None:
    """A handler with a defect."""
    raise ZeroDivisionError("division by zero")


trip = (
    define_saga("Trip")
    .state({})
    .on("TripWanted", _ask, starts=True)
    .on("TripChanged", _broken)
    .on("GiveUp", lambda saga, message: None)
    .build()
)
narrow = (
    define_saga("Narrow")
    .state({})
    .concurrency(1, key=lambda message: message.payload["customer"])
    .on("NarrowWanted", lambda saga, message: None, starts=True)
    .build()
)


@job("pay")
async def pay(ctx: JobContext[Any]) -> None:
    """Never comes to an end by itself."""
    await asyncio.Event().wait()


class Street:
    """An engine on a memory broker, and whoever is added."""

    def __init__(self) -> None:
        self.broker = MemoryBroker(clock=SystemClock())
        self.client = SagaClient(self.broker.backend("client"), self.broker.names)
        self.services: list[Engine | Worker] = []

    async def start(self, service: Engine | Worker) -> None:
        """Run a service until the end of the test."""
        await service.start()
        self.services.append(service)

    async def stop(self) -> None:
        """Stop all that runs."""
        while self.services:
            await self.services.pop().stop()

    async def engine(self) -> None:
        """One engine with all sagas."""
        registry = Registry([trip, stay, narrow])
        await self.start(Engine(self.broker.backend(), self.broker.names, registry, engine_id="e"))

    async def worker(self, *jobs: AnyJob) -> None:
        """One worker with these jobs."""
        names, registry = self.broker.names, JobRegistry(jobs)
        await self.start(Worker(self.broker.backend(), names, registry, grace_s=0.0))

    async def told(self, saga: str, key: str) -> list[str]:
        """The sentences about an instance now, [] while it does not exist."""
        instance = await self.client.get(saga, key)
        if instance is None:
            return []
        diagnosis = Diagnosis(self.broker.backend(), self.broker.names)
        return [wait.words for wait in await diagnosis.waits(instance)]

    async def tells(self, saga: str, key: str, *parts: str) -> None:
        """Wait until there is a sentence for each of ``parts``, in their order, and no more."""
        last: list[str] = []

        async def look() -> bool:
            last[:] = await self.told(saga, key)
            pairs = zip(last, parts, strict=False)
            return len(last) == len(parts) and all(part in words for words, part in pairs)

        try:
            await eventually(look, 5.0, "these sentences")
        except AssertionError:
            assert last == list(parts)  # shows both

    async def want(self, what: str) -> None:
        """Begin Trip/t-1."""
        await self.client.publish("TripWanted", {"what": what}, key="t-1")


@pytest_asyncio.fixture
async def street() -> AsyncGenerator[Street]:
    """A street with an engine."""
    street = Street()
    await street.engine()
    yield street
    await street.stop()
    await street.broker.close()


async def test_a_command_that_no_worker_ever_served(street: Street) -> None:
    await street.want("command")
    await street.tells(
        "Trip", "t-1", "no worker has ever served it: start one with `snorri jobs pay`"
    )


async def test_a_command_that_a_worker_has(street: Street) -> None:
    await street.worker(pay)
    await street.want("command")
    await street.tells("Trip", "t-1", "ago, a worker has it")


async def test_workers_that_went_away_are_told_with_the_time(street: Street) -> None:
    await street.worker(pay)
    await street.services.pop().stop()
    await street.want("command")
    await street.tells("Trip", "t-1", "no worker has asked for it for ")


async def test_a_command_behind_others_of_its_key(street: Street) -> None:
    for key in ("t-0", "t-1", "t-2"):
        await street.client.publish("TripWanted", {"what": "turn"}, key=key)
        await eventually(lambda key=key: street.told("Trip", key), 5.0, "it to begin")
    await street.tells("Trip", "t-1", "waits for its turn: the next to go in under concurrency key")
    await street.tells("Trip", "t-2", "waits for its turn: 1 ahead under concurrency key c-7")


async def test_an_instance_behind_others_of_its_saga(street: Street) -> None:
    for key in ("n-0", "n-1", "n-2"):
        await street.client.publish("NarrowWanted", {"customer": "c-7"}, key=key)
        await eventually(lambda key=key: street.told("Narrow", key), 5.0, "it to begin")
    await street.tells("Narrow", "n-0", "nothing is open: it waits for a message")
    await street.tells(
        *("Narrow", "n-2"),
        "for its turn: 1 ahead under concurrency key c-7",
        "1 message waits in its backlog until it has its turn",
    )


async def test_a_timer(street: Street) -> None:
    await street.want("timer")
    await street.tells("Trip", "t-1", "timer patience fires in 2 h")


async def test_a_child_and_what_it_waits_for(street: Street) -> None:
    await street.want("child")
    await street.tells("Trip", "t-1", "child Stay/s-1 has been running for ")
    await street.tells("Stay", "s-1", "command pay queued")


async def test_a_child_that_no_engine_knows(street: Street) -> None:
    await street.want("stranger")
    await street.tells(
        *("Trip", "t-1"),
        "child Nobody/n-1 was never started: no engine here knows the saga 'Nobody'; start one "
        "with the app that defines it; then `snorri dead-letters redrive log-",
    )


async def test_a_child_with_the_name_of_another_instance(street: Street) -> None:
    await street.client.publish("StayBooked", {}, key="s-1")
    await eventually(lambda: street.told("Stay", "s-1"), 5.0, "the other one")
    await street.want("child")
    await street.tells("Trip", "t-1", "child Stay/s-1 was never started: Stay/s-1 is there already")


async def test_a_parked_and_a_paused_one(street: Street) -> None:
    await street.want("nothing")
    await street.tells("Trip", "t-1", "nothing is open: it waits for TripChanged or GiveUp")
    await street.client.act("Trip", "t-1", "pause", by="anna", reason="stock count")
    await street.tells("Trip", "t-1", "paused by anna since")
    await street.client.act("Trip", "t-1", "resume", by="anna")
    await street.client.publish("TripChanged", {}, key="t-1")
    await street.tells("Trip", "t-1", "on TripChanged: ZeroDivisionError: division by zero; mend")


async def test_no_engine_and_none_with_its_code(street: Street) -> None:
    await street.want("nothing")
    await street.tells("Trip", "t-1", "nothing is open")
    await street.stop()
    await street.tells("Trip", "t-1", "no engine is running", "nothing is open")
    registry = Registry([stay])
    await street.start(Engine(street.broker.backend(), street.broker.names, registry))
    await street.tells("Trip", "t-1", "no running engine has code for Trip", "nothing is open")


async def test_what_can_not_be_asked_is_left_out(street: Street) -> None:
    await street.want("command")
    await street.tells("Trip", "t-1", "no worker has ever served it")
    instance = await street.client.get("Trip", "t-1")
    assert instance is not None
    backend = street.broker.backend("cut off")
    backend.cut()
    [wait] = await Diagnosis(backend, street.broker.names).waits(instance)
    assert wait.words.startswith("command pay queued ")
    assert "worker" not in wait.words


async def test_discarding_the_start_of_a_child_ends_the_wait_for_it(street: Street) -> None:
    await street.want("stranger")
    await street.tells("Trip", "t-1", "child Nobody/n-1 was never started")
    [letter] = await street.client.dead_letters()
    assert (await street.client.discard(letter.id, by="anna", reason="a typo")).done
    await street.tells("Trip", "t-1", "nothing is open: it waits for TripChanged or GiveUp")
    trip = await street.client.get("Trip", "t-1")
    assert trip is not None
    assert trip.children == {"Nobody/n-1": "failed"}
    assert (trip.cause.kind, trip.cause.type) == ("child", "Nobody.failed")
    told = msgspec.json.decode(trip.cause.payload)
    assert told["reason"].endswith("its start was discarded: a typo")
    again = await street.client.discard(letter.id, by="bert")
    assert not again.done


async def test_discarding_another_dead_letter_tells_nobody(street: Street) -> None:
    await street.want("nothing")
    await street.tells("Trip", "t-1", "nothing is open")
    await street.client.publish("TripChanged", {}, key="t-2")
    [letter] = await eventually(street.client.dead_letters, 5.0, "a dead letter")
    assert (await street.client.discard(letter.id, by="anna")).done
    trip = await street.client.get("Trip", "t-1")
    assert trip is not None
    assert trip.version == 1
