"""The archive that nats-server 2.15 makes and takes as the snapshot of a stream, built here.

The server's restore is the only way to store a message under a sequence and a time of one's own,
and its archive lists messages, so it may be written from any source. An archive is its magic word,
then entries, each a head (lengths, time, sequence, name) and a body: the stream's state first, then
its consumers, its messages in order, and an empty entry as the end. All of it is wrapped in the
framing format of Snappy and S2, here in chunks that are not compressed. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct

from store.backup.manifest import ConsumerPlace
from store.jetstream import wire
from store.jetstream.crc32c import crc32c
from store.port import Stored

MAGIC = b"NATSARC1"
STREAM_IDENTIFIER = b"\xff\x06\x00\x00S2sTwO"
UNCOMPRESSED = b"\x01"
CHUNK_BYTES = 512 * 1024
CRC_MASK = 0xA282EAD8


class State(Struct, frozen=True, kw_only=True):
    """What the server is told of the stream beforehand; ``bytes`` is for its limits only."""

    first_seq: int
    last_seq: int
    messages: int = 0
    bytes: int = 0
    consumer_count: int = 0


def archive(
    state: State, consumers: Iterable[ConsumerPlace], messages: Iterable[Stored]
) -> Iterator[bytes]:
    """The framed archive in chunks; ``messages`` must be in the order of their sequences."""
    yield STREAM_IDENTIFIER
    held: list[bytes] = []
    size = 0
    for entry in _entries(state, consumers, messages):
        held.append(entry)
        size += len(entry)
        if size >= CHUNK_BYTES:
            yield from _frames(b"".join(held))
            held.clear()
            size = 0
    yield from _frames(b"".join(held))


def _entries(
    state: State, consumers: Iterable[ConsumerPlace], messages: Iterable[Stored]
) -> Iterator[bytes]:
    yield MAGIC
    yield _entry("state.json", body=msgspec.json.encode(state))
    for consumer in consumers:
        yield _entry(f"consumers/{consumer.name}", body=msgspec.json.encode(_consumer(consumer)))
    for stored in messages:
        yield _entry(
            stored.subject,
            at_ns=stored.at_ns,
            seq=stored.seq,
            header=_header_block(stored),
            body=stored.data,
        )
    yield _entry("")


def _consumer(consumer: ConsumerPlace) -> dict[str, object]:
    place = {"consumer_seq": consumer.delivered, "stream_seq": consumer.stream}
    return {"config": consumer.config, "state": {"delivered": place, "ack_floor": place}}


def _entry(
    name: str, *, at_ns: int = 0, seq: int = 0, header: bytes = b"", body: bytes = b""
) -> bytes:
    encoded = name.encode("utf-8", "surrogateescape")
    head = (len(encoded), at_ns << 1, seq, len(header), len(body))  # the time is zigzag-coded
    return b"".join((*map(_varint, head), encoded, header, body))


def _header_block(stored: Stored) -> bytes:
    if not stored.headers:
        return b""
    lines = "".join(f"{name}: {value}\r\n" for name, value in stored.headers.items())
    return f"{wire.HEAD_OPEN}{lines}\r\n".encode("utf-8", "surrogateescape")


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _frames(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), CHUNK_BYTES):
        part = data[start : start + CHUNK_BYTES]
        checksum = crc32c(part)
        masked = ((checksum >> 15 | checksum << 17) + CRC_MASK) & 0xFFFFFFFF
        yield b"".join(
            (
                UNCOMPRESSED,
                (len(part) + 4).to_bytes(3, "little"),
                masked.to_bytes(4, "little"),
                part,
            )
        )
