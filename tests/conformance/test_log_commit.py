"""Goal: a commit is whole or absent, and says which.

Method: commit batches that must hold and batches that must not, and read back what the log then
has.
"""

from __future__ import annotations

import asyncio

import pytest

from store.port import Backend, Busy, Committed, Conflict, Invalid, Outgoing
from tests.conformance.place import Place
from tests.conformance.samples import HOSTILE_KEYS, ROLLUP, data_of, listed, revision, stored

pytestmark = pytest.mark.asyncio


async def test_a_first_batch_has_the_sequences_from_one(place: Place, backend: Backend) -> None:
    batch = [revision(place.names, key, expect=0) for key in "abc"]
    assert await backend.log.commit(batch) == Committed(last=3, count=3)


async def test_sequences_of_a_batch_are_consecutive(place: Place, backend: Backend) -> None:
    first = await stored(backend, revision(place.names, "a"))
    last = await stored(backend, *(revision(place.names, key) for key in "bcde"))
    loaded = await backend.log.load([place.names.instance("S", key) for key in "bcde"])
    assert [message.seq for message in loaded.values()] == list(range(first + 1, last + 1))


async def test_one_message_alone_is_a_batch(place: Place, backend: Backend) -> None:
    assert await backend.log.commit([revision(place.names, "a", expect=0)]) == Committed(1, 1)


async def test_the_right_expectation_holds(place: Place, backend: Backend) -> None:
    first = await stored(backend, revision(place.names, "a", b"1", expect=0))
    second = await stored(backend, revision(place.names, "a", b"2", expect=first))
    assert second == first + 1


@pytest.mark.parametrize("expect", [0, 7])
async def test_a_wrong_expectation_is_a_conflict(
    place: Place, backend: Backend, expect: int
) -> None:
    await stored(backend, revision(place.names, "a"))
    outcome = await backend.log.commit([revision(place.names, "a", expect=expect)])
    assert isinstance(outcome, Conflict)


async def test_an_expectation_of_what_never_was_is_a_conflict(
    place: Place, backend: Backend
) -> None:
    outcome = await backend.log.commit([revision(place.names, "a", expect=3)])
    assert isinstance(outcome, Conflict)


async def test_a_conflict_stores_nothing_of_its_batch(place: Place, backend: Backend) -> None:
    names = place.names
    await stored(backend, revision(names, "a", b"1"))
    batch = [
        revision(names, "b", b"1", expect=0),
        Outgoing(names.command("pay", "b"), b"do it"),
        Outgoing(names.signal("T", "b"), b"hear it"),
        revision(names, "a", b"2", expect=0),
        Outgoing(names.command("pay", "c"), b"do it"),
    ]
    assert isinstance(await backend.log.commit(batch), Conflict)
    assert await stored(backend, revision(names, "a", b"3")) == 2
    left = [*await listed(backend.log.history(">")), *await listed(backend.log.history("$KV.>"))]
    assert {message.data for message in left} == {b"1", b"3"}


async def test_an_expectation_is_of_its_own_subject_only(place: Place, backend: Backend) -> None:
    names = place.names
    first = await stored(backend, revision(names, "a"))
    await stored(backend, revision(names, "b"), revision(names, "c"))
    await stored(backend, revision(names, "a", expect=first))


async def test_a_subject_may_stand_twice_in_a_batch(place: Place, backend: Backend) -> None:
    names = place.names
    last = await stored(
        backend, revision(names, "a", b"1", expect=0), revision(names, "b"), revision(names, "a")
    )
    found = await listed(backend.log.history(names.instance("S", "a")))
    assert [message.seq for message in found] == [1, last]


async def test_a_second_expectation_in_a_batch_is_a_conflict(
    place: Place, backend: Backend
) -> None:
    names = place.names
    batch = [revision(names, "a", expect=0), revision(names, "a", expect=1)]
    assert isinstance(await backend.log.commit(batch), Conflict)
    assert await backend.log.read(names.instance("S", "a")) is None


