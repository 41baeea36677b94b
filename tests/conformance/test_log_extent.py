"""Goal: what a stream holds is told truly, holes at its end included, and which stream it is.

Method: ask an empty stream, then after messages in each, then after the last one was rolled up.
"""

from __future__ import annotations

import pytest

from store.port import Backend, Outgoing
from tests.conformance.place import Place
from tests.conformance.samples import revision, stored

pytestmark = pytest.mark.asyncio


async def test_an_empty_stream_has_neither_first_nor_last(place: Place, backend: Backend) -> None:
    for stream in ("events", "log"):
        extent = await backend.log.extent(stream)
        assert (extent.first, extent.last) == (0, 0)
        assert abs((place.now() - extent.created).total_seconds()) < 60


async def test_each_stream_has_its_own(place: Place, backend: Backend) -> None:
    await stored(backend, revision(place.names, "a"), revision(place.names, "b"))
    await backend.door.publish(place.names.event("Thing", "k"), b"{}")
    log, events = await backend.log.extent("log"), await backend.log.extent("events")
    assert (log.first, log.last) == (1, 2)
    assert (events.first, events.last) == (1, 1)


async def test_the_time_of_making_stays_and_is_the_same_for_all(
    place: Place, backend: Backend
) -> None:
    before = await backend.log.extent("log")
    await stored(backend, revision(place.names, "a"))
    other = await place.backend()
    assert (await other.log.extent("log")).created == before.created


async def test_messages_that_are_gone_do_not_count(place: Place, backend: Backend) -> None:
    position, rollup = place.names.position(0), (("Nats-Rollup", "sub"),)
    await stored(backend, Outgoing(position, b"1", rollup), revision(place.names, "a"))
    await stored(backend, Outgoing(position, b"2", rollup))
    extent = await backend.log.extent("log")
    assert (extent.first, extent.last) == (2, 3)
