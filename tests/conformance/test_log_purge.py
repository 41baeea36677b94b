"""Goal: removing the past of one subject removes that and nothing else.

Method: a subject with three messages between those of others whose names come near it. What stands
under the bound goes, what stands at it and behind stays, a second time removes nothing, and the log
goes on behind its last sequence.
"""

from __future__ import annotations

from contextlib import suppress

import pytest

from store.port import Backend, Refused
from tests.conformance.place import Place
from tests.conformance.samples import HOSTILE_KEYS, data_of, listed, revision, stored

pytestmark = pytest.mark.asyncio


async def test_what_is_under_the_bound_goes(place: Place, backend: Backend) -> None:
    names = place.names
    for data in (b"1", b"2", b"3"):
        await stored(backend, revision(names, "a", data), revision(names, "ab", data))
    assert await backend.log.purge(names.instance("S", "a"), 5) == 2
    assert data_of(await listed(backend.log.history(names.instance("S", "a")))) == [b"3"]
    assert len(await listed(backend.log.history(names.instance("S", "ab")))) == 3
    assert await backend.log.purge(names.instance("S", "a"), 5) == 0
    assert await backend.log.at("log", 1) is None
    assert await stored(backend, revision(names, "a", b"4", expect=5)) == 7


@pytest.mark.parametrize("before", [0, 1])
async def test_a_bound_before_everything_removes_nothing(
    place: Place, backend: Backend, before: int
) -> None:
    await stored(backend, revision(place.names, "a"), revision(place.names, "a"))
    assert await backend.log.purge(place.names.instance("S", "a"), before) == 0
    assert (await backend.log.extent("log")).last == 2


async def test_a_bound_behind_everything_removes_the_subject(
    place: Place, backend: Backend
) -> None:
    await stored(backend, revision(place.names, "a"), revision(place.names, "b"))
    assert await backend.log.purge(place.names.instance("S", "a"), 100) == 1
    assert await backend.log.read(place.names.instance("S", "a")) is None
    assert await backend.log.read(place.names.instance("S", "b")) is not None


async def test_hostile_keys_name_only_themselves(place: Place, backend: Backend) -> None:
    names = place.names
    await stored(backend, *(revision(names, key) for key in HOSTILE_KEYS))
    for count, key in enumerate(HOSTILE_KEYS, 1):
        assert await backend.log.purge(names.instance("S", key), 100) == 1, key
        left = await listed(backend.log.history(names.instances("S")))
        assert len(left) == len(HOSTILE_KEYS) - count, key


@pytest.mark.parametrize("subject", ["$KV.*.i.>", ">", ""])
async def test_wildcards_remove_nothing(place: Place, backend: Backend, subject: str) -> None:
    await stored(backend, revision(place.names, "a"), revision(place.names, "b"))
    with suppress(Refused):
        assert await backend.log.purge(subject, 100) == 0
    assert len(await listed(backend.log.history(place.names.instances("S")))) == 2
