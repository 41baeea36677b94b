"""The ports of the store: what the engine, the workers and the client may ask of a broker.

Two implementations keep these promises, ``store.jetstream`` on a NATS server and ``store.memory``
in one process; ``tests/conformance`` runs the same suite on both. Nothing here does I/O or knows a
client library.

The two streams are named by what they are for: the *door* takes events from anyone, the *log* holds
revisions, commands, signals, timers and positions and is written by the engine and the API only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Literal, Protocol, TypeAlias

from msgspec import Struct

StreamName: TypeAlias = Literal["events", "log"]
Headers: TypeAlias = Mapping[str, str]

BATCH_MESSAGES_MAX = 1000  # nats-server's limit for one atomic batch (ADR-50)
NO_HEADERS: Headers = {}


class StoreError(Exception):
    """Something asked of the broker could not be done; the message says what to do next."""


class Unreachable(StoreError):
    """No answer in time or the connection is gone; nothing is known of the outcome."""


class TopologyDrift(StoreError):
    """A stream or bucket exists with another configuration than ours; the message lists each
    difference.
    """


class MessageTooLarge(StoreError):
    """A message with its headers is over the broker's ``max_payload``; it was not sent."""


class Refused(StoreError):
    """The broker refused a single publish for a reason that repeating will not cure."""


class Denied(Refused):
    """The broker's permissions do not let this user do that; another user may."""


class Outgoing(Struct, frozen=True, gc=False):
    """One message of an atomic batch on the log.

    ``expect`` is the sequence that must be the last of ``subject`` (0: none yet), or None for no
    expectation. It may stand only on the first message for a subject within a batch.
    """

    subject: str
    payload: bytes
    headers: tuple[tuple[str, str], ...] = ()
    expect: int | None = None


class Stored(Struct, frozen=True, gc=False):
    """A message as the broker holds it: ``at_ns`` is its time of storing, nanoseconds since 1970,
    UTC.
    """

    subject: str
    seq: int
    at_ns: int
    data: bytes
    headers: Headers = NO_HEADERS


class Extent(Struct, frozen=True):
    """What a stream holds: the first and the last sequence that has a message (0: none), and when
    the stream was made (UTC), which tells it from another one of the same name.
    """

    first: int
    last: int
    created: datetime


# --- outcomes of a commit: a closed union, matched with assert_never


class Committed(Struct, frozen=True):
    """The whole batch is stored; its messages have the consecutive sequences ``last - count + 1 ..
    last``.
    """

    last: int
    count: int


class Conflict(Struct, frozen=True):
    """An expected sequence did not hold (10071, 10164); nothing is stored.

    Read again at the leader, decide again.
    """

    reason: str


class Busy(Struct, frozen=True):
    """The broker has no room for a batch now (10210 and the like); nothing is stored.

    Wait with jitter, repeat.
    """

    reason: str


class Unknown(Struct, frozen=True):
    """No answer: the batch may be stored now, later or never. Read a position back to know."""

    reason: str


class Invalid(Struct, frozen=True):
    """The batch itself is at fault (too many messages, bad header …); repeating it can't help.

    A bug of ours.
    """

    code: int
    reason: str


CommitOutcome: TypeAlias = Committed | Conflict | Busy | Unknown | Invalid


class Accepted(Struct, frozen=True):
    """An event or signal is stored under ``seq``; ``duplicate`` when the stream's window knew its
    id already.
    """

    seq: int
    duplicate: bool = False


# --- the ports


class Log(Protocol):
    """The log stream: revisions and all that is committed with them."""

    async def commit(self, batch: Sequence[Outgoing]) -> CommitOutcome:
        """Store all of ``batch`` (1 to 1000 messages) atomically, or none.

        Never raises for an outcome.
        """
        ...

    async def load(self, subjects: Sequence[str], upto: int | None = None) -> dict[str, Stored]:
        """The last message of each subject that has one; with ``upto`` the last that was stored
        under that sequence or a lower one.

        May be stale on a replica; raises Unreachable.
        """
        ...

    async def read(self, subject: str) -> Stored | None:
        """The last message of one subject, answered by the stream's leader; raises Unreachable."""
        ...

    async def at(self, stream: StreamName, seq: int) -> Stored | None:
        """One message of either stream by its sequence, from the leader; raises Unreachable."""
        ...

    async def extent(self, stream: StreamName) -> Extent:
        """What either stream holds now, from the leader; raises Unreachable."""
        ...

    def latest(self, subject: str) -> AsyncIterator[Stored]:
        """The last message of each subject that ``subject`` (with wildcards) matches, in the order
        stored, then end.
        """
        ...

    def history(self, subject: str, after: int = 0) -> AsyncIterator[Stored]:
        """All messages of a subject (wildcards allowed) with a sequence over ``after``, in order,
        then end.
        """
        ...

    def watch(self, subject: str, after: int | None = None) -> AsyncIterator[Stored]:
        """Messages of a subject as they arrive, without end; ``after`` None: only new ones, else
        from there on.
        """
        ...

    async def purge(self, subject: str, before: int) -> int:
        """Remove the messages of one subject (no wildcards) with a sequence under ``before`` for
        good, and tell how many there were; those after it stay. Raises Unreachable.
        """
        ...


