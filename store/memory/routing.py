"""Subjects on the server's side: which filter takes which subject, and under which partition it is
stored.

The partition is the one that nats-server computes for ``{{partition(P,2)}}``: FNV-1a with 32 bits
over the bytes of the ordering key's token, modulo P. So a test on memory sees the partitions of
production.
"""

from __future__ import annotations

import re
from functools import lru_cache

from msgspec import Struct

_FNV_BASIS = 0x811C9DC5
_FNV_PRIME = 0x01000193
_PART = r"[^\s.*>\x00-\x20\x7f]+"
_PUBLISHABLE = re.compile(rf"{_PART}(?:\.{_PART})*")


def fnv1a(data: bytes) -> int:
    """The FNV-1a hash of ``data``, 32 bits."""
    value = _FNV_BASIS
    for byte in data:
        value = ((value ^ byte) * _FNV_PRIME) & 0xFFFFFFFF
    return value


def partition_of(token: str, partitions: int) -> int:
    """The partition, 0 to ``partitions - 1``, of an ordering key's (escaped) token."""
    return fnv1a(token.encode()) % partitions


@lru_cache(maxsize=4096)
def _tokens(subject: str) -> tuple[str, ...]:
    return tuple(subject.split("."))


def matches(filter: str, subject: str) -> bool:
    """Whether ``filter`` (with ``*`` and a last ``>``) takes ``subject``."""
    if filter == subject:
        return True
    if "*" not in filter and filter.endswith(".>"):
        return subject.startswith(filter[:-1]) and len(subject) >= len(filter)
    wanted = _tokens(filter)
    got = subject.split(".")
    if wanted[-1] == ">":
        wanted = wanted[:-1]
        if len(got) <= len(wanted):
            return False
    elif len(got) != len(wanted):
        return False
    return all(token in ("*", mine) for token, mine in zip(wanted, got, strict=False))


def publishable(subject: str) -> bool:
    """Whether a message may be sent there: no empty token, space, control byte or wildcard."""
    return _PUBLISHABLE.fullmatch(subject) is not None


class Transform(Struct, frozen=True):
    """Stores ``<source>.<a>.<b>`` as ``<target>.<partition of b>.<a>.<b>`` and leaves other
    subjects alone.
    """

    source: str
    target: str
    partitions: int

    def apply(self, subject: str) -> str:
        """The subject under which a message published on ``subject`` is stored."""
        prefix = f"{self.source}."
        if not subject.startswith(prefix):
            return subject
        tail = subject[len(prefix) :].split(".")
        if len(tail) != 2:
            return subject
        return f"{self.target}.{partition_of(tail[1], self.partitions)}.{tail[0]}.{tail[1]}"
