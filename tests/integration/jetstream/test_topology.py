"""Making and checking the streams: once made they are never changed, and a difference is readable.

Method: make an installation, alter what the server holds, and connect again in different ways.
"""

from __future__ import annotations

import asyncio

import pytest

from store.jetstream import JetStreamBackend, api, connect, topology
from store.jetstream.link import Link
from store.port import Committed, Outgoing, Refused, StoreError, TopologyDrift
from store.subjects import Names
from tests.conftest import NatsServer
from tests.integration.jetstream.conftest import Configured
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio


async def test_ten_processes_may_make_the_streams_at_once(
    nats_server: NatsServer, names: Names
) -> None:
    backends = await asyncio.gather(
        *(connect(nats_server.url, names, partitions=7) for _ in range(10))
    )
    assert {backend.partitions for backend in backends} == {7}
    for backend in backends:
        await backend.close()


async def test_another_number_of_partitions_is_refused_by_makers_and_found_by_others(
    backend: JetStreamBackend, nats_server: NatsServer, names: Names
) -> None:
    assert backend.partitions == 4
    with pytest.raises(TopologyDrift, match="SNORRI_PARTITIONS=4"):
        await connect(nats_server.url, names, partitions=8)
    looker = await connect(nats_server.url, names, partitions=8, make=False)
    assert looker.partitions == 4
    await looker.close()


async def test_without_make_nothing_is_made(
    nats_server: NatsServer, link: Link, names: Names
) -> None:
    with pytest.raises(StoreError, match="start an engine first"):
        await connect(nats_server.url, names, make=False)
    assert await topology.stream_config(link, names.log_stream) is None
    assert await topology.discover(link, names) is None


@pytest.mark.parametrize("partitions", [0, 65])
async def test_partitions_have_limits(
    nats_server: NatsServer, names: Names, partitions: int
) -> None:
    with pytest.raises(StoreError, match="choose 1 to 64"):
        await connect(nats_server.url, names, partitions=partitions)


async def test_drift_is_listed_field_by_field_and_not_mended(
    backend: JetStreamBackend, nats_server: NatsServer, link: Link, names: Names
) -> None:
    config = topology.log_config(names, 4, 1) | {
        "max_age": 3600 * 10**9,
        "duplicate_window": 60 * 10**9,
    }
    await api.ask(link, f"STREAM.UPDATE.{names.log_stream}", config)
    with pytest.raises(TopologyDrift) as drift:
        await connect(nats_server.url, names)
    assert "max_age: want 0, have 3600000000000" in str(drift.value)
    assert "duplicate_window: want 120000000000, have 60000000000" in str(drift.value)
    have = await topology.stream_config(link, names.log_stream)
    assert have is not None
    assert have["max_age"] == 3600 * 10**9


async def test_the_log_has_room_for_more_consumers_than_the_server_gives_by_itself(
    backend: JetStreamBackend, link: Link, names: Names
) -> None:
    have = await topology.stream_config(link, names.log_stream)
    assert have is not None
    assert have["max_consumers"] == topology.CONSUMERS_MAX


@pytest.mark.parametrize(("limit", "then"), [(-1, topology.CONSUMERS_MAX), (50_000, 50_000)])
async def test_whoever_makes_streams_gives_room_to_an_older_one_and_takes_none_away(
    backend: JetStreamBackend,
    nats_server: NatsServer,
    link: Link,
    names: Names,
    limit: int,
    then: int,
) -> None:
    config = topology.log_config(names, 4, 1) | {"max_consumers": limit}
    await api.ask(link, f"STREAM.UPDATE.{names.log_stream}", config)
    worker = await connect(nats_server.url, names, make=False)
    await worker.close()
    before = await topology.stream_config(link, names.log_stream)
    engine = await connect(nats_server.url, names)
    await engine.close()
    after = await topology.stream_config(link, names.log_stream)
    assert before is not None
    assert after is not None
    assert before["max_consumers"] == limit
    assert after == before | {"max_consumers": then}


