"""Goal: no message, however bad, stops the lane or touches an instance that is not its own.

Method: undecodable, oversized, misaddressed and hostile messages between good ones. Each of the bad
ones ends as a dead letter or a note with its reason, the good ones around it are handled.
"""

from __future__ import annotations

import msgspec
import pytest

from sagas.messages import Address, Cause
from store.client import SagaClient
from store.port import Outgoing
from tests.conformance.samples import HOSTILE_KEYS
from tests.unit.jobs.rig import Rig

pytestmark = pytest.mark.asyncio


async def _between_good_ones(rig: Rig, type: str, key: str | None, **message: object) -> None:
    """Publish a message between two good ones and see those handled."""
    await rig.lane()
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    await rig.drained()
    await rig.publish(type, key, **message)  # pyright: ignore[reportArgumentType]
    await rig.publish("Noted", key, {"order": "o-1", "n": 1})
    await rig.drained()
    assert rig.last("Order", "o-1").version == 2
    assert msgspec.json.decode(rig.last("Order", "o-1").state)["seen"] == [1]


BAD_BODIES = [
    b"",
    b"{",
    b"\xff\xfe",
    b'{"order":"o-2","amount":"\xff"}',
    b'{"order":"\xff"}',
    b'{"order":"o-2","amount":"many"}',
    b'{"order":"o-2"} and more',
    b'{"order":"\\ud800"}',
    b"[" * 5000,
    b'{"order":' + b"[" * 5000 + b"]" * 5000 + b"}",
    b"null",
    b'{"amount":1}',
    b'{"order":""}',
    b'{"order":true}',
    b'{"order":{"a":1}}',
    b'{"order":"' + b"x" * 201 + b'"}',
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=lambda body: repr(body[:24]))
async def test_a_body_that_does_not_fit_is_a_dead_letter(rig: Rig, body: bytes) -> None:
    await _between_good_ones(rig, "Placed", "o-1", payload=body)
    (letter,) = rig.letters()
    assert (letter.stream, letter.type, letter.saga) == ("events", "Placed", "Order")
    assert letter.reason
    assert rig.keys("Order") == {"o-1"}


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b'{"a":"\xff"}', b"[" * 5000, b""])
@pytest.mark.parametrize("type", ["Paid", "Snorri-Failed", "NobodyKnows"])
async def test_an_answer_with_a_bad_body_leaves_every_document_readable(
    rig: Rig, type: str, body: bytes
) -> None:
    await rig.lane()
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    await rig.drained()
    await rig.answer(type, rig.command_ids()[0], payload=body)
    await rig.publish("Noted", "o-1", {"order": "o-1", "n": 1})
    await rig.drained()
    for message in rig.broker.log.since(0, [rig.names.instance("Order", "o-1")]):
        msgspec.json.decode(message.data)  # whole, by a reader that knows nothing of us
    assert rig.last("Order", "o-1").version >= 2


async def test_a_payload_that_is_too_large_is_a_dead_letter(rig: Rig) -> None:
    body = {"order": "o-1", "n": "x" * 500_000}
    await _between_good_ones(rig, "Noted", "o-1", payload=body)
    (letter,) = rig.letters()
    assert "bytes" in letter.reason


async def test_a_type_no_saga_handles_is_a_note(rig: Rig) -> None:
    await _between_good_ones(rig, "Unheard.Of", "o-1", payload={}, id="x-1")
    (note,) = rig.notes()
    assert (note.code, note.type, note.id) == ("no_saga", "Unheard.Of", "x-1")


