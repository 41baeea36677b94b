"""Goal: a wrong event is refused at once with a reason, and a right one becomes the right message.

Method: pure; each rule is tried from both sides.
"""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from sagas.names import BadName
from store.events import NewEvent, Refusal, split_id, to_outgoing
from store.subjects import Names

NAMES = Names()
SIZE_MAX = 1000


def test_an_event_becomes_a_message() -> None:
    event = NewEvent(
        type="OrderCreated",
        payload={"b": 1, "a": "ü"},
        key="a@b.com",
        id="id-1",
        headers={"traceparent": "00-aa-bb-01"},
    )
    message = to_outgoing(NAMES, event, SIZE_MAX)
    assert message.subject == "saga.events.OrderCreated.a=40b=2Ecom"
    assert message.payload == '{"a":"ü","b":1}'.encode()
    assert split_id(message) == ({"traceparent": "00-aa-bb-01"}, "id-1")


def test_without_a_key_the_subject_has_three_tokens() -> None:
    assert to_outgoing(NAMES, NewEvent(type="T"), SIZE_MAX).subject == "saga.events.T"


@pytest.mark.parametrize(("payload", "text"), [(b'{"a": 1}', b'{"a": 1}'), (Raw(b"[1]"), b"[1]")])
def test_json_text_is_sent_as_it_is(payload: object, text: bytes) -> None:
    assert to_outgoing(NAMES, NewEvent(type="T", payload=payload), SIZE_MAX).payload == text


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"type": ""}, "event type is empty"),
        ({"type": "T" * 101}, "101 bytes"),
        ({"type": "T\ud800"}, "Unicode"),
        ({"key": ""}, "key is empty"),
        ({"key": "k" * 201}, "201 bytes"),
        ({"payload": b"{"}, "not JSON"),
        ({"payload": b""}, "not JSON"),
        ({"payload": b"\xff"}, "not JSON"),
        ({"payload": b"[" * 100_000}, "not JSON"),
        ({"payload": object()}, "can't be written"),
        ({"payload": "x" * 1001}, "the broker takes 1000"),
        ({"id": ""}, "1 to 256 bytes"),
        ({"id": "x" * 257}, "1 to 256 bytes"),
        ({"id": "a\r\nNats-Rollup: all"}, "printable ASCII"),
        ({"id": " a"}, "spaces around"),
        ({"headers": {"Nats-Rollup": "all"}}, "no Nats-"),
        ({"headers": {"nats-msg-id": "x"}}, "argument of its own"),
        ({"headers": {"a:b": "x"}}, "can't be set"),
        ({"headers": {"": "x"}}, "can't be set"),
        ({"headers": {"X": "a\nb"}}, "printable ASCII"),
        ({"headers": {"X": "ü"}}, "printable ASCII"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], word: str) -> None:
    event = NewEvent(**{"type": "T", **changes})
    with pytest.raises(Refusal, match=word):
        to_outgoing(NAMES, event, SIZE_MAX)


@pytest.mark.parametrize("key", ["*", ">", "a.b", " ", "\x00", "💥", "k" * 200])
def test_any_key_is_one_token(key: str) -> None:
    subject = to_outgoing(NAMES, NewEvent(type="T", key=key), SIZE_MAX).subject
    assert subject.count(".") == 3
    assert not set("*> ") & set(subject)


@pytest.mark.parametrize(
    ("subject", "event"),
    [
        ("saga.in.3.T=2E.a=40b", ("T.", "a@b")),
        ("saga.events.T", ("T", None)),
        ("saga.events.T.>", ("T", ">")),
        ("saga.events.*.*", ("*", "*")),
    ],
)
def test_where_the_server_stores_an_event_tells_type_and_key(
    subject: str, event: tuple[str, str | None]
) -> None:
    assert NAMES.parse_event(subject) == event


@pytest.mark.parametrize("subject", ["saga.events.T.k.x", "saga.in.3.T", "saga.sig.0.T.k"])
def test_other_subjects_are_no_events(subject: str) -> None:
    with pytest.raises(BadName):
        NAMES.parse_event(subject)
