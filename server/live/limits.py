"""How much the live view gives, and the problems of those who ask for more."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

from server.api.problems import Problem


class Limits(Struct, frozen=True, kw_only=True):
    """Bounds of the streams of one process; times in seconds.

    ``life_s`` is how long a stream lasts before the client has to come again, give or take a tenth,
    so that the streams of one deployment don't all end at once. ``write_s`` is how long one write
    may take before a client counts as gone, ``goodbye_s`` the same while the server stops.
    ``recheck_s`` is how long somebody may go on listening who has just lost the right to.
    """

    streams_max: int = 2000
    streams_of_address_max: int = 200
    heartbeat_s: float = 15.0
    recheck_s: float = 5.0
    write_s: float = 20.0
    life_s: float = 15 * 60.0
    goodbye_s: float = 1.0
    tick_s: float = 1.0


class Seats:
    """The places of streams: how many there are in all and of each address."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """Streams that are open."""
        return self._taken.total()

    @contextmanager
    def seat(self, address: str) -> Iterator[None]:
        """One place while a stream is open; raises Problem (503 in all, 429 of the address).

        Loopback has no limit of its own: behind it there is usually a proxy with many clients.
        """
        limits = self._limits
        if self.taken >= limits.streams_max:
            raise Problem(
                503,
                "streams-exhausted",
                "No more streams",
                f"{limits.streams_max} streams are open, as many as one process gives.",
                "Try again later, or ask another process of the API.",
                {"retryable": True},
                {"Retry-After": "30"},
            )
        if self._taken[address] >= limits.streams_of_address_max and not _is_loopback(address):
            raise Problem(
                429,
                "too-many-streams",
                "Too many streams from one address",
                f"{limits.streams_of_address_max} streams from {address} are open.",
                "Close some; one stream without a filter tells of all instances.",
                {"retryable": True},
                {"Retry-After": "30"},
            )
        self._taken[address] += 1
        try:
            yield
        finally:
            self._taken[address] -= 1
            if not self._taken[address]:
                del self._taken[address]


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:  # a Unix socket has none
        return True