async def test_a_message_for_no_instance_is_a_dead_letter(rig: Rig) -> None:
    await _between_good_ones(rig, "Noted", "x", payload={"order": "nobody"})
    (letter,) = rig.letters()
    assert (letter.saga, letter.key) == ("Order", "nobody")


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("Order.o-1.1.7", ""),
        ("Order.o-1.99.0", "never sent"),
        ("Order.nobody.1.0", "does not exist"),
        ("Nosaga.k.1.0", "does not know"),
        ("nonsense", "no id of a command"),
        (f"{'S' * 6000}.k.1.0", ""),
        ("Order." + "k" * 6000 + ".1.0", ""),
        ("Order.=FF.1.0", "no id of a command"),
        ("Order..1.0", ""),
        ("Order.o-1.1." + "9" * 5000, ""),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
async def test_a_result_of_a_command_nobody_sent_changes_nothing(
    rig: Rig, command: str, why: str
) -> None:
    await _between_good_ones(rig, "Paid", "o-1", headers={"Snorri-Cause": command})
    told = [letter.reason for letter in rig.letters()] + [note.reason for note in rig.notes()]
    assert any(why in reason for reason in told), told
    assert rig.last("Order", "o-1").status == "running"
    for message in rig.broker.log.since(0, [rig.names.dead_letters()]):
        assert len(message.subject) < 1000


@pytest.mark.parametrize(
    "headers",
    [
        {"Snorri-Saga": "=FF"},
        {"Snorri-Saga": "S" * 6000},
        {"Snorri-Saga": "Nosaga"},
        {"traceparent": "00-not-a-trace-01"},
        {"traceparent": "x" * 3000},
        {"Nats-Msg-Id": "i" * 3000},
        {"Snorri-Dead-Letter": "x" * 3000},
    ],
    ids=str,
)
async def test_hostile_headers_stop_nothing(rig: Rig, headers: dict[str, str]) -> None:
    await _between_good_ones(rig, "Noticed", "o-1", payload={"order": "o-1"}, headers=headers)


async def test_a_trace_that_is_none_is_replaced(rig: Rig) -> None:
    await rig.lane()
    headers = {"traceparent": "é" * 55}
    await rig.publish("Placed", "o-1", {"order": "o-1"}, headers=headers)
    await rig.drained()
    assert rig.last("Order", "o-1").trace.startswith("00-")
    assert rig.commands()[0].headers["traceparent"].startswith("00-")


@pytest.mark.parametrize("key", HOSTILE_KEYS, ids=repr)
async def test_a_hostile_key_reaches_exactly_its_own_instance(rig: Rig, key: str) -> None:
    await rig.lane()
    for one in ("plain", key):
        await rig.publish("Placed", one, {"order": one})
        await rig.publish("Armed", one, {"order": one})
    await rig.drained()
    assert rig.keys("Order") == {"plain", key}
    (ours,) = [command for command in rig.command_ids("pay") if ".plain." not in command]
    await rig.answer("Paid", ours, key=key)
    await rig.broker.advance(60)
    await rig.drained()
    assert rig.last("Order", key).status == "completed"
    assert rig.last("Order", "plain").status == "running"
    assert msgspec.json.decode(rig.last("Order", "plain").state)["rang"] == 1


async def test_messages_for_a_finished_instance_are_notes(rig: Rig) -> None:
    await rig.lane()
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    await rig.drained()
    command = rig.command_ids()[0]
    await rig.answer("Paid", command, key="o-1")
    await rig.publish("Noted", "o-1", {"order": "o-1", "n": 1})
    await rig.answer("Paid", command, key="o-1")
    await rig.drained()
    assert rig.last("Order", "o-1").version == 2
    assert sorted(rig.note_codes()) == ["already_answered", "finished"]


@pytest.mark.parametrize(
    "document",
    [b"{", b"\xff", b"null", b'{"v":1}', b"[" * 5000],
    ids=repr,
)
async def test_a_document_that_cant_be_read_is_left_as_it_is(rig: Rig, document: bytes) -> None:
    await rig.write("Order", "o-2", document)
    await rig.lane()
    await rig.publish("Placed", "o-2", {"order": "o-2"})
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    await rig.drained()
    assert rig.last("Order", "o-1").version == 1
    (letter,) = rig.letters()
    assert "can't be read" in letter.reason
    stored = list(rig.broker.log.since(0, [rig.names.instance("Order", "o-2")]))
    assert [message.data for message in stored] == [document]


