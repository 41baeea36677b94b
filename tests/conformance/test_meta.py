"""Goal: the meta bucket is a fit place for leases: writes with expectations, times to live,
watches.

Method: write, overwrite, delete and let expire small keys, alone and from two processes.
"""

from __future__ import annotations

import asyncio

import pytest

from store.port import Backend, Entry
from tests.conformance.place import Place
from tests.conformance.samples import ended

pytestmark = pytest.mark.asyncio


async def _gone(place: Place, backend: Backend, key: str) -> None:
    async def gone() -> bool:
        return await backend.meta.get(key) is None

    await place.until(gone)


async def test_what_was_put_is_got(backend: Backend) -> None:
    revision = await backend.meta.put("engine.a", b"1")
    assert revision is not None
    assert await backend.meta.get("engine.a") == Entry("engine.a", b"1", revision)


async def test_an_absent_key_is_none(backend: Backend) -> None:
    assert await backend.meta.get("engine.nobody") is None


async def test_the_last_value_counts_and_revisions_grow(backend: Backend) -> None:
    revisions = [await backend.meta.put("engine.a", data) for data in (b"1", b"2", b"3")]
    assert [revision for revision in revisions if revision] == revisions
    assert revisions == sorted(set(revisions), key=lambda revision: revision or 0)
    entry = await backend.meta.get("engine.a")
    assert entry is not None
    assert (entry.data, entry.revision) == (b"3", revisions[-1])


async def test_an_empty_value_is_a_value(backend: Backend) -> None:
    await backend.meta.put("engine.a", b"")
    entry = await backend.meta.get("engine.a")
    assert entry is not None
    assert entry.data == b""


async def test_expecting_nothing_holds_once(backend: Backend) -> None:
    assert await backend.meta.put("lease.0", b"mine", expect=0) is not None
    assert await backend.meta.put("lease.0", b"yours", expect=0) is None
    entry = await backend.meta.get("lease.0")
    assert entry is not None
    assert entry.data == b"mine"


async def test_expecting_a_revision_holds_while_it_is_the_last(backend: Backend) -> None:
    first = await backend.meta.put("lease.0", b"1", expect=0)
    second = await backend.meta.put("lease.0", b"2", expect=first)
    assert second is not None
    assert await backend.meta.put("lease.0", b"3", expect=first) is None


async def test_expectations_are_of_one_key(backend: Backend) -> None:
    first = await backend.meta.put("lease.0", b"1")
    await backend.meta.put("lease.1", b"1")
    assert await backend.meta.put("lease.0", b"2", expect=first) is not None


async def test_two_processes_want_one_lease(place: Place, backend: Backend) -> None:
    other = await place.backend()
    got = await asyncio.gather(
        backend.meta.put("lease.0", b"a", expect=0), other.meta.put("lease.0", b"b", expect=0)
    )
    assert sum(revision is not None for revision in got) == 1


async def test_a_deleted_key_is_absent(backend: Backend) -> None:
    await backend.meta.put("engine.a", b"1")
    assert await backend.meta.delete("engine.a")
    assert await backend.meta.get("engine.a") is None
    assert await backend.meta.entries("engine.") == []


async def test_expecting_nothing_holds_after_a_delete(backend: Backend) -> None:
    first = await backend.meta.put("lease.0", b"1", expect=0)
    await backend.meta.delete("lease.0")
    second = await backend.meta.put("lease.0", b"2", expect=0)
    assert first is not None
    assert second is not None
    assert second > first


async def test_the_old_revision_does_not_hold_after_a_delete(backend: Backend) -> None:
    first = await backend.meta.put("lease.0", b"1")
    await backend.meta.delete("lease.0")
    assert await backend.meta.put("lease.0", b"2", expect=first) is None


async def test_a_delete_may_expect_a_revision(backend: Backend) -> None:
    first = await backend.meta.put("lease.0", b"1")
    second = await backend.meta.put("lease.0", b"2")
    assert not await backend.meta.delete("lease.0", expect=first)
    assert await backend.meta.get("lease.0") is not None
    assert await backend.meta.delete("lease.0", expect=second)
    assert await backend.meta.get("lease.0") is None


