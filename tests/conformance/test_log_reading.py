"""Goal: what was committed is found again, the last, all of it, or as it comes, whatever holes
there are.

Method: commit known messages, then read them by each call of the log port and compare.
"""

from __future__ import annotations

import asyncio

import pytest

from store.port import Backend, Outgoing, Stored
from tests.conformance.place import Place
from tests.conformance.samples import ROLLUP, data_of, ended, listed, revision, stored

pytestmark = pytest.mark.asyncio


async def test_a_message_comes_back_as_it_was_sent(place: Place, backend: Backend) -> None:
    subject = place.names.instance("S", "a")
    headers = (("Snorri-Saga", "S"), ("traceparent", "00-äö-01"))
    await stored(backend, Outgoing(subject, b"\x00\xff\r\n", headers))
    found = await backend.log.read(subject)
    assert found is not None
    assert (found.subject, found.seq, found.data) == (subject, 1, b"\x00\xff\r\n")
    assert set(headers) <= set(found.headers.items())


async def test_the_time_of_storing_is_now(place: Place, backend: Backend) -> None:
    before_s = place.now().timestamp()
    await stored(backend, revision(place.names, "a"))
    found = await backend.log.read(place.names.instance("S", "a"))
    assert found is not None
    assert before_s - 1 <= found.at_ns / 1e9 <= place.now().timestamp() + 1


async def test_all_ways_of_reading_agree(place: Place, backend: Backend) -> None:
    subject = place.names.instance("S", "a")
    await stored(backend, revision(place.names, "a", b"1"), revision(place.names, "a", b"2"))
    read = await backend.log.read(subject)
    loaded = (await backend.log.load([subject]))[subject]
    latest = await listed(backend.log.latest(subject))
    history = await listed(backend.log.history(subject))
    assert read is not None

    def essence(message: Stored) -> tuple[str, int, int, bytes]:
        return message.subject, message.seq, message.at_ns, message.data

    assert {essence(message) for message in (loaded, latest[0], history[-1])} == {essence(read)}


async def test_an_absent_subject_is_none(place: Place, backend: Backend) -> None:
    assert await backend.log.read(place.names.instance("S", "nobody")) is None
    assert await backend.log.load([place.names.instance("S", "nobody")]) == {}
    assert await backend.log.load([]) == {}


async def test_loading_700_subjects_leaves_out_the_missing(place: Place, backend: Backend) -> None:
    names = place.names
    subjects = [names.instance("S", f"k{number}") for number in range(700)]
    for half in (b"old", b"new"):
        await stored(backend, *(Outgoing(subject, half) for subject in subjects[::2]))
    loaded = await backend.log.load(subjects)
    assert set(loaded) == set(subjects[::2])
    assert {message.data for message in loaded.values()} == {b"new"}
    assert all(subject == message.subject for subject, message in loaded.items())


async def test_the_leader_reads_every_write_at_once(place: Place, backend: Backend) -> None:
    other = await place.backend()
    subject = place.names.instance("S", "a")
    for number in range(20):
        seq = await stored(backend, revision(place.names, "a", b"%d" % number))
        found = await other.log.read(subject)
        assert found is not None
        assert found.seq == seq


async def test_a_history_is_in_order_and_of_its_subject(place: Place, backend: Backend) -> None:
    names = place.names
    for number in range(5):
        await stored(backend, revision(names, "a", b"%d" % number), revision(names, "b", b"other"))
    found = await listed(backend.log.history(names.instance("S", "a")))
    assert data_of(found) == [b"0", b"1", b"2", b"3", b"4"]
    assert [message.seq for message in found] == [1, 3, 5, 7, 9]


async def test_a_history_begins_after_a_sequence(place: Place, backend: Backend) -> None:
    names = place.names
    await stored(backend, *(revision(names, "a", b"%d" % number) for number in range(6)))
    assert data_of(await listed(backend.log.history(names.instance("S", "a"), 4))) == [b"4", b"5"]
    assert await listed(backend.log.history(names.instance("S", "a"), 6)) == []
    assert await listed(backend.log.history(names.instance("S", "a"), 600)) == []