async def test_two_processes_with_one_expectation_have_one_winner(
    place: Place, backend: Backend
) -> None:
    other = await place.backend()
    batches = [[revision(place.names, "a", expect=0), revision(place.names, k)] for k in "bc"]
    outcomes = await asyncio.gather(backend.log.commit(batches[0]), other.log.commit(batches[1]))
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Committed", "Conflict"]


async def test_a_thousand_messages_are_one_batch(place: Place, backend: Backend) -> None:
    batch = [revision(place.names, f"k{number}") for number in range(1000)]
    assert await backend.log.commit(batch) == Committed(last=1000, count=1000)


@pytest.mark.parametrize("count", [0, 1001])
async def test_too_few_or_too_many_are_invalid(place: Place, backend: Backend, count: int) -> None:
    batch = [revision(place.names, f"k{number}") for number in range(count)]
    outcome = await backend.log.commit(batch)
    assert isinstance(outcome, Invalid)
    assert outcome.code == 10199
    assert await stored(backend, revision(place.names, "a")) == 1


@pytest.mark.parametrize("neighbours", [0, 2])
async def test_too_large_a_message_is_invalid(
    place: Place, backend: Backend, neighbours: int
) -> None:
    names = place.names
    large = revision(names, "large", b"x" * (backend.payload_max + 1))
    batch = [*(revision(names, f"k{number}") for number in range(neighbours)), large]
    outcome = await backend.log.commit(batch)
    assert isinstance(outcome, Invalid)
    assert outcome.code == 10054
    assert await stored(backend, revision(names, "a")) == 1


async def test_headers_count_towards_the_size(place: Place, backend: Backend) -> None:
    subject = place.names.instance("S", "a")
    message = Outgoing(subject, b"x" * (backend.payload_max - 100), (("Padding", "p" * 200),))
    assert isinstance(await backend.log.commit([message]), Invalid)


async def test_a_message_just_below_the_limit_is_stored(place: Place, backend: Backend) -> None:
    data = b"x" * (backend.payload_max - 500)
    await stored(backend, revision(place.names, "a", data), revision(place.names, "b", data))
    found = await backend.log.read(place.names.instance("S", "b"))
    assert found is not None
    assert len(found.data) == len(data)


@pytest.mark.parametrize("at", [0, 1])
async def test_a_subject_of_no_stream_is_never_committed(
    place: Place, backend: Backend, at: int
) -> None:
    batch = [revision(place.names, "a"), revision(place.names, "b")]
    batch.insert(at, Outgoing(f"{place.names.namespace}.elsewhere.a", b""))
    outcome = await place.result(backend.log.commit(batch))
    assert isinstance(outcome, Busy)  # a server without a leader answers the same
    assert await backend.log.load([message.subject for message in batch]) == {}


@pytest.mark.parametrize("token", ["*", ">", "", "a b", "a\tb", "a\r\nb"])
async def test_a_bad_subject_is_invalid(place: Place, backend: Backend, token: str) -> None:
    batch = [revision(place.names, "a"), Outgoing(f"$KV.{place.names.bucket}.i.S.{token}", b"")]
    assert isinstance(await backend.log.commit(batch), Invalid)
    assert await backend.log.read(place.names.instance("S", "a")) is None


async def test_a_line_break_in_a_header_is_invalid(place: Place, backend: Backend) -> None:
    message = Outgoing(place.names.instance("S", "a"), b"", (("Note", "one\r\nNats-Rollup: all"),))
    assert isinstance(await backend.log.commit([message]), Invalid)


async def test_a_rollup_leaves_only_the_last_of_its_subject(place: Place, backend: Backend) -> None:
    names = place.names
    position = names.position(0)
    for number in range(3):
        await stored(
            backend,
            revision(names, f"k{number}"),
            Outgoing(position, b"%d" % number, ROLLUP),
        )
    found = await listed(backend.log.history(f"$KV.{names.bucket}.>"))
    assert [message.seq for message in found] == [1, 3, 5, 6]
    assert data_of(await listed(backend.log.history(position))) == [b"2"]


