"""Goal: the survey counts the open instances that changed code would strand, looks only where code
has changed, and once at a saga that is gone.

Method: instances written by one registry on a memory broker, with the cards of its engine, and
surveys with registries that lack something.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from jobs.engine import Engine
from sagas import Registry, SagaDefinition, define_saga, schedule
from sagas.retry import RetryPolicy
from store.cards import JobCard, saga_cards
from store.memory import MemoryBroker
from store.memory.clock import SystemClock
from store.port import Outgoing
from store.stranding import Survey, retire, survey
from store.subjects import Names
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

NAMES = Names()


def _saga(id: str, *types: str) -> SagaDefinition:
    chain: Any = define_saga(id).state({})
    chain.on(f"{id}Began", lambda saga: schedule({"type": "Late"}, "1h"))
    for type in ("Late", *types):
        chain.on(type, lambda saga: None)
    return chain.build()


OLD = Registry([_saga("One", "Extra"), _saga("Two"), _saga("Three")])


async def _filled(broker: MemoryBroker) -> None:
    """Five instances of each saga, one of them ended, by an engine that has stopped."""
    backend = broker.backend("old")
    engine = Engine(backend, NAMES, OLD, engine_id="old")
    await engine.start()
    ids = [saga.id for saga in OLD]
    for id in ids:
        for n in range(5):
            await backend.door.publish(NAMES.event(f"{id}Began", f"k-{n}"), b"{}")

    async def _all() -> bool:
        found = [m async for m in backend.log.latest(NAMES.instances())]
        return len(found) == 5 * len(ids)

    await eventually(_all, 10, "all instances")
    await engine.stop()


async def _survey(broker: MemoryBroker, *sagas: SagaDefinition, **how: Any) -> Survey:
    return await survey(broker.backend("new"), NAMES, Registry(sagas), how.pop("jobs", ()), **how)


async def test_a_registry_as_it_was_strands_nothing_and_is_not_even_read() -> None:
    broker = MemoryBroker(NAMES, clock=SystemClock())
    await _filled(broker)
    found = await _survey(broker, *OLD)
    assert (found.looked, found.stranded, found.sagas) == (15, (), 3)
    quick = await _survey(broker, *OLD, changed_only=True)
    assert (quick.looked, quick.sagas) == (0, 0)
    await broker.close()


async def test_changed_sagas_are_counted_by_reason() -> None:
    broker = MemoryBroker(NAMES, clock=SystemClock())
    await _filled(broker)
    chain: Any = define_saga("Two").state({}).on("TwoBegan", lambda saga: None)
    found = await _survey(broker, _saga("One"), chain.build(), changed_only=True)
    assert found.sagas == 3
    assert {(one.saga, one.reason, one.instances) for one in found.stranded} == {
        ("One", "nothing handles 'Extra' any more", 5),
        ("Two", "its timer has no handler for 'Late'", 5),
        ("Two", "nothing handles 'Late' any more", 5),
        ("Three", "the app has no code for it", 5),
    }
    assert {one.example[:2] for one in found.stranded} == {"k-", ""}
    assert found.instances == 15
    await broker.close()


async def test_a_saga_that_is_gone_is_looked_at_until_none_is_open() -> None:
    broker = MemoryBroker(NAMES, clock=SystemClock())
    backend = broker.backend("old")
    engine = Engine(backend, NAMES, OLD, engine_id="old")
    await engine.start()
    await engine.stop()
    two = [_saga("One", "Extra"), _saga("Two")]
    for _ in range(2):  # a look marks nothing: it may be one from aside, with half of the code
        found = await _survey(broker, *two, changed_only=True)
        assert (found.sagas, found.idle) == (1, ("Three",))
    await retire(backend.meta, found.idle)
    assert (await _survey(broker, *two, changed_only=True)).sagas == 0
    cards = {card.id: card.enabled for card in await saga_cards(backend.meta)}
    assert cards == {"One": True, "Two": True, "Three": False}
    await broker.close()


async def test_what_cannot_be_read_is_told() -> None:
    broker = MemoryBroker(NAMES, clock=SystemClock())
    backend = broker.backend("x")
    await backend.log.commit([Outgoing(NAMES.instance("One", "k"), b'{"status":"running"}')])
    (one,) = (await _survey(broker, _saga("One"))).stranded
    assert "can't be read" in one.reason
    await broker.close()


async def test_jobs_without_code_are_counted_by_their_commands() -> None:
    broker = MemoryBroker(NAMES, clock=SystemClock())
    backend = broker.backend("x")
    for target in ("kept", "gone", "idle"):
        card = JobCard(
            target=target,
            description="",
            retry=RetryPolicy(),
            timeout_s=None,
            heartbeat_s=None,
            concurrency=1,
            concurrency_total=None,
            on_success=None,
            on_failure=None,
            enabled=True,
        )
        await backend.meta.put(f"job.{target}", msgspec.json.encode(card))
        queue = await backend.queues.open(target, ack_wait_s=30, in_flight_max=1)
        await queue.close()
    for target in ("kept", "gone", "gone"):
        subject = f"{NAMES.namespace}.commands.{target}.k"
        await backend.log.commit([Outgoing(subject, b"{}")])
    found = await _survey(broker, jobs=("kept",))
    assert dict(found.jobs) == {"gone": 2}
    await broker.close()
