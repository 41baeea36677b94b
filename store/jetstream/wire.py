"""Bytes of the NATS protocol, built and read without a connection.

Owns the wire grammar that we need and its limits. It promises that nothing which would make the
server close the connection (an oversized message, an overlong or malformed subject, a line break in
a header) leaves this module: it raises instead. It knows no stream, no error code and no event
loop.
"""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import ItemsView, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from msgspec import Struct, structs

from store.port import MessageTooLarge, Refused

SUBJECT_BYTES_MAX = 4000  # the server closes a connection whose control line is over 4096 bytes
SIZE_MARGIN = 4096  # kept free below max_payload for what the server adds to a message's headers

HEAD_OPEN = "NATS/1.0\r\n"
_SUBJECT = re.compile(r"[^\s.*>\x00-\x20\x7f]+(?:\.[^\s.*>\x00-\x20\x7f]+)*")
# The same for what is ASCII, as nearly all are, at half the cost.
_ASCII_SUBJECT = re.compile(r"[!-)+\-/-=?-~]++(?:\.[!-)+\-/-=?-~]++)*+")
_HEADER_NAME = re.compile(r"[!-9;-~]+")


class Delivery(Struct, frozen=True, gc=False):
    """What the reply subject of a consumer's delivery says; ``at_ns`` is the time of storing."""

    attempt: int
    seq: int
    consumer_seq: int
    at_ns: int
    pending: int


def check_subject(subject: str) -> str:
    """``subject`` itself when a message may be published to it; raises Refused.

    Wildcards are refused although the server takes them as literal tokens: stored once, such a
    subject would act as a wildcard in every later read or purge.
    """
    if _ASCII_SUBJECT.fullmatch(subject) is None and _SUBJECT.fullmatch(subject) is None:
        raise Refused(
            f"{subject!r} is no subject to publish to (an empty token, a space or a wildcard); "
            "escape keys and names with store.subjects"
        )
    if len(subject) * 4 > SUBJECT_BYTES_MAX and len(subject.encode()) > SUBJECT_BYTES_MAX:
        raise Refused(
            f"the subject has over {SUBJECT_BYTES_MAX} bytes; use a shorter key or its hash"
        )
    return subject


def header_lines(headers: Iterable[tuple[str, str]]) -> str:
    """``Name: value`` lines for a header block; raises Refused for a bad name or a line break."""
    each = [f"{_header_name(name)}: {value}\r\n" for name, value in headers]
    lines, count = "".join(each), len(each)
    if lines.count("\n") != count or lines.count("\r") != count:
        raise Refused("a header has a line break in its value; remove it")
    return lines


@lru_cache(maxsize=1024)
def _header_name(name: str) -> str:
    if _HEADER_NAME.fullmatch(name) is None:
        raise Refused(f"{name!r} is no name of a header; remove it")
    return name


def check_size(subject: str, size: int, size_max: int) -> None:
    """Raise MessageTooLarge when ``size`` bytes (headers and payload) are over ``size_max``."""
    if size > size_max:
        raise MessageTooLarge(
            f"a message to {subject} has {size} bytes with its headers, at most {size_max} are "
            "allowed; store large data elsewhere and send a reference, or raise max_payload"
        )


def pub(subject: str, reply: str, payload: bytes) -> bytes:
    """A PUB command: a message without headers. ``reply`` may be empty."""
    return f"PUB {subject} {reply} {len(payload)}\r\n".encode() + payload + b"\r\n"


def hpub(subject: str, reply: str, header_bytes: bytes, payload: bytes) -> bytes:
    """An HPUB command; ``header_bytes`` is a whole block with its version line and empty line."""
    size = len(header_bytes)
    line = f"HPUB {subject} {reply} {size} {size + len(payload)}\r\n".encode()
    return b"".join((line, header_bytes, payload, b"\r\n"))


def message(
    subject: str, reply: str, headers: Iterable[tuple[str, str]], payload: bytes, size_max: int
) -> bytes:
    """A checked PUB or HPUB command; raises Refused or MessageTooLarge and sends nothing."""
    check_subject(subject)
    lines = header_lines(headers)
    if not lines:
        check_size(subject, len(payload), size_max)
        return pub(subject, reply, payload)
    block = f"{HEAD_OPEN}{lines}\r\n".encode()
    check_size(subject, len(block) + len(payload), size_max)
    return hpub(subject, reply, block, payload)


def status_of(raw: bytes) -> int:
    """The status number of a header block's first line, or 0 when it has none."""
    return int(raw[9:12]) if raw[8:9] == b" " and raw[9:12].isdigit() else 0


def description_of(raw: bytes) -> str:
    """The words after the status number of a header block's first line."""
    return raw[13 : raw.find(b"\r\n")].decode("utf-8", "replace").strip()


class Block(Mapping[str, str]):
    """The headers of a block, read when they are first asked for: of most messages nobody does."""

    __slots__ = ("_raw", "_read")

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._read: dict[str, str] | None = None

    def _all(self) -> dict[str, str]:
        if self._read is None:
            self._read = headers_of(self._raw)
        return self._read

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    # What follows is there for speed only: a Mapping's own ways lead over an exception or a view.

    def __contains__(self, name: object) -> bool:
        return name in self._all()

    def get(self, name: str, default: Any = None, /) -> Any:
        return self._all().get(name, default)

    def items(self) -> ItemsView[str, str]:
        return self._all().items()

    def __repr__(self) -> str:
        return repr(self._all())


def headers_of(raw: bytes) -> dict[str, str]:
    """The headers of a block: names as written, of repeated ones the last; never raises."""
    headers: dict[str, str] = {}
    for line in raw.decode("utf-8", "replace").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name] = value.strip()
    return headers


def delivery_of(reply: bytes) -> Delivery:
    """Read ``$JS.ACK.…`` in its 9-token form and in the one with domain and account hash.

    Raises ValueError when ``reply`` is no such subject.
    """
    tokens = reply.split(b".")
    count = len(tokens)
    if count < 9 or count == 10 or tokens[1] != b"ACK":
        raise ValueError(f"{reply!r} is no reply subject of a JetStream delivery")
    if count > 9:
        tokens = tokens[2:11]
    return Delivery(int(tokens[4]), int(tokens[5]), int(tokens[6]), int(tokens[7]), int(tokens[8]))


def place_of(reply: bytes) -> tuple[int, int, int, int]:
    """The same without the attempt, at less cost: where a delivered message is, when it was stored
    and how many are to come.
    """
    tokens = reply.split(b".")
    if len(tokens) == 9 and tokens[1] == b"ACK":
        return int(tokens[5]), int(tokens[6]), int(tokens[7]), int(tokens[8])
    _, seq, consumer_seq, at_ns, pending = structs.astuple(delivery_of(reply))
    return seq, consumer_seq, at_ns, pending


@lru_cache(maxsize=1024)
def _seconds(text: str) -> int:
    date, _, time = text.partition("T")
    year, month, day = date.split("-")
    hour, minute, second = time.split(":")
    return timegm((int(year), int(month), int(day), int(hour), int(minute), int(second)))


def nanoseconds_of(timestamp: str) -> int:
    """Nanoseconds since 1970 of ``2026-01-31T12:00:00.123456789Z``; raises ValueError."""
    fraction = timestamp[19:].rstrip("Z").lstrip(".")
    return _seconds(timestamp[:19]) * 1_000_000_000 + int(fraction.ljust(9, "0") or 0)
