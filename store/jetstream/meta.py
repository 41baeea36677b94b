"""The meta bucket: put with expectation and TTL, get from the leader, list, watch.

Written with raw publishes, since KV clients can't combine an expectation with a TTL. Promises what
``store.port.Meta`` does; a deleted or expired key leaves a marker on the server, which is never
shown as a value and never stands in the way of a key that is created again.

A nats-server that is killed after some minutes may bring back keys whose time ran out long ago, and
keep them for good: it rebuilds a stream from its files, but reads the times of only the newest
messages. So whatever has outlived its own time counts as gone here. What time it is tell the
broker's own stamps, the newest that was seen: no clock of ours is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from store.jetstream import api, codes, wire
from store.jetstream.batch import EXPECT
from store.jetstream.link import Link
from store.jetstream.log import read_all
from store.jetstream.reader import Reader
from store.port import Entry, Refused, Stored, Unreachable
from store.subjects import Names

_TAKE_MAX = 1000
_TTL = "Nats-TTL"
_LATE_S = 1  # a server is this late with expiries when all is well


class JetStreamMeta:
    """``store.port.Meta`` on a KV bucket."""

    def __init__(self, link: Link, names: Names) -> None:
        self._link = link
        self._stream = names.meta_stream
        self._head = f"$KV.{names.meta_bucket}."
        self._newest_ns = 0  # the broker's clock has passed this

    async def put(
        self, key: str, data: bytes, *, ttl_s: int = 0, expect: int | None = None
    ) -> int | None:
        """Write a key; its new revision, or None when ``expect`` did not hold.

        Raises Unreachable (the outcome is unknown then), MessageTooLarge or Refused.
        """
        ttl = ((_TTL, f"{ttl_s}s"),) if ttl_s else ()
        return await self._write(key, data, ttl, expect)

    async def get(self, key: str) -> Entry | None:
        """The live value of a key, from the leader; raises Unreachable."""
        stored = await self._last(key)
        return None if stored is None or self._is_gone(stored) else self._entry(stored)

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        """Remove a key; False when ``expect`` did not hold. Raises Unreachable."""
        return await self._write(key, b"", (("KV-Operation", "DEL"),), expect) is not None

    async def entries(self, prefix: str) -> list[Entry]:
        """All live keys under a prefix of whole tokens, oldest write first; raises Unreachable."""
        found: dict[str, Stored] = {}
        subject = f"{self._head}{prefix}>"
        async for stored in read_all(self._link, self._stream, subject, "last_per_subject"):
            self._saw(stored)
            found.pop(stored.subject, None)
            found[stored.subject] = stored
        return [self._entry(stored) for stored in found.values() if not self._is_gone(stored)]

    async def watch(self, prefix: str) -> AsyncIterator[Entry]:
        """All live keys, then each change, without end; raises Unreachable only at the start.

        After an interruption the last values are read again and only differences are given, so an
        expiry whose marker has vanished meanwhile is seen too.
        """
        arrived = asyncio.Event()
        subject = f"{self._head}{prefix}>"
        reader = Reader(self._link, self._stream, [subject], "last_per_subject", arrived.set)
        await reader.open()
        known: dict[str, int] = {}  # live keys and the revisions that were given
        unlisted: set[str] = set()  # known keys that the present list has not named yet
        generation = left = 0
        listing = True
        try:
            while True:
                arrived.clear()
                if (
                    reader.generation != generation
                ):  # no await up to take: both are of one generation
                    generation, left, unlisted = reader.generation, reader.backlog, set(known)
                    listing = True
                batch = reader.take(_TAKE_MAX)
                for stored in batch:
                    self._saw(stored)
                for entry in map(self._entry, batch):
                    unlisted.discard(entry.key)
                    if entry.data is not None and known.get(entry.key) != entry.revision:
                        known[entry.key] = entry.revision
                        yield entry
                    elif entry.data is None and (known.pop(entry.key, 0) or not listing):
                        yield entry
                left -= len(batch)
                if (
                    listing
                    and reader.generation == generation
                    and (left <= 0 or (reader.pending == 0 and not reader.held))
                ):
                    listing = False
                    for key in unlisted:
                        yield Entry(key, None, known.pop(key))
                if not batch:
                    await arrived.wait()
        finally:
            await reader.close()

    async def _write(
        self, key: str, data: bytes, headers: tuple[tuple[str, str], ...], expect: int | None
    ) -> int | None:
        subject = self._subject(key)
        error = None
        for _ in range(2):
            pairs = headers if expect is None else ((EXPECT, str(expect)), *headers)
            since_s = asyncio.get_running_loop().time()
            try:
                reply = await self._link.ask(subject, data, pairs, self._link.write_timeout_s)
            except Unreachable:
                self._link.stuck(since_s)
                raise
            ack = api.ack_of(reply.data)
            error = ack.error
            if error is None:
                self._link.wrote()
                return ack.seq
            if codes.kind_of(error) == "busy":
                self._link.stuck(since_s)
            if codes.kind_of(error) != "conflict":
                break
            if expect != 0:
                return None
            # "None yet" also holds when the last message is a marker of a deletion or an expiry.
            marker = await self._last(key)
            if marker is None or not self._is_gone(marker):
                return None
            expect = marker.seq
        else:
            return None
        if codes.kind_of(error) == "invalid":
            raise Refused(f"the meta bucket refuses {key}: {error}; correct the value or its TTL")
        raise Unreachable(f"the meta bucket did not take {key}: {error}; try again")

    async def _last(self, key: str) -> Stored | None:
        stored = await api.last_message(self._link, self._stream, self._subject(key))
        if stored is not None:
            self._saw(stored)
        return stored

    def _subject(self, key: str) -> str:
        return wire.check_subject(f"{self._head}{key}")

    def _entry(self, stored: Stored) -> Entry:
        data = None if self._is_gone(stored) else stored.data
        return Entry(stored.subject[len(self._head) :], data, stored.seq)

    def _saw(self, stored: Stored) -> None:
        self._newest_ns = max(self._newest_ns, stored.at_ns)

    def _is_gone(self, stored: Stored) -> bool:
        """Whether a message is a marker of an end, or has outlived its own time."""
        return _is_marker(stored) or 0 < _end_ns(stored) < self._newest_ns


def _is_marker(stored: Stored) -> bool:
    """Whether a message is a marker: of an expiry, a purge or a deletion."""
    return (
        "Nats-Marker-Reason" in stored.headers or stored.headers.get("KV-Operation", "PUT") != "PUT"
    )


def _end_ns(stored: Stored) -> int:
    """By when a server has removed a message (nanoseconds since 1970), 0 for never."""
    ttl = stored.headers.get(_TTL, "").removesuffix("s")  # as ``put`` wrote it
    return stored.at_ns + (int(ttl) + _LATE_S) * 1_000_000_000 if ttl.isdecimal() else 0
