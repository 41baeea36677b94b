"""Goal: the archive that a server is sent is what the server reads, and its checksums are CRC-32C.

Method: known checksums of RFC 3720; the archive is taken apart again by a reader written here from
the format's description, apart from the code that wrote it.
"""

from __future__ import annotations

import json
import random

import pytest

from store.backup.manifest import ConsumerPlace
from store.jetstream.crc32c import ROW_BYTES, crc32c
from store.jetstream.snapshot import CHUNK_BYTES, MAGIC, State, archive
from store.port import Stored


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (b"", 0x00000000),
        (b"a", 0xC1D04330),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_known_checksums(data: bytes, checksum: int) -> None:
    assert crc32c(data) == checksum


def test_rows_make_no_difference(seed: int) -> None:
    chance = random.Random(seed)
    for size in (ROW_BYTES - 1, ROW_BYTES, ROW_BYTES + 1, 10 * ROW_BYTES + 3, 5000):
        data = chance.randbytes(size)
        assert crc32c(data) == _bit_by_bit(data)


def _bit_by_bit(data: bytes) -> int:
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ (0x82F63B78 if remainder & 1 else 0)
    return remainder ^ 0xFFFFFFFF


def _unframed(framed: bytes) -> bytes:
    """What the frames hold, their checksums compared."""
    assert framed.startswith(b"\xff\x06\x00\x00S2sTwO")
    place, out = 10, b""
    while place < len(framed):
        assert framed[place] == 1
        size = int.from_bytes(framed[place + 1 : place + 4], "little")
        assert size - 4 <= CHUNK_BYTES
        masked = int.from_bytes(framed[place + 4 : place + 8], "little")
        part = framed[place + 8 : place + 4 + size]
        turned = (masked - 0xA282EAD8) & 0xFFFFFFFF
        assert (turned >> 17 | turned << 15) & 0xFFFFFFFF == crc32c(part)
        out += part
        place += 4 + size
    return out


class _Entries:
    def __init__(self, data: bytes) -> None:
        assert data.startswith(MAGIC)
        self._data, self._place = data, len(MAGIC)

    def _number(self) -> int:
        value = shift = 0
        while True:
            byte = self._data[self._place]
            self._place += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def _bytes(self, count: int) -> bytes:
        self._place += count
        return self._data[self._place - count : self._place]

    def next(self) -> tuple[str, int, int, bytes, bytes]:
        """Name, time, sequence, header block and body."""
        name, at, seq, header, body = (self._number() for _ in range(5))
        return (
            *(self._bytes(name).decode(), at // 2, seq),
            *(self._bytes(header), self._bytes(body)),
        )

    @property
    def at_end(self) -> bool:
        return self._place == len(self._data)


def test_an_archive_can_be_taken_apart() -> None:
    messages = [
        Stored(
            "saga.in.1.Ordered.o-1", 3, 1_795_276_888_443_676_339, b'{"a":1}', {"Nats-Msg-Id": "x"}
        ),
        Stored("$KV.SAGA.i.S.k", 300, 1_795_276_888_443_676_340, b""),
        Stored(
            "big", 2**40, 1_795_276_888_443_676_341, random.Random(1).randbytes(CHUNK_BYTES + 5)
        ),
    ]
    place = ConsumerPlace(name="job-a", config={"durable_name": "job-a"}, delivered=7, stream=250)
    state = State(first_seq=1, last_seq=2**40, consumer_count=1)
    entries = _Entries(_unframed(b"".join(archive(state, [place], messages))))
    assert json.loads(entries.next()[4])["last_seq"] == 2**40
    name, _, _, _, body = entries.next()
    assert name == "consumers/job-a"
    assert json.loads(body)["state"]["ack_floor"] == {"consumer_seq": 7, "stream_seq": 250}
    for stored in messages:
        name, at_ns, seq, header, body = entries.next()
        assert (name, at_ns, seq, body) == (stored.subject, stored.at_ns, stored.seq, stored.data)
        assert header == (b"NATS/1.0\r\nNats-Msg-Id: x\r\n\r\n" if stored.headers else b"")
    assert entries.next() == ("", 0, 0, b"", b"")
    assert entries.at_end
