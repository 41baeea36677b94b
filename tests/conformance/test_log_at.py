"""Goal: a message is found by its sequence in either stream, and a hole is told from a message.

Method: store one message in each stream, then ask for it, for its neighbours and for nonsense.
"""

from __future__ import annotations

import pytest

from store.port import Backend
from tests.conformance.place import Place
from tests.conformance.samples import revision, stored

pytestmark = pytest.mark.asyncio


async def test_each_stream_has_its_own_sequences(place: Place, backend: Backend) -> None:
    await stored(backend, revision(place.names, "a", b"1"), revision(place.names, "a", b"2"))
    accepted = await backend.door.publish(
        place.names.event("Thing", "k"), b'{"n":1}', {"Snorri-Saga": "S"}, "id-1"
    )
    event = await backend.log.at("events", accepted.seq)
    second = await backend.log.at("log", 2)
    assert event is not None
    assert second is not None
    assert place.names.parse_event(event.subject) == ("Thing", "k")
    assert (event.data, event.headers["Nats-Msg-Id"]) == (b'{"n":1}', "id-1")
    assert event.headers["Snorri-Saga"] == "S"
    assert (second.seq, second.data) == (2, b"2")


@pytest.mark.parametrize("seq", [0, -1, 2, 10**12])
async def test_a_sequence_without_a_message_is_none(
    place: Place, backend: Backend, seq: int
) -> None:
    await stored(backend, revision(place.names, "a"))
    assert await backend.log.at("log", seq) is None
    assert await backend.log.at("events", 1) is None


async def test_the_last_messages_as_they_stood_at_a_sequence(
    place: Place, backend: Backend
) -> None:
    names = place.names
    a, b, c = (names.instance("S", key) for key in "abc")
    await stored(backend, revision(names, "a", b"1"), revision(names, "b", b"1"))  # 1, 2
    await stored(backend, revision(names, "a", b"2"), revision(names, "c", b"1"))  # 3, 4

    async def seen(*subjects: str, upto: int) -> dict[str, int]:
        found = await backend.log.load(subjects, upto)
        return {subject: message.seq for subject, message in found.items()}

    assert await seen(a, b, c, upto=2) == {a: 1, b: 2}
    assert await seen(a, upto=2) == {a: 1}
    assert await seen(a, b, c, upto=3) == {a: 3, b: 2}
    assert await seen(a, b, c, upto=100) == {a: 3, b: 2, c: 4}
    assert await seen(a, upto=0) == {}
