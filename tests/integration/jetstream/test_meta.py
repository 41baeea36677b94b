"""The meta bucket over expiry, markers and interruptions.

Goal: a lease can be taken, kept, lost and taken again, and a watcher learns of all of it, also of
what happened while it was cut off. Method: real TTLs of one second, a server killed meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from store.jetstream import JetStreamBackend, api
from store.jetstream import reader as reading
from store.jetstream.link import Link
from store.port import Entry, Refused
from store.subjects import Names
from tests.conftest import NatsServer
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

Seen = list[tuple[str, bytes | None]]


@pytest_asyncio.fixture
async def seen(backend: JetStreamBackend) -> AsyncIterator[Seen]:
    """What a watch of ``a.`` gives; its first entry, ``a.start``, is there from the start."""
    seen: Seen = []
    await backend.meta.put("a.start", b"")

    async def follow() -> None:
        async for entry in backend.meta.watch("a."):
            seen.append((entry.key, entry.data))

    task = asyncio.create_task(follow())
    await eventually(lambda: bool(seen), what="the watch")
    yield seen
    task.cancel()
    await asyncio.wait({task})


async def test_a_lease_is_kept_by_renewal_and_lost_without(
    backend: JetStreamBackend, seen: Seen
) -> None:
    meta = backend.meta
    revision = await meta.put("a.lease", b"one", ttl_s=1, expect=0)
    assert revision is not None
    end_s = asyncio.get_running_loop().time() + 2

    async def renewed_past_the_ttl() -> bool:
        nonlocal revision
        revision = await meta.put("a.lease", b"one", ttl_s=1, expect=revision)
        assert revision is not None
        return asyncio.get_running_loop().time() > end_s

    await eventually(renewed_past_the_ttl, what="two seconds of renewals")
    assert await meta.put("a.lease", b"two", ttl_s=1, expect=0) is None
    await eventually(lambda: seen[-1] == ("a.lease", None), what="the expiry")
    assert await meta.get("a.lease") is None
    assert await meta.put("a.lease", b"one", expect=revision) is None
    taken = await meta.put("a.lease", b"two", expect=0)
    assert taken is not None
    assert await meta.get("a.lease") == Entry("a.lease", b"two", taken)


async def test_delete_honours_expectations_and_frees_the_key(backend: JetStreamBackend) -> None:
    meta = backend.meta
    revision = await meta.put("a.x", b"1")
    assert revision is not None
    assert not await meta.delete("a.x", expect=revision + 1)
    assert await meta.delete("a.x", expect=revision)
    assert await meta.get("a.x") is None
    assert await meta.entries("a.") == []
    assert await meta.put("a.x", b"2", expect=0) is not None
    assert await meta.put("a.x", b"3", expect=0) is None


async def test_one_of_many_takes_a_free_lease(backend: JetStreamBackend) -> None:
    for _ in range(3):
        results = await asyncio.gather(
            *(backend.meta.put("a.lease", b"%d" % n, expect=0) for n in range(20))
        )
        assert len([result for result in results if result is not None]) == 1
        assert await backend.meta.delete("a.lease")


async def test_entries_are_live_and_of_the_prefix_only(backend: JetStreamBackend) -> None:
    for key in ("a.1", "a.2", "ab.3", "b.4", "a.5.6"):
        await backend.meta.put(key, key.encode())
    await backend.meta.delete("a.2")
    assert [entry.key for entry in await backend.meta.entries("a.")] == ["a.1", "a.5.6"]
    assert len(await backend.meta.entries("")) == 4
    assert await backend.meta.entries("none.") == []


@pytest.mark.chaos
async def test_a_watch_learns_what_it_missed(
    backend: JetStreamBackend, seen: Seen, names: Names, nats_server: NatsServer, link: Link
) -> None:
    for key in ("a.kept", "a.changed", "a.expired", "a.deleted"):
        await backend.meta.put(key, b"1", ttl_s=2 if key == "a.expired" else 0)
    await eventually(lambda: len(seen) == 5, what="the first values")
    await asyncio.to_thread(nats_server.kill)
    await asyncio.to_thread(nats_server.restart)
    await eventually(lambda: link.is_connected, what="the other's reconnect")
    # Whichever comes first, the watch's return or these: it must tell of each of them once.
    changed = await link.ask(f"$KV.{names.meta_bucket}.a.changed", b"2")
    deleted = await link.ask(f"$KV.{names.meta_bucket}.a.deleted", b"", (("KV-Operation", "DEL"),))
    assert api.ack_of(changed.data).error is None
    assert api.ack_of(deleted.data).error is None
    await eventually(lambda: len(seen) == 8, what="three changes")
    assert set(seen[5:]) == {("a.changed", b"2"), ("a.deleted", None), ("a.expired", None)}


async def test_a_watch_tells_of_keys_whose_markers_are_gone(
    backend: JetStreamBackend, seen: Seen, names: Names, monkeypatch: pytest.MonkeyPatch, link: Link
) -> None:
    await backend.meta.put("a.x", b"1")
    await eventually(lambda: len(seen) == 2, what="the first values")
    # Deaf while the key is purged without a trace, and then read again from the start.
    reader = next(
        listener.__self__ for listener in backend._link.reconnected if hasattr(listener, "__self__")
    )
    assert isinstance(reader, reading.Reader)
    backend._link._sink_by_sid[reader._sid] = lambda *_: None
    await api.ask(
        link, f"STREAM.PURGE.{names.meta_stream}", {"filter": f"$KV.{names.meta_bucket}.a.x"}
    )
    reader._break()
    await eventually(lambda: len(seen) == 3, what="the loss")
    assert seen[2] == ("a.x", None)


async def test_bad_keys_are_refused(backend: JetStreamBackend) -> None:
    for key in ("", "a..b", "a b", "a.*", ">"):
        with pytest.raises(Refused):
            await backend.meta.put(key, b"")