async def test_a_history_of_nothing_ends(place: Place, backend: Backend) -> None:
    await stored(backend, revision(place.names, "a"))
    nobody = place.names.instance("S", "nobody")
    assert await place.result(listed(backend.log.history(nobody))) == []


async def test_a_history_with_wildcards_goes_over_holes(place: Place, backend: Backend) -> None:
    names = place.names
    for number in range(4):
        await stored(
            backend,
            Outgoing(names.position(0), b"", ROLLUP),
            revision(names, f"k{number}", b"%d" % number),
        )
    found = await listed(backend.log.history(names.instances("S")))
    assert data_of(found) == [b"0", b"1", b"2", b"3"]
    assert [message.seq for message in found] == [2, 4, 6, 8]


async def test_a_history_that_ends_in_a_hole_ends(place: Place, backend: Backend) -> None:
    names = place.names
    await stored(backend, revision(names, "a", b"1"), Outgoing(names.position(0), b"", ROLLUP))
    await stored(backend, Outgoing(names.position(0), b"", ROLLUP))
    found = await place.result(listed(backend.log.history(names.instance("S", "a"))))
    assert data_of(found) == [b"1"]


async def test_a_long_history_is_complete(place: Place, backend: Backend) -> None:
    names = place.names
    for start in range(0, 3000, 600):
        numbers = range(start, start + 600)
        await stored(backend, *(revision(names, "a", b"%d" % number) for number in numbers))
    found = await listed(backend.log.history(names.instance("S", "a")))
    assert data_of(found) == [b"%d" % number for number in range(3000)]


async def test_latest_is_the_last_of_each_subject_in_order(place: Place, backend: Backend) -> None:
    names = place.names
    for key in ("a", "b", "c", "a"):
        await stored(backend, revision(names, key, key.encode()))
    await stored(backend, Outgoing(names.instance("Other", "d"), b"d"))
    found = await listed(backend.log.latest(names.instances("S")))
    assert [(message.seq, message.data) for message in found] == [(2, b"b"), (3, b"c"), (4, b"a")]
    assert len(await listed(backend.log.latest(names.instances()))) == 4


async def test_latest_of_nothing_ends(place: Place, backend: Backend) -> None:
    assert await place.result(listed(backend.log.latest(place.names.instances("S")))) == []


async def test_a_watch_from_a_sequence_gives_old_and_new(place: Place, backend: Backend) -> None:
    names = place.names
    await stored(backend, *(revision(names, "a", b"%d" % number) for number in range(3)))
    messages = backend.log.watch(names.instances("S"), 1)
    found = [await place.result(anext(messages)) for _ in range(2)]
    await stored(backend, revision(names, "b", b"new"))
    found.append(await place.result(anext(messages)))
    await ended(messages)
    assert data_of(found) == [b"1", b"2", b"new"]


async def test_a_watch_of_the_new_leaves_out_the_old(place: Place, backend: Backend) -> None:
    names = place.names
    await stored(backend, revision(names, "a", b"old"))
    messages = backend.log.watch(names.instance("S", "a"))
    first = asyncio.ensure_future(anext(messages))
    sent = 0

    async def arrived() -> bool:
        nonlocal sent
        if not first.done():  # when the watch begins is not told, so write until it hears
            sent += 1
            await stored(backend, revision(names, "a", b"new"), revision(names, "b", b"other"))
        return first.done()

    await place.until(arrived)
    await ended(messages)
    assert first.result().data == b"new"


async def test_a_watch_hears_of_writes_of_other_processes(place: Place, backend: Backend) -> None:
    other = await place.backend()
    messages = backend.log.watch(place.names.instances(), 0)
    found: list[Stored] = []
    for number in range(5):
        await stored(other, revision(place.names, f"k{number}", b"%d" % number))
        found.append(await place.result(anext(messages)))
    await ended(messages)
    assert data_of(found) == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_watch_that_is_left_can_be_closed(place: Place, backend: Backend) -> None:
    messages = backend.log.watch(place.names.instances(), 0)
    waiting = asyncio.ensure_future(anext(messages))
    await place.pass_time(0.05)
    waiting.cancel()
    await asyncio.wait({waiting})
    await ended(messages)
    assert waiting.cancelled()