async def test_a_stream_without_room_for_a_queue_says_who_makes_it(
    backend: JetStreamBackend, link: Link, names: Names
) -> None:
    config = topology.log_config(names, 4, 1) | {"max_consumers": 1}
    await api.ask(link, f"STREAM.UPDATE.{names.log_stream}", config)
    await backend.queues.open("first", ack_wait_s=30, in_flight_max=10)
    with pytest.raises(StoreError, match="has no room for another; start an engine"):
        await backend.queues.open("second", ack_wait_s=30, in_flight_max=10)


async def test_a_foreign_stream_of_the_same_name_is_refused(
    nats_server: NatsServer, link: Link, names: Names
) -> None:
    name = names.log_stream
    await api.ask(link, f"STREAM.CREATE.{name}", {"name": name, "subjects": [f"{name}.>"]})
    with pytest.raises(TopologyDrift, match="not made by Snorri"):
        await connect(nats_server.url, names)


async def test_too_many_replicas_say_why(nats_server: NatsServer, names: Names) -> None:
    with pytest.raises(StoreError, match="can't be made"):
        await connect(nats_server.url, names, replicas=3)


async def test_a_server_without_jetstream_is_refused(configured: Configured, names: Names) -> None:
    address = await configured("server_name: plain", jetstream="enabled: false")
    with pytest.raises(StoreError, match="without JetStream"):
        await connect(f"nats://{address}", names)


async def test_an_old_server_is_refused(
    link: Link, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(link.server_info, "version", "2.12.0")
    with pytest.raises(StoreError, match="too old"):
        await topology.ensure(link, names, 4, 1)


async def test_partitions_spread_keys_and_keep_them(
    backend: JetStreamBackend, names: Names
) -> None:
    for key in [f"k{n}" for n in range(40)] * 2:
        await backend.door.publish(names.event("T", key), b"")
    await backend.door.publish(names.event("T"), b"")
    homes: dict[str | None, set[int]] = {}
    for partition in range(4):
        for pattern in names.event_filters(partition):
            feed = await backend.feeds.open("events", [pattern], 0, lambda: None)
            reader = feed._reader
            await eventually(lambda r=reader: r.held >= r.backlog, what="the whole partition")
            for stored in feed.take(1000):
                homes.setdefault(names.parse_event(stored.subject)[1], set()).add(partition)
    assert len(homes) == 41
    assert all(len(partitions) == 1 for partitions in homes.values())
    assert homes[None] == {0}
    assert {min(partitions) for partitions in homes.values()} == {0, 1, 2, 3}


async def test_strangers_can_neither_erase_nor_reach_the_log(
    backend: JetStreamBackend, names: Names, link: Link
) -> None:
    await backend.door.publish(names.event("T", "a"), b"")
    with pytest.raises(Refused, match="10111"):
        await backend.door.publish(names.event("T", "a"), b"", {"Nats-Rollup": "all"})
    for room in ("STREAM.PURGE", "STREAM.MSG.DELETE"):
        with pytest.raises(api.ApiError):
            await api.ask(
                link, f"{room}.{names.events_stream}", {"seq": 1} if "MSG" in room else {}
            )
    for subject in ("x.y", f"{names.namespace}.events", f"{names.namespace}.events.a.b.c"):
        with pytest.raises(Refused):
            await backend.door.publish(subject, b"")


async def test_the_bucket_reads_like_any_kv_bucket(
    backend: JetStreamBackend, nats_server: NatsServer, names: Names
) -> None:
    import nats

    for version in (1, 2):
        one = Outgoing(names.instance("S", "o-1"), b"%d" % version)
        assert isinstance(await backend.log.commit([one]), Committed)
    client = await nats.connect(nats_server.url)
    bucket = await client.jetstream().key_value(names.bucket)
    entry = await bucket.get("i.S.o-1")
    assert (entry.value, entry.revision) == (b"2", 2)
    assert [past.value for past in await bucket.history("i.S.o-1")] == [b"1", b"2"]
    await client.close()