async def test_a_rollup_may_carry_an_expectation(place: Place, backend: Backend) -> None:
    position = place.names.position(1)
    first = await stored(backend, Outgoing(position, b"1", ROLLUP, expect=0))
    second = await stored(backend, Outgoing(position, b"2", ROLLUP, expect=first))
    late = await backend.log.commit([Outgoing(position, b"3", ROLLUP, expect=first)])
    assert isinstance(late, Conflict)
    assert (await backend.log.load([position]))[position].seq == second


async def test_a_rollup_after_another_of_its_subject_is_invalid(
    place: Place, backend: Backend
) -> None:
    position = place.names.position(0)
    batch = [Outgoing(position, b"1"), Outgoing(position, b"2", ROLLUP)]
    outcome = await backend.log.commit(batch)
    assert isinstance(outcome, Invalid)
    assert outcome.code == 10111


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (("Nats-Rollup", "some"), 10111),
        (("Nats-TTL", "0.5"), 10165),
        (("Nats-TTL", "500ms"), 10165),
        (("Nats-Schedule", "@at noon"), 10189),
        (("Nats-Schedule-Next", "purge"), 10212),
    ],
)
async def test_a_bad_header_is_invalid(
    place: Place, backend: Backend, header: tuple[str, str], code: int
) -> None:
    names = place.names
    batch = [revision(names, "a"), Outgoing(names.timer("S", "a", "t"), b"", (header,))]
    outcome = await backend.log.commit(batch)
    assert isinstance(outcome, Invalid)
    assert outcome.code == code
    assert await backend.log.read(names.instance("S", "a")) is None


async def test_a_message_id_seen_before_spoils_the_batch(place: Place, backend: Backend) -> None:
    names = place.names
    await backend.door.publish(names.signal("T", "a"), b"", msg_id="once")
    again = Outgoing(names.signal("T", "b"), b"", (("Nats-Msg-Id", "once"),))
    outcome = await backend.log.commit([revision(names, "a"), again])
    assert isinstance(outcome, Invalid)
    assert outcome.code == 10201
    assert await backend.log.read(names.instance("S", "a")) is None


async def test_a_message_id_twice_in_a_batch_spoils_it(place: Place, backend: Backend) -> None:
    ids = (("Nats-Msg-Id", "twice"),)
    batch = [Outgoing(place.names.signal("T", key), b"", ids) for key in "ab"]
    outcome = await backend.log.commit(batch)
    assert isinstance(outcome, Invalid)
    assert outcome.code == 10201


@pytest.mark.parametrize("key", HOSTILE_KEYS)
async def test_a_hostile_key_names_its_own_instance_only(
    place: Place, backend: Backend, key: str
) -> None:
    names = place.names
    await stored(backend, revision(names, "bystander", b"before"), revision(names, "a", b"before"))
    await stored(backend, revision(names, key, b"mine", expect=0))
    found = await backend.log.read(names.instance("S", key))
    assert found is not None
    assert names.parse_instance(found.subject) == ("S", key)
    assert data_of(await listed(backend.log.history(names.instance("S", key)))) == [b"mine"]
    bystander = await backend.log.read(names.instance("S", "bystander"))
    assert bystander is not None
    assert bystander.data == b"before"


async def test_a_message_with_a_time_to_live_goes_after_it(place: Place, backend: Backend) -> None:
    names = place.names
    message = Outgoing(names.notes(0), b"note", (("Nats-TTL", "1"),))
    await stored(backend, message, revision(names, "a"))
    assert await backend.log.read(names.notes(0)) is not None

    async def gone() -> bool:
        return await backend.log.read(names.notes(0)) is None

    await place.until(gone)
    assert await stored(backend, revision(names, "b")) >= 3
