"""Goal: the schedule in the log is that of the newest code that runs, whoever starts when.

Method: engines with several versions of a saga over the memory broker, one of them held up between
its look at the schedule and its writing.
"""

from __future__ import annotations

import msgspec
import pytest

from jobs.rollout import new_card
from jobs.schedules import Schedules
from sagas.builder import define_saga
from sagas.definition import SagaDefinition
from store.memory import MemoryBroker
from store.memory.broker import MemoryBackend
from store.memory.ports import MemoryLog
from store.port import Stored, StoreError
from store.subjects import Names

pytestmark = pytest.mark.asyncio
NAMES = Names()
CRON = NAMES.cron("Nightly")
EARLY, LATE = "0 0 2 * * *", "0 0 3 * * *"


def _saga(expression: str = "", version: int = 1) -> SagaDefinition:
    chain = define_saga("Nightly").state({}).version(version)
    if expression:
        chain = chain.schedule(expression)
    return chain.on("Ordered", lambda saga: None).build()


@pytest.fixture
def broker() -> MemoryBroker:
    """A broker in virtual time."""
    return MemoryBroker(NAMES)


@pytest.fixture
def backend(broker: MemoryBroker) -> MemoryBackend:
    """All ports over it."""
    return broker.backend("e")


async def _keep(backend: MemoryBackend, saga: SagaDefinition) -> str:
    """Keep a saga's schedule; the one that is there then."""
    await Schedules(backend, NAMES).keep(saga)
    stored = await backend.log.read(CRON)
    return stored.headers["Nats-Schedule"] if stored else ""


async def _runs(backend: MemoryBackend, saga: SagaDefinition) -> None:
    """An engine with this code is there."""
    card = new_card(f"engine-{saga.version}", "host", 1, [saga])
    await backend.meta.put(f"engine.{card.id}", msgspec.json.encode(card))


async def test_what_is_written_is_what_the_definition_says(backend: MemoryBackend) -> None:
    assert await _keep(backend, _saga(EARLY)) == EARLY
    first = await backend.log.read(CRON)
    assert await _keep(backend, _saga(EARLY)) == EARLY
    assert await backend.log.read(CRON) == first, "it was not written again"
    assert await _keep(backend, _saga(LATE)) == LATE
    assert await _keep(backend, _saga()) == ""
    assert await _keep(backend, _saga(EARLY)) == EARLY


async def test_older_code_that_starts_late_leaves_the_schedule_of_newer_code(
    backend: MemoryBackend,
) -> None:
    newer = _saga(LATE, version=2)
    await _runs(backend, newer)
    assert await _keep(backend, newer) == LATE
    assert await _keep(backend, _saga(EARLY)) == LATE
    assert await _keep(backend, _saga()) == LATE
    await backend.meta.delete("engine.engine-2")  # the deployment was taken back
    assert await _keep(backend, _saga(EARLY)) == EARLY


async def test_older_code_brings_no_schedule_back_that_newer_code_took_away(
    backend: MemoryBackend,
) -> None:
    assert await _keep(backend, _saga(EARLY)) == EARLY
    newer = _saga(version=2)
    await _runs(backend, newer)
    assert await _keep(backend, newer) == ""
    assert await _keep(backend, _saga(EARLY)) == ""


class _Overtaken(MemoryLog):
    """The log as an engine sees it that others overtake between its looks and its writing."""

    def __init__(self, broker: MemoryBroker, others: list[SagaDefinition]) -> None:
        super().__init__(broker.backend("late").link, broker.log, broker.events)
        self._others = others
        self._backend = broker.backend("others")

    async def read(self, subject: str) -> Stored | None:
        """As it is, before the next of the others writes."""
        stored = await super().read(subject)
        if self._others:
            other = self._others.pop(0)
            await _runs(self._backend, other)
            await Schedules(self._backend, NAMES).keep(other)
        return stored


@pytest.mark.parametrize("before", ["", EARLY])
async def test_who_looked_before_newer_code_wrote_writes_nothing(
    broker: MemoryBroker, backend: MemoryBackend, before: str
) -> None:
    if before:
        await _keep(backend, _saga(before))
    backend.log = _Overtaken(broker, [_saga(LATE, version=2)])
    assert await _keep(backend, _saga("0 0 1 * * *")) == LATE


async def test_a_schedule_that_others_write_all_the_time_is_told(
    broker: MemoryBroker, backend: MemoryBackend
) -> None:
    backend.log = _Overtaken(broker, [_saga(one) for one in (EARLY, LATE) * 10])
    with pytest.raises(StoreError, match="Nightly was not stored"):
        await Schedules(backend, NAMES).keep(_saga("0 0 1 * * *"))
