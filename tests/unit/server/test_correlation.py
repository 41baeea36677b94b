"""Goal: whoever sends a message is told the instances that an engine will bring it to.

Method: definitions with every kind of rule; the registry is written by a real engine's own card and
the answers are compared with what the engine's routing says.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from jobs.engine import Engine
from sagas import Message, Registry, SagaHandle, define_saga
from sagas.messages import EPOCH, Address, Cause
from sagas.names import escape
from sagas.routing import route
from server.correlation import KnownSagas, NoKey, key_of
from store.cards import SagaCard, saga_cards
from store.memory import LoseRequest, MemoryBroker, ScriptedFaults, SystemClock

pytestmark = pytest.mark.asyncio


def _note(saga: SagaHandle[dict[str, Any]], message: Message[Any]) -> None:
    saga.state["last"] = message.type


def _customer(message: Message[Any]) -> object:
    return message.payload["customer"]["id"]


BY_FIELD = (
    define_saga("field").state({}).correlate("order.id").on("A", _note).on("B", _note).build()
)
BY_CODE = define_saga("code").state({}).correlate(_customer).on("A", _note).build()
BY_KEY = define_saga("key").state({}).on("A", _note).build()
MIXED = (
    define_saga("mixed")
    .state({})
    .correlate("order.id")
    .on("B", _note)
    .on("A", _note, correlate="customer.id")
    .build()
)
REGISTRY = Registry([BY_FIELD, BY_CODE, BY_KEY, MIXED])
PAYLOAD = {"order": {"id": 7}, "customer": {"id": "c-1"}}


async def _known(registry: Registry) -> tuple[KnownSagas, MemoryBroker, ScriptedFaults]:
    faults = ScriptedFaults()
    broker = MemoryBroker(clock=SystemClock(), faults=faults)
    engine = Engine(broker.backend(), broker.names, REGISTRY, engine_id="e")
    await engine.start()
    await engine.stop()
    return KnownSagas(broker.backend("api").meta, registry), broker, faults


async def _cards(broker: MemoryBroker) -> dict[str, SagaCard]:
    return {card.id: card for card in await saga_cards(broker.backend().meta)}


@pytest.mark.parametrize("type", ["A", "B", "C"])
@pytest.mark.parametrize("key", ["k-1", None])
@pytest.mark.parametrize("only", ["", "mixed", "nothing"])
async def test_it_says_what_the_engine_does(type: str, key: str | None, only: str) -> None:
    known, broker, _ = await _known(REGISTRY)
    payload = msgspec.json.encode(PAYLOAD)
    headers = {"Snorri-Saga": escape(only)} if only else {}
    found = await known.receivers(type, key, payload, headers)
    cause = Cause(kind="event", type=type, id="", seq=1, at=EPOCH, payload=Raw(payload))
    deliveries, _ = route(REGISTRY, cause, key, only)
    assert found is not None
    assert set(found) == {Address(one.definition.id, one.key) for one in deliveries}
    await broker.close()


async def test_without_the_code_a_function_is_not_guessed() -> None:
    known, broker, _ = await _known(Registry())
    found = await known.receivers("A", "k-1", msgspec.json.encode(PAYLOAD), {})
    assert found == [Address("field", "7"), Address("key", "k-1"), Address("mixed", "c-1")]
    await broker.close()


@pytest.mark.parametrize("payload", [b"null", b"[]", b"{", b'{"order":{"id":{}}}', b'"\xff"'])
async def test_payloads_that_name_nobody(payload: bytes) -> None:
    known, broker, _ = await _known(REGISTRY)
    assert await known.receivers("B", None, payload, {}) == []
    await broker.close()


async def test_an_answer_names_the_instance_that_asked() -> None:
    known, broker, _ = await _known(REGISTRY)
    headers = {"Snorri-Cause": "field.o=2F1.3.0"}
    assert await known.receivers("X", None, b"{}", headers) == [Address("field", "o/1")]
    await broker.close()


async def test_an_unreadable_registry_is_told_from_an_empty_one() -> None:
    known, broker, faults = await _known(REGISTRY)
    faults.on("meta.entries", LoseRequest())
    assert await known.receivers("B", None, msgspec.json.encode(PAYLOAD), {}) is None
    await broker.close()


async def test_the_key_of_a_start() -> None:
    _, broker, _ = await _known(REGISTRY)
    cards = await _cards(broker)
    assert key_of(cards["field"], PAYLOAD) == "7"
    assert key_of(cards["mixed"], PAYLOAD) == "7"
    assert key_of(cards["key"], PAYLOAD) is None
    assert key_of(cards["code"], PAYLOAD, REGISTRY) == "c-1"
    with pytest.raises(NoKey, match="names the instance"):
        key_of(cards["field"], {})
    with pytest.raises(NoKey, match="by a function"):
        key_of(cards["code"], PAYLOAD)
    with pytest.raises(NoKey, match="finds no key"):
        key_of(cards["code"], {}, REGISTRY)
    await broker.close()