async def test_a_key_expires(place: Place, backend: Backend) -> None:
    await backend.meta.put("lease.0", b"1", ttl_s=1)
    assert await backend.meta.get("lease.0") is not None
    await _gone(place, backend, "lease.0")
    assert await backend.meta.entries("lease.") == []


async def test_expecting_nothing_holds_after_expiry(place: Place, backend: Backend) -> None:
    first = await backend.meta.put("lease.0", b"1", ttl_s=1, expect=0)
    await _gone(place, backend, "lease.0")
    assert await backend.meta.put("lease.0", b"2", ttl_s=1, expect=first) is None
    assert await backend.meta.put("lease.0", b"3", ttl_s=1, expect=0) is not None
    assert await backend.meta.put("lease.0", b"4", expect=0) is None


async def test_a_renewed_key_lives_on(place: Place, backend: Backend) -> None:
    revision = await backend.meta.put("lease.0", b"1", ttl_s=1, expect=0)
    for _ in range(5):
        await place.pass_time(0.4)
        revision = await backend.meta.put("lease.0", b"1", ttl_s=1, expect=revision)
        assert revision is not None
    assert await backend.meta.get("lease.0") is not None


async def test_a_put_without_a_time_lasts(place: Place, backend: Backend) -> None:
    await backend.meta.put("job.a", b"1", ttl_s=1)
    await backend.meta.put("job.a", b"2")
    await backend.meta.put("job.b", b"1", ttl_s=1)
    await _gone(place, backend, "job.b")
    entry = await backend.meta.get("job.a")
    assert entry is not None
    assert entry.data == b"2"


async def test_entries_are_those_of_a_prefix(backend: Backend) -> None:
    for key in ("engine.a", "engine.b.c", "engines.d", "job.a"):
        await backend.meta.put(key, key.encode())
    found = await backend.meta.entries("engine.")
    assert {entry.key: entry.data for entry in found} == {
        "engine.a": b"engine.a",
        "engine.b.c": b"engine.b.c",
    }
    assert await backend.meta.entries("nothing.") == []


async def test_many_entries_are_all_found(backend: Backend) -> None:
    for number in range(120):
        await backend.meta.put(f"engine.e{number}", b"%d" % number)
    found = await backend.meta.entries("engine.")
    assert {entry.data for entry in found} == {b"%d" % number for number in range(120)}


async def test_a_watch_begins_with_all_live_keys(place: Place, backend: Backend) -> None:
    for key in ("engine.a", "engine.b", "engine.c", "job.a"):
        await backend.meta.put(key, b"1")
    await backend.meta.delete("engine.b")
    changes = backend.meta.watch("engine.")
    found = [await place.result(anext(changes)) for _ in range(2)]
    await ended(changes)
    assert {entry.key: entry.data for entry in found} == {"engine.a": b"1", "engine.c": b"1"}


async def test_a_watch_tells_of_changes_and_deletions(place: Place, backend: Backend) -> None:
    other = await place.backend()
    await backend.meta.put("engine.a", b"1")
    changes = backend.meta.watch("engine.")
    first = await place.result(anext(changes))
    await other.meta.put("job.a", b"elsewhere")
    revision = await other.meta.put("engine.b", b"2")
    second = await place.result(anext(changes))
    await other.meta.delete("engine.a")
    third = await place.result(anext(changes))
    await ended(changes)
    assert (first.key, first.data) == ("engine.a", b"1")
    assert (second.key, second.data, second.revision) == ("engine.b", b"2", revision)
    assert (third.key, third.data) == ("engine.a", None)
    assert third.revision > second.revision


async def test_a_watch_sees_an_expiry(place: Place, backend: Backend) -> None:
    await backend.meta.put("lease.0", b"1", ttl_s=1)
    changes = backend.meta.watch("lease.")
    first = await place.result(anext(changes))
    second = await place.result(anext(changes))
    await ended(changes)
    assert (first.key, first.data) == ("lease.0", b"1")
    assert (second.key, second.data) == ("lease.0", None)


async def test_a_watch_of_nothing_waits_for_the_first(place: Place, backend: Backend) -> None:
    changes = backend.meta.watch("lease.")
    first = asyncio.ensure_future(anext(changes))
    await place.pass_time(0.1)
    assert not first.done()
    await backend.meta.put("lease.0", b"1")
    entry = await place.result(first)
    await ended(changes)
    assert (entry.key, entry.data) == ("lease.0", b"1")
