"""The log, the door and the feeds of a memory backend: thin callers of a stream, each behind its
link.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing

from store.memory.admission import (
    CONFLICTS,
    NO_STREAM,
    PAYLOAD_BYTES_MAX,
    Refusal,
    admit,
    admit_one,
    wire_bytes,
)
from store.memory.faults import Late, Stale
from store.memory.link import Bell, Injected, Link, Tail
from store.memory.stream import MSG_ID, MemoryStream
from store.port import (
    NO_HEADERS,
    Accepted,
    Busy,
    CommitOutcome,
    Committed,
    Conflict,
    Extent,
    Headers,
    Invalid,
    MessageTooLarge,
    Outgoing,
    Refused,
    Stored,
    StreamName,
    Unknown,
    Unreachable,
)


def store_batch(stream: MemoryStream, batch: Sequence[Outgoing]) -> CommitOutcome:
    """Store a batch whole or not at all."""
    admitted = admit(stream, batch)
    if isinstance(admitted, Refusal):
        if admitted.code in CONFLICTS:
            return Conflict(f"{admitted.code} {admitted.reason}")
        if admitted.code == NO_STREAM:  # on a server no stream and no leader look the same
            return Busy(admitted.reason)
        return Invalid(admitted.code, admitted.reason)
    return Committed(stream.put(admitted), len(admitted))


async def _commit(
    link: Link, name: str, stream: MemoryStream, batch: Sequence[Outgoing]
) -> CommitOutcome:
    subjects = [message.subject for message in batch]
    try:
        return await link.call(name, subjects, lambda: store_batch(stream, batch))
    except Unreachable as error:
        return Unknown(str(error))
    except Injected as injected:
        return injected.outcome


async def follow(
    link: Link, stream: MemoryStream, filter: str, after: int
) -> AsyncGenerator[Stored, None]:
    """Messages as they arrive, until the link is closed; what arrives counts from the first step
    on.
    """
    bell = Bell()
    tail = Tail(link, stream, [filter], after, bell.ring)
    try:
        tail.pump()
        while not link.closed:
            if arrived := tail.take(1):
                yield arrived[0]
            else:
                await bell.wait()
    finally:
        tail.close()


class MemoryLog:
    """The log port on a memory stream; ``events`` is only read, by ``at``."""

    def __init__(self, link: Link, stream: MemoryStream, events: MemoryStream) -> None:
        self._link = link
        self._stream = stream
        self._events = events

    async def commit(self, batch: Sequence[Outgoing]) -> CommitOutcome:
        """See Log."""
        return await _commit(self._link, "log.commit", self._stream, batch)

    async def load(self, subjects: Sequence[str], upto: int | None = None) -> dict[str, Stored]:
        """See Log; a Stale fault shows an older state of the stream."""
        fault = await self._link.enter("log.load", subjects)
        behind = fault.behind if isinstance(fault, Stale) else 0

        def look() -> dict[str, Stored]:
            seq_max = self._stream.last_seq - behind
            seq_max = seq_max if upto is None else min(seq_max, upto)
            found = ((s, self._stream.last(s, seq_max)) for s in subjects)
            return {subject: message for subject, message in found if message is not None}

        return await self._link.finish(fault, look)

    async def read(self, subject: str) -> Stored | None:
        """See Log."""
        return await self._link.call("log.read", [subject], lambda: self._stream.last(subject))

    async def at(self, stream: StreamName, seq: int) -> Stored | None:
        """See Log."""
        source = self._stream if stream == "log" else self._events
        return await self._link.call("log.at", [], lambda: source.get(seq))

    async def extent(self, stream: StreamName) -> Extent:
        """See Log."""
        source = self._stream if stream == "log" else self._events
        return await self._link.call("log.extent", [], source.extent)

    async def latest(self, subject: str) -> AsyncIterator[Stored]:
        """See Log; ends with what was stored when the first message was asked for."""

        def look() -> list[Stored]:
            last = {message.subject: message for message in self._stream.since(0, [subject])}
            return sorted(last.values(), key=lambda message: message.seq)

        for message in await self._link.call("log.latest", [subject], look):
            yield message

    async def history(self, subject: str, after: int = 0) -> AsyncIterator[Stored]:
        """See Log; ends with what was stored when the first message was asked for."""
        found = await self._link.call(
            "log.history", [subject], lambda: list(self._stream.since(after, [subject]))
        )
        for message in found:
            yield message

    async def watch(self, subject: str, after: int | None = None) -> AsyncIterator[Stored]:
        """See Log; ends when the backend is closed."""
        await self._link.call("log.watch", [subject], lambda: None)
        start = self._stream.last_seq if after is None else after
        async with aclosing(follow(self._link, self._stream, subject, start)) as messages:
            async for message in messages:
                yield message

    async def purge(self, subject: str, before: int) -> int:
        """See Log."""
        return await self._link.call(
            "log.purge", [subject], lambda: self._stream.purge(subject, before)
        )


class MemoryDoor:
    """The door port: events to the events stream, what belongs to the log to the log."""

    def __init__(self, link: Link, events: MemoryStream, log: MemoryStream) -> None:
        self._link = link
        self._events = events
        self._log = log

    async def publish(
        self, subject: str, payload: bytes, headers: Headers = NO_HEADERS, msg_id: str = ""
    ) -> Accepted:
        """See Door."""
        sent = dict(headers)
        if msg_id:
            sent[MSG_ID] = msg_id
        size = wire_bytes(payload, sent)
        if size > PAYLOAD_BYTES_MAX:
            raise MessageTooLarge(
                f"the message has {size} bytes, at most {PAYLOAD_BYTES_MAX} are allowed;"
                " send a reference to the data"
            )
        message = Outgoing(subject, payload, tuple(sent.items()))
        return await self._link.call("door.publish", [subject], lambda: self._put(message))

    async def publish_batch(self, batch: Sequence[Outgoing]) -> CommitOutcome:
        """See Door."""
        return await _commit(self._link, "door.publish_batch", self._events, batch)

    def _put(self, message: Outgoing) -> Accepted:
        stream = self._log if self._log.rules.accepts(message.subject) else self._events
        msg_id = dict(message.headers).get(MSG_ID, "")
        if msg_id and (seq := stream.known_id(msg_id)) is not None:
            return Accepted(seq, duplicate=True)
        admitted = admit_one(stream, message)
        if isinstance(admitted, Refusal):
            raise Refused(f"{admitted.code} {admitted.reason}; correct the message")
        return Accepted(stream.put([admitted]))


class MemoryFeed:
    """The feed port on a tail."""

    def __init__(self, link: Link, tail: Tail, wake: Callable[[], None]) -> None:
        self._link = link
        self._tail = tail
        self._wake = wake

    def take(self, limit: int) -> list[Stored]:
        """See Feed; a Late fault gives nothing and wakes the reader later."""
        fault = self._link.decide("feeds.take")
        if isinstance(fault, Late):
            self._link.agenda.after(fault.delay_s, self._wake)
            return []
        return self._tail.take(limit)

    @property
    def waiting(self) -> int:
        """See Feed."""
        return self._tail.waiting

    async def close(self) -> None:
        """See Feed; a second call does nothing."""
        self._tail.close()


class MemoryFeeds:
    """The feeds port over both streams."""

    def __init__(self, link: Link, events: MemoryStream, log: MemoryStream) -> None:
        self._link = link
        self._streams: dict[StreamName, MemoryStream] = {"events": events, "log": log}

    async def open(
        self, stream: StreamName, filters: Sequence[str], after: int, wake: Callable[[], None]
    ) -> MemoryFeed:
        """See Feeds; raises Unreachable."""

        def start() -> MemoryFeed:
            tail = Tail(self._link, self._streams[stream], filters, after, wake)
            tail.pump()
            return MemoryFeed(self._link, tail, wake)

        return await self._link.call("feeds.open", filters, start)
