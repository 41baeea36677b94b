"""What a broker tells of itself: the streams, and whoever reads them with what is still to come."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from store.jetstream.backend import connect
from store.port import Outgoing
from store.subjects import Names
from tests.conftest import NatsServer

pytestmark = pytest.mark.asyncio
EVENTS = 3


async def test_streams_and_consumers_as_they_are(
    nats_server: NatsServer, fresh_names: Callable[[], Names]
) -> None:
    names = fresh_names()
    backend = await connect(nats_server.url, names)
    before = await backend.state()
    empty = {one.name: one for one in before.streams}
    assert set(empty) == {names.events_stream, names.log_stream, names.meta_stream}
    assert (empty[names.events_stream].messages, empty[names.events_stream].last_at) == (0, None)
    await backend.queues.open("pack-parcel", ack_wait_s=30.0, in_flight_max=10)
    for n in range(EVENTS):
        await backend.door.publish(names.event("Ordered", f"k-{n}"), b"{}")
    command = Outgoing(names.command("pack-parcel", "k-1"), b"{}")
    await backend.log.commit([command])
    after = await backend.state()
    events = next(one for one in after.streams if one.name == names.events_stream)
    assert (events.messages, events.first_seq, events.last_seq) == (EVENTS, 1, EVENTS)
    assert events.last_at is not None
    assert abs(datetime.now(UTC) - events.last_at) < timedelta(minutes=5)
    assert (events.storage, events.replicas, events.leader, events.behind) == ("file", 1, "", ())
    [consumer] = [one for one in after.consumers if one.durable]
    assert (consumer.stream, consumer.pending) == (names.log_stream, 1)
    assert after.store_bytes > before.store_bytes
    assert after.version
    await backend.close()