async def test_a_document_of_a_newer_schema_is_left_to_a_newer_program(rig: Rig) -> None:
    await rig.lane()
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    await rig.drained()
    for number in rig.lanes[0].partitions:
        await rig.lanes[0].release(number)
    document = {**msgspec.json.decode(msgspec.json.encode(rig.last("Order", "o-1"))), "v": 99}
    await rig.write("Order", "o-9", msgspec.json.encode({**document, "key": "o-9"}))
    await rig.lane()
    await rig.publish("Noted", "o-9", {"order": "o-9", "n": 1})
    await rig.drained()
    (letter,) = rig.letters()
    assert "newer Snorri" in letter.reason


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b'{"cause":1}', b'{"v":1,"to":["S"]}', b"[" * 5000],
    ids=repr,
)
async def test_a_signal_that_cant_be_read_is_a_dead_letter(rig: Rig, body: bytes) -> None:
    await rig.lane()
    await rig.outside.door.publish(rig.names.signal("operator", "o-1"), body)
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    await rig.drained()
    (letter,) = rig.letters()
    assert letter.stream == "log"
    assert rig.last("Order", "o-1").version == 1


async def test_signals_for_unknown_sagas_and_bad_keys_are_dead_letters(rig: Rig) -> None:
    await rig.lane()
    cause = Cause(kind="operator", type="pause", id="1", seq=0, at=rig.now(), by="Ola")
    await rig.signal(Address("Nosaga", "k"), cause)
    await rig.signal(Address("Order", "k" * 300), cause)
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    await rig.drained()
    letters = {letter.saga: letter for letter in rig.letters()}
    assert "no engine here knows" in letters["Nosaga"].reason
    assert "200" in letters["Order"].reason
    assert rig.last("Order", "o-1").version == 1


async def test_an_emitted_event_that_cant_be_published_is_a_dead_letter(rig: Rig) -> None:
    await rig.lane()
    body = b'{"cause":{"kind":"event","type":"T","id":"x","seq":0,"at":"2026-01-01T00:00:00Z"}}'
    await rig.outside.log.commit([Outgoing(rig.names.signal("event", "k"), body)])
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    await rig.drained()
    (letter,) = rig.letters()
    assert "key is empty" in letter.reason


async def test_thousands_that_concern_nobody_fit_into_commits(rig: Rig) -> None:
    reason_heavy = "T" * 90
    for n in range(3000):
        await rig.publish(reason_heavy, f"k-{n % 7}", b"", id=f"{n}-" + "i" * 200)
    await rig.publish("Placed", "o-1", {"order": "o-1"})
    await rig.lane()
    await rig.drained(20)
    assert len(rig.notes()) == 3000
    assert rig.last("Order", "o-1").version == 1
    sizes = [len(m.data) for m in rig.broker.log.since(0, [rig.names.notes_all()])]
    assert max(sizes) < 1_000_000
    assert rig.counts[0].conflicts == 0


async def test_a_redriven_dead_letter_is_handled_as_if_it_came_now(rig: Rig) -> None:
    await rig.lane()
    await rig.publish("Noted", "x", {"order": "late", "n": 7}, id="once")
    await rig.drained()
    (letter,) = rig.letters()
    await rig.publish("Placed", "late", {"order": "late"})
    await rig.drained()
    client = SagaClient(rig.outside, rig.names)
    reply = await client.redrive(letter.id, by="Ola", reason="it came too early")
    assert reply.done
    again = await client.redrive(letter.id, by="Ola")
    assert not again.done
    await rig.drained()
    assert msgspec.json.decode(rig.last("Order", "late").state)["seen"] == [7]
    assert await client.dead_letters() == []
