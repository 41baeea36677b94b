"""Looking at instances through the log port: now, over time, as they change, and in lists.

Promises that a history is checked while it is read: each revision must continue the one before it
(version, status, ``prev``), or IllegalTransition says which does not. Decides nothing, writes
nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from sagas.draft import GATE_SAGA
from sagas.errors import IllegalTransition
from sagas.instance import Instance, Status, decode, document_hash, evolve
from sagas.names import check_key
from store.archive.spanning import SpanningLog
from store.closing import closing
from store.codec import moment
from store.port import Log, Stored
from store.subjects import Names

LIST_MAX = 10_000


class Revision(Struct, frozen=True, kw_only=True):
    """One version of an instance as it is stored: its sequence in the log and the time (UTC).

    ``hash`` is what the next version carries as ``prev``.
    """

    seq: int
    at: datetime
    hash: str
    instance: Instance


class _Head(Struct, frozen=True):
    saga: str
    status: Status


_head = msgspec.json.Decoder(_Head)


def revision_of(stored: Stored) -> Revision:
    """The revision a stored message holds; raises IllegalTransition when it is none."""
    try:
        instance = decode(stored.data)
    except msgspec.DecodeError as error:
        raise IllegalTransition(
            f"revision {stored.seq} ({stored.subject}) can't be read: {error}; run `snorri doctor`"
        ) from error
    return Revision(
        seq=stored.seq,
        at=moment(stored.at_ns),
        hash=document_hash(stored.data),
        instance=instance,
    )


class HistoryElsewhere(IllegalTransition):
    """Versions of an instance are not in the log, and no archive at hand has them."""


class Lookup:
    """Reads instances; every method raises Unreachable when the broker does not answer."""

    def __init__(self, log: Log, names: Names) -> None:
        self._log = log
        self._names = names

    async def latest(self, saga: str, key: str) -> Revision | None:
        """The instance as the leader of the log holds it now, or None."""
        stored = await self._log.read(self._names.instance(saga, key))
        return None if stored is None else revision_of(stored)

    async def history(self, saga: str, key: str) -> AsyncIterator[Revision]:
        """All versions from the first; raises IllegalTransition where the chain is broken."""
        before: Revision | None = None
        async with closing(self._log.history(self._names.instance(saga, key))) as messages:
            async for stored in messages:
                revision = revision_of(stored)
                if before is None and revision.instance.version > 1:
                    raise HistoryElsewhere(
                        f"{saga}/{key}: the versions 1 to {revision.instance.version - 1} are not"
                        " in the log; if they were archived, name that folder with --archive"
                    )
                evolve(
                    before.instance if before else None,
                    before.hash if before else "",
                    revision.instance,
                )
                yield revision
                before = revision

    async def archived(self, saga: str, key: str) -> int:
        """The last version that is in the archive, as those before it are; 0 when none is, or
        none is at hand here.
        """
        if not isinstance(self._log, SpanningLog):
            return 0
        return await self._log.archived(self._names.instance(saga, key))

    async def revisions(self, saga: str, key: str, seqs: Sequence[int]) -> list[Revision]:
        """The versions stored under these sequences, which must follow one another; raises
        IllegalTransition where they don't, or where one is gone.
        """
        subject = self._names.instance(saga, key)
        found = await asyncio.gather(*(self._log.at("log", seq) for seq in seqs))
        revisions: list[Revision] = []
        for seq, stored in zip(seqs, found, strict=True):
            if stored is None:
                raise HistoryElsewhere(
                    f"{saga}/{key}: the version under the sequence {seq} is not in the log; if it"
                    " was archived, name that folder with --archive"
                )
            if stored.subject != subject:
                raise IllegalTransition(f"{saga}/{key} has no version under the sequence {seq}")
            revision = revision_of(stored)
            if revisions:
                evolve(revisions[-1].instance, revisions[-1].hash, revision.instance)
            revisions.append(revision)
        return revisions

    async def watch(
        self, saga: str | None = None, key: str | None = None, after: int | None = None
    ) -> AsyncIterator[Revision]:
        """Revisions as they are stored, without end: of all, of one saga, or of one instance.

        ``after`` resumes behind a sequence; None means only new ones.
        """
        if saga is not None and key is not None:
            subject = self._names.instance(saga, key)
        elif key is None:
            subject = self._names.instances(saga)
        else:
            raise ValueError("a key alone names no instance; give its saga as well")
        async with closing(self._log.watch(subject, after)) as messages:
            async for stored in messages:
                yield revision_of(stored)

    async def instances(
        self, saga: str | None = None, status: Status | None = None, limit: int = 100
    ) -> list[Revision]:
        """The instances changed last, newest first, at most ``limit`` (10,000).

        Our own instances (gates) are left out unless asked for by name. Reads every instance of the
        saga, so it is meant for lists of thousands, not of millions.
        """
        kept: dict[str, Stored] = {}
        async for stored in self._log.latest(self._names.instances(saga)):
            if saga is None and stored.subject.startswith(self._own):
                continue
            kept.pop(stored.subject, None)
            if status is None or _head.decode(stored.data).status == status:
                kept[stored.subject] = stored
                if len(kept) > min(limit, LIST_MAX):
                    del kept[next(iter(kept))]
        return [revision_of(stored) for stored in reversed(kept.values())]

    async def counts(self) -> Mapping[str, Mapping[Status, int]]:
        """How many instances each saga has in each status; sagas without any are missing."""
        found: dict[str, Counter[Status]] = {}
        async for stored in self._log.latest(self._names.instances()):
            if not stored.subject.startswith(self._own):
                head = _head.decode(stored.data)
                found.setdefault(head.saga, Counter())[head.status] += 1
        return found

    async def keys(self, saga: str) -> list[str]:
        """The keys of a saga's instances, those changed last first, at most 10,000."""
        kept: deque[str] = deque(maxlen=LIST_MAX)
        async for stored in self._log.latest(self._names.instances(saga)):
            kept.append(self._names.parse_instance(stored.subject)[1])
        return list(reversed(kept))

    async def all_keys(self, saga: str) -> AsyncIterator[str]:
        """The keys of all of a saga's instances, those changed longest ago first; one that changes
        meanwhile may come twice.
        """
        async with closing(self._log.latest(self._names.instances(saga))) as messages:
            async for stored in messages:
                yield self._names.parse_instance(stored.subject)[1]

    async def sagas_with(self, key: str) -> list[str]:
        """The sagas that have an instance of this key, our own left out; raises BadName."""
        check_key(key)
        found: list[str] = []
        async for stored in self._log.latest(self._names.instances(None, key)):
            if not stored.subject.startswith(self._own):
                found.append(self._names.parse_instance(stored.subject)[0])
        return sorted(found)

    @property
    def _own(self) -> str:
        return self._names.instances(GATE_SAGA).removesuffix("*")
