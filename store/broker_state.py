"""What a broker tells of itself: the server, the streams and who reads them. Plain facts."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct


class StreamState(Struct, frozen=True, kw_only=True):
    """A stream: sizes in bytes, times in UTC, ``leader`` empty without a cluster.

    ``behind`` are the replicas that are offline or have not caught up.
    """

    name: str
    messages: int
    size_bytes: int
    first_seq: int
    last_seq: int
    last_at: datetime | None
    subjects: int
    consumers: int
    storage: str
    age_max_s: float
    replicas: int
    leader: str
    behind: tuple[str, ...] = ()


class ConsumerState(Struct, frozen=True, kw_only=True):
    """Somebody who reads a stream: what is still to come, what is out and not yet acknowledged."""

    stream: str
    name: str
    filters: tuple[str, ...]
    durable: bool
    pending: int
    unacknowledged: int
    redelivered: int
    last_at: datetime | None


class BrokerState(Struct, frozen=True, kw_only=True):
    """The server this process talks to, and the account; ``store_bytes_max`` -1 is no limit.

    ``consumers`` are the first ones of each stream, those with most to come first.
    """

    version: str
    server: str
    cluster: str
    payload_max: int
    store_bytes: int
    store_bytes_max: int
    streams: tuple[StreamState, ...]
    consumers: tuple[ConsumerState, ...]
