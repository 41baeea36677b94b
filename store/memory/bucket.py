"""The meta port in memory: an ordinary key-value bucket, one message a key, on a stream of its own.

Deletions and expiries leave markers as they do on the server, so that watchers hear of them and
revisions never go back; a marker counts as an absent key.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from store.memory.admission import CONFLICTS, Refusal, admit_one
from store.memory.link import Link
from store.memory.ports import follow
from store.memory.stream import MARKER, MESSAGE_TTL, MemoryStream
from store.port import Entry, Outgoing, Refused, Stored

OPERATION = "KV-Operation"


class MemoryMeta:
    """The meta port on a memory stream with one message a key."""

    def __init__(self, link: Link, stream: MemoryStream, bucket: str) -> None:
        self._link = link
        self._stream = stream
        self._prefix = f"$KV.{bucket}."

    async def put(
        self, key: str, data: bytes, *, ttl_s: int = 0, expect: int | None = None
    ) -> int | None:
        """See Meta; raises Unreachable, or Refused for a key that can't be a subject."""
        headers = ((MESSAGE_TTL, str(ttl_s)),) if ttl_s else ()
        return await self._link.call(
            "meta.put", [key], lambda: self._write(key, data, headers, expect)
        )

    async def get(self, key: str) -> Entry | None:
        """See Meta."""
        return await self._link.call("meta.get", [key], lambda: self._live(key))

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        """See Meta; also true when there was nothing to delete."""
        headers = ((OPERATION, "DEL"),)
        revision = await self._link.call(
            "meta.delete", [key], lambda: self._write(key, b"", headers, expect)
        )
        return revision is not None

    async def entries(self, prefix: str) -> list[Entry]:
        """See Meta; sorted by key."""
        return await self._link.call("meta.entries", [prefix], lambda: self._all(prefix))

    async def watch(self, prefix: str) -> AsyncIterator[Entry]:
        """See Meta; ends when the backend is closed."""
        found = await self._link.call(
            "meta.watch", [prefix], lambda: (self._all(prefix), self._stream.last_seq)
        )
        live, last_seq = found
        for entry in live:
            yield entry
        changes = follow(self._link, self._stream, f"{self._prefix}>", last_seq)
        async with aclosing(changes):
            async for message in changes:
                entry = self._entry(message)
                if entry.key.startswith(prefix):
                    yield entry

    def _write(
        self, key: str, data: bytes, headers: tuple[tuple[str, str], ...], expect: int | None
    ) -> int | None:
        subject = f"{self._prefix}{key}"
        if expect == 0 and self._live(key) is None:
            last = self._stream.last(subject)
            expect = last.seq if last else 0
        admitted = admit_one(self._stream, Outgoing(subject, data, headers, expect))
        if not isinstance(admitted, Refusal):
            return self._stream.put([admitted])
        if admitted.code in CONFLICTS:
            return None
        raise Refused(f"{admitted.code} {admitted.reason}; correct the key or the value")

    def _live(self, key: str) -> Entry | None:
        last = self._stream.last(f"{self._prefix}{key}")
        entry = self._entry(last) if last else None
        return entry if entry and entry.data is not None else None

    def _all(self, prefix: str) -> list[Entry]:
        keys = (subject.removeprefix(self._prefix) for subject in self._stream.subjects())
        found = (self._live(key) for key in keys if key.startswith(prefix))
        return [entry for entry in found if entry is not None]

    def _entry(self, message: Stored) -> Entry:
        gone = OPERATION in message.headers or MARKER in message.headers
        key = message.subject.removeprefix(self._prefix)
        return Entry(key, None if gone else message.data, message.seq)
