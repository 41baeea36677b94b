"""The engine as a service on the memory broker: what it registers, what it refuses, how it ends.

The lane and the leases have tests of their own; here they run together, with the system's clock.
"""

from __future__ import annotations

import msgspec
import pytest

from jobs.engine import Engine
from sagas import Registry, SagaDefinition, define_saga
from sagas.definition import CorrelationRule
from store.cards import SagaCard
from store.memory import MemoryBroker
from store.memory.clock import SystemClock
from store.port import StoreError
from store.subjects import Names
from tests.waiting import eventually


def _saga(durability: str = "t1", cron: str = "") -> SagaDefinition:
    chain = define_saga("Order").state({}).durability(durability)  # pyright: ignore[reportArgumentType]
    if cron:
        chain = chain.schedule(cron)
    return chain.on("Ordered", lambda saga: None).build()


def _broker() -> MemoryBroker:
    return MemoryBroker(Names(), clock=SystemClock())


@pytest.mark.asyncio
@pytest.mark.parametrize(("durability", "why"), [("t2", "1 replica"), ("t3", "no archive")])
async def test_more_durability_than_the_bucket_has_is_refused(durability: str, why: str) -> None:
    backend = _broker().backend("e")
    engine = Engine(backend, Names(), Registry([_saga(durability)]), engine_id="e")
    with pytest.raises(StoreError, match=why):
        await engine.start()
    assert await backend.meta.entries("saga.") == []
    await backend.close()


@pytest.mark.asyncio
async def test_it_registers_its_sagas_and_works_on_all_partitions() -> None:
    backend = _broker().backend("e")
    engine = Engine(backend, Names(), Registry([_saga()]), engine_id="e")
    await engine.start()
    await eventually(lambda: engine.partitions == (0, 1, 2, 3), 5, "all partitions")
    entry = await backend.meta.get("saga.Order")
    assert entry is not None
    assert entry.data is not None
    card = msgspec.json.decode(entry.data, type=SagaCard)
    assert (card.id, card.types, card.starting) == ("Order", ("Ordered",), ("Ordered",))
    await engine.stop()
    await engine.stop()
    assert await backend.meta.entries("lease.") == []
    assert await backend.meta.entries("engine.") == []
    await engine.wait()
    await backend.close()


@pytest.mark.asyncio
async def test_a_second_start_leaves_the_cron_schedule_as_it_is() -> None:
    broker = _broker()
    backend = broker.backend("e")
    for _ in range(2):
        engine = Engine(backend, Names(), Registry([_saga(cron="0 0 2 * * *")]), engine_id="e")
        await engine.start()
        await engine.stop()
    stored = [one async for one in backend.log.history(Names().cron("Order"))]
    assert len(stored) == 1
    changed = Engine(backend, Names(), Registry([_saga(cron="0 0 3 * * *")]), engine_id="e")
    await changed.start()
    await changed.stop()
    (now,) = [one async for one in backend.log.history(Names().cron("Order"))]
    assert now.headers["Nats-Schedule"] == "0 0 3 * * *"
    assert now.seq > stored[0].seq
    without = Engine(backend, Names(), Registry([_saga()]), engine_id="e")
    await without.start()
    await without.stop()
    assert [one async for one in backend.log.history(Names().cron("Order"))] == []
    await backend.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("rule", "known"),
    [
        ("order.id", ("field", "order.id")),
        (lambda message: message.payload["id"], ("function", "")),
        (None, ("", "")),
    ],
)
async def test_its_card_tells_how_a_start_names_its_instance(
    rule: CorrelationRule | None, known: tuple[str, str]
) -> None:
    chain = define_saga("Order").state({})
    definition = (chain if rule is None else chain.correlate(rule)).on("Ordered", lambda saga: None)
    backend = _broker().backend("e")
    engine = Engine(backend, Names(), Registry([definition.build()]), engine_id="e")
    await engine.start()
    await engine.stop()
    entry = await backend.meta.get("saga.Order")
    assert entry is not None
    assert entry.data is not None
    card = msgspec.json.decode(entry.data, type=SagaCard)
    assert (card.key_rule, card.key_path) == known
    await backend.close()


@pytest.mark.asyncio
async def test_leases_of_the_same_engine_before_a_crash_are_not_waited_for() -> None:
    broker = _broker()
    before = broker.backend("before")
    for number in range(4):
        await before.meta.put(f"lease.{number}", b"dev", ttl_s=60)
    backend = broker.backend("after")
    engine = Engine(backend, Names(), Registry([_saga()]), engine_id="dev")
    await engine.start()
    await eventually(lambda: engine.partitions == (0, 1, 2, 3), 2, "all partitions")
    await engine.stop()
    await before.close()
    await backend.close()