class Door(Protocol):
    """Publishing what is no part of a transition: events, and signals of the API and the CLI."""

    async def publish(
        self, subject: str, payload: bytes, headers: Headers = NO_HEADERS, msg_id: str = ""
    ) -> Accepted:
        """Store one message; raises Unreachable (outcome unknown), MessageTooLarge or Refused."""
        ...

    async def publish_batch(self, batch: Sequence[Outgoing]) -> CommitOutcome:
        """Store many events in one atomic batch on the events stream (no message ids, no
        expectations).
        """
        ...


class Feed(Protocol):
    """Messages of one filter set in the order of the stream, without acks, from a given sequence
    on.

    Survives reconnects and broker restarts by itself: it goes on after the last message it handed
    out and never repeats or skips one.
    """

    def take(self, limit: int) -> list[Stored]:
        """Up to ``limit`` messages that have arrived; an empty list when there are none.

        Never waits.
        """
        ...

    @property
    def waiting(self) -> int:
        """Messages that are stored and not taken, as far as is known here."""
        ...

    async def close(self) -> None: ...


class Feeds(Protocol):
    """Opens feeds."""

    async def open(
        self, stream: StreamName, filters: Sequence[str], after: int, wake: Callable[[], None]
    ) -> Feed:
        """Read ``stream`` after sequence ``after``; ``wake`` is called (often, cheaply) when
        messages arrive.
        """
        ...


class Entry(Struct, frozen=True):
    """A value of the meta bucket; ``data`` is None when the key was deleted or its time ran out."""

    key: str
    data: bytes | None
    revision: int


class Meta(Protocol):
    """The small bucket beside the log: leases, heartbeats, registry. Never an authority."""

    async def put(
        self, key: str, data: bytes, *, ttl_s: int = 0, expect: int | None = None
    ) -> int | None:
        """Write a key; with ``expect`` only when its last revision is that (0: absent, deleted or
        expired).

        The new revision, or None when the expectation failed. ``ttl_s`` of 0 means for ever.
        """
        ...

    async def get(self, key: str) -> Entry | None:
        """The value now, from the leader; None when absent, deleted or expired."""
        ...

    async def delete(self, key: str, *, expect: int | None = None) -> bool: ...

    async def entries(self, prefix: str) -> list[Entry]:
        """All live keys that start with ``prefix`` (whole tokens, e.g. ``engine.``)."""
        ...

    def watch(self, prefix: str) -> AsyncIterator[Entry]:
        """First all live keys, then each change, expiry and deletion included, without end."""
        ...


class Work(Protocol):
    """One delivery of a command to a worker. Exactly one of ack, nak and term ends it."""

    subject: str
    data: bytes
    headers: Headers
    seq: int
    at_ns: int
    attempt: int  # 1 for the first delivery

    async def ack(self) -> None: ...

    async def nak(self, delay_s: float = 0.0) -> None: ...

    async def term(self) -> None: ...

    async def in_progress(self) -> None: ...


class WorkQueue(Protocol):
    """A durable pull consumer for one command target, shared by all workers of that target."""

    async def take(self, limit: int, wait_s: float) -> list[Work]:
        """Up to ``limit`` commands; waits up to ``wait_s`` for the first one only, and may return
        none.
        """
        ...

    async def close(self) -> None:
        """Stop asking; what was delivered but not taken goes back to the queue at once."""
        ...


class QueueState(Struct, frozen=True, kw_only=True):
    """How a target's queue stands now.

    ``waiting``: commands no worker was given yet; ``in_flight``: given and not ended, those that
    wait for another attempt included; ``asking``: requests of workers that stand for more.
    """

    waiting: int
    in_flight: int
    asking: int


class WorkQueues(Protocol):
    """Opens the queues of targets."""

    async def open(self, target: str, *, ack_wait_s: float, in_flight_max: int) -> WorkQueue:
        """Bind or make the durable consumer of ``target``; raises TopologyDrift when it differs
        from this.
        """
        ...

    async def state(self, target: str) -> QueueState | None:
        """How the queue of ``target`` stands; None when no worker has ever opened it.

        Raises Unreachable.
        """
        ...


class Backend(Protocol):
    """All ports of one broker, opened together."""

    @property
    def log(self) -> Log: ...

    @property
    def door(self) -> Door: ...

    @property
    def feeds(self) -> Feeds: ...

    @property
    def meta(self) -> Meta: ...

    @property
    def queues(self) -> WorkQueues: ...

    @property
    def payload_max(self) -> int:
        """Bytes of one message, headers included."""
        ...

    @property
    def partitions(self) -> int: ...

    @property
    def connected(self) -> bool:
        """Whether there is a connection at this moment."""
        ...

    @property
    def replicas(self) -> int:
        """How many copies of the log the broker keeps."""
        ...

    async def close(self) -> None: ...
