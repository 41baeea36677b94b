"""Goal: a name that is secret anywhere is masked everywhere, from the moment it is registered.

Method: a mask over the meta bucket in memory, into which cards are written as engines and workers
write them.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator

import msgspec
import pytest
import pytest_asyncio

from store.live_mask import LiveMask
from store.memory import MemoryBroker, SystemClock
from store.port import Meta
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

CARD = b'{"card":"4111-1111","iban":"DE00","pin":"0000"}'


@pytest_asyncio.fixture
async def meta() -> AsyncGenerator[Meta]:
    """A meta bucket."""
    broker = MemoryBroker(clock=SystemClock())
    yield broker.backend().meta
    await broker.close()


async def _register(meta: Meta, key: str, *secrets: str) -> None:
    await meta.put(key, msgspec.json.encode({"id": "x", "secrets": secrets}))


async def test_it_starts_with_what_is_set_and_what_is_registered(meta: Meta) -> None:
    await _register(meta, "saga.A", "card")
    await _register(meta, "job.pay", "iban")
    await _register(meta, "engine.e1", "pin")  # no card of a saga or a job
    mask = LiveMask(["OTHER"], meta)
    await mask.start()
    try:
        assert mask.names == {"other", "card", "iban"}
        assert mask(CARD) == '{"card":"•••","iban":"•••","pin":"0000"}'.encode()
    finally:
        await mask.stop()
        await mask.wait()


async def test_it_learns_what_is_registered_later_and_tells_of_it_once(meta: Meta) -> None:
    mask = LiveMask(meta=meta)
    told: list[str] = []
    mask.on_change(lambda: told.append(mask.fingerprint))
    await mask.start()
    try:
        before = mask.fingerprint
        assert mask(CARD) == CARD
        await _register(meta, "saga.A", "card")
        await eventually(lambda: "card" in mask.names, what="the new name")
        await _register(meta, "saga.B", "Card")  # known already
        await _register(meta, "job.pay", "iban")
        await eventually(lambda: "iban" in mask.names, what="the job's name")
        assert len(told) == 2
        assert len({before, *told}) == 3
        assert b"4111" not in mask.document(b'{"state":%s}' % CARD)
        assert mask.text("no 4111-1111", CARD) == "no •••"
    finally:
        await mask.stop()


async def test_a_name_stays_secret_when_its_saga_is_gone(meta: Meta) -> None:
    await _register(meta, "saga.A", "card")
    mask = LiveMask(meta=meta)
    await mask.start()
    try:
        await meta.delete("saga.A")
        await _register(meta, "saga.B", "iban")
        await eventually(lambda: "iban" in mask.names, what="the new name")
        assert "card" in mask.names
    finally:
        await mask.stop()


async def test_a_card_that_can_not_be_read_is_told_and_stops_nothing(
    meta: Meta, caplog: pytest.LogCaptureFixture
) -> None:
    await meta.put("saga.Odd", b"{")
    mask = LiveMask(meta=meta)
    with caplog.at_level(logging.WARNING):
        await mask.start()
    try:
        assert "saga.Odd" in caplog.text
        await _register(meta, "saga.A", "card")
        await eventually(lambda: "card" in mask.names, what="the new name")
    finally:
        await mask.stop()


async def test_the_order_of_names_does_not_matter_for_the_fingerprint() -> None:
    assert LiveMask(["a", "b"]).fingerprint == LiveMask(["B", "A"]).fingerprint
    assert LiveMask(["a"]).fingerprint != LiveMask(["a", "b"]).fingerprint
