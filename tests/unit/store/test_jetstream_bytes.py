"""The protocol's bytes, without a server: what we write is what we read, however it is cut.

Goal: the parser gives the same messages for any cutting of the stream and never accepts nonsense;
the builders never let a break of line or a wildcard through. Method: hypothesis against a recorder.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError

from store.jetstream import wire
from store.jetstream.codes import KINDS, ServerError, kind_of, outcome_of
from store.jetstream.parser import LinkParser
from store.port import Busy, Conflict, Invalid, MessageTooLarge, Refused, Unknown

Messages = list[tuple[str, bytes, dict[str, str]]]

_tokens = st.text("abcXYZ019=_-", min_size=1, max_size=8)
_values = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), max_size=12).map(str.strip)
_messages = st.lists(
    st.tuples(
        st.lists(_tokens, min_size=1, max_size=4).map(".".join),
        st.binary(max_size=40),
        st.dictionaries(_tokens, _values, max_size=3),
    ),
    max_size=8,
)


def _incoming(sid: int, subject: str, data: bytes, headers: dict[str, str]) -> bytes:
    """What the server sends for a message of ours: HPUB and PUB turned round."""
    command = wire.message(subject, "re.ply", headers.items(), data, 1 << 20)
    return command.replace(b"PUB %b" % subject.encode(), b"MSG %b %d" % (subject.encode(), sid), 1)


def _read(chunks: list[bytes]) -> tuple[list[tuple[Any, ...]], list[tuple[bytes, str]]]:
    heard: list[tuple[Any, ...]] = []
    lines: list[tuple[bytes, str]] = []

    async def control(word: bytes, text: str) -> None:
        lines.append((word, text))

    async def run() -> None:
        parser = LinkParser(lambda sid, run: heard.extend((sid, *one) for one in run), control)
        for chunk in chunks:
            await parser.parse(chunk)

    asyncio.run(run())
    return heard, lines


@given(messages=_messages, cuts=st.lists(st.integers(1, 60), max_size=40))
def test_any_cutting_gives_the_same_messages(messages: Messages, cuts: list[int]) -> None:
    stream = b"".join(_incoming(7, *message) + b"PING\r\n" for message in messages)
    chunks, position = [], 0
    for cut in cuts:
        chunks.append(stream[position : position + cut])
        position += cut
    heard, lines = _read([*chunks, stream[position:]])
    assert [
        (subject.decode(), data, dict(wire.headers_of(head)) if head else {})
        for _, subject, _, head, data in heard
    ] == messages
    assert {(sid, reply) for sid, _, reply, _, _ in heard} <= {(7, b"re.ply")}
    assert lines == [(b"PING", "")] * len(messages)


def test_messages_come_in_runs_for_one_reader_each() -> None:
    runs: list[tuple[int, list[bytes]]] = []

    async def control(word: bytes, _: str) -> None:
        runs.append((0, [word]))

    async def run() -> None:
        parser = LinkParser(
            lambda sid, run: runs.append((sid, [data for *_, data in run])), control
        )
        sent = [(1, b"a"), (1, b"b"), (2, b"c"), (1, b"d")]
        stream = b"".join(b"MSG s %d 1\r\n%b\r\n" % one for one in sent)
        await parser.parse(stream + b"PING\r\n" + stream[:20])

    asyncio.run(run())
    assert runs == [(1, [b"a", b"b"]), (2, [b"c"]), (1, [b"d"]), (0, [b"PING"]), (1, [b"a"])]


def test_lines_that_are_no_messages_are_told_apart() -> None:
    text = b"+OK\r\nINFO {\"a\":1}\r\nPONG\r\n-ERR 'Permissions Violation'\r\nMSG s 1 2\r\nhi\r\n"
    heard, lines = _read([text])
    assert lines == [(b"INFO", '{"a":1}'), (b"PONG", ""), (b"-ERR", "'Permissions Violation'")]
    assert heard == [(1, b"s", b"", b"", b"hi")]


@pytest.mark.parametrize(
    "nonsense",
    [
        b"HELLO\r\n",
        b"MSG a b c\r\n",
        b"MSG a b 0\r\n\r\n",
        b"MSG\r\n",
        b"HMSG a 1 x 5\r\n",
        b"\r\n",
        b"y" * 1_100_000,
    ],
)
def test_nonsense_is_a_protocol_error(nonsense: bytes) -> None:
    with pytest.raises(ProtocolError):
        _read([nonsense])


@given(subject=st.text(max_size=12))
def test_a_subject_passes_only_when_it_can_do_no_harm(subject: str) -> None:
    try:
        wire.check_subject(subject)
    except Refused:
        return
    tokens = subject.split(".")
    assert all(tokens)
    assert not set(subject) & set("*> \t\r\n\x00")


@pytest.mark.parametrize("value", ["a\nb", "a\r", "\r\n"])
def test_a_header_can_not_break_its_line(value: str) -> None:
    with pytest.raises(Refused):
        wire.header_lines([("A", value)])


def test_sizes_count_headers() -> None:
    assert wire.message("a", "", (), b"x" * 100, 100)
    with pytest.raises(MessageTooLarge):
        wire.message("a", "", (), b"x" * 101, 100)
    with pytest.raises(MessageTooLarge):
        wire.message("a", "", (("A", "b"),), b"x" * 90, 100)


@pytest.mark.parametrize(
    "reply",
    [
        b"$JS.ACK.S.C.2.30.4.1700000000000000005.6",
        b"$JS.ACK.hub.AHASH.S.C.2.30.4.1700000000000000005.6",
        b"$JS.ACK._.AHASH.S.C.2.30.4.1700000000000000005.6.random",
    ],
)
def test_both_forms_of_ack_subjects_are_read(reply: bytes) -> None:
    assert wire.delivery_of(reply) == wire.Delivery(2, 30, 4, 1700000000000000005, 6)
    assert wire.place_of(reply) == (30, 4, 1700000000000000005, 6)


@pytest.mark.parametrize(
    "reply",
    [b"", b"_INBOX.x", b"$JS.ACK.S.C.a.b.c.d.e", b"$JS.ACK.S.C.2.30.4.1700000000000000005.6.reply"],
)
def test_other_subjects_are_no_delivery(reply: bytes) -> None:
    with pytest.raises(ValueError, match=r"reply|invalid literal"):
        wire.delivery_of(reply)
    with pytest.raises(ValueError, match=r"reply|invalid literal"):
        wire.place_of(reply)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("2026-11-21T03:15:37.282559001Z", 1_795_230_937_282_559_001),
    ],
)
def test_timestamps_keep_every_nanosecond(text: str, nanoseconds: int) -> None:
    assert wire.nanoseconds_of(text) == nanoseconds


def test_statuses_are_read_from_the_first_line() -> None:
    block = b"NATS/1.0 409 Consumer Deleted\r\nNats-Pending-Messages: 3\r\n\r\n"
    assert wire.status_of(block) == 409
    assert wire.description_of(block) == "Consumer Deleted"
    assert wire.headers_of(block) == {"Nats-Pending-Messages": "3"}
    assert wire.status_of(b"NATS/1.0\r\nA: b\r\n\r\n") == 0
    assert wire.status_of(b"") == 0


def test_each_code_has_the_outcome_of_its_kind() -> None:
    outcomes = {"conflict": Conflict, "busy": Busy, "unknown": Unknown, "invalid": Invalid}
    for code, kind in KINDS.items():
        assert isinstance(outcome_of(ServerError(400, code, "x")), outcomes[kind])
    assert kind_of(ServerError(400, 99999)) == "invalid"
    assert kind_of(ServerError(429, 99999)) == "unknown"
    assert kind_of(ServerError(503, 99999)) == "unknown"


def test_headers_of_a_message_are_a_mapping_read_when_asked_for() -> None:
    raw = b"NATS/1.0\r\nA: 1\r\nB:  two \r\nA: 3\r\n\r\n"
    block = wire.Block(raw)
    assert block == wire.headers_of(raw) == {"A": "3", "B": "two"}
    assert (block.get("B"), "C" in block, dict(block)) == ("two", False, {"A": "3", "B": "two"})
    assert not wire.Block(b"NATS/1.0\r\n\r\n")
