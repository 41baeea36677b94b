"""The log on JetStream: commit, the last message of many subjects or of one, history, watch.

Promises what ``store.port.Log`` does. ``load`` asks any replica (fast, a moment stale at worst
after a change of leader) and ``read`` the leader; what was committed is seen by both on one node.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from store.jetstream import api, codes, wire
from store.jetstream.batch import BatchPublisher
from store.jetstream.link import REQUEST_TIMEOUT_S, Link, NoResponders, Reply, Waiter
from store.jetstream.reader import Reader, Start
from store.port import (
    CommitOutcome,
    Denied,
    Extent,
    Outgoing,
    Stored,
    StoreError,
    StreamName,
    Unreachable,
)
from store.subjects import Names

LOAD_SUBJECTS_MAX = 1000  # of one request; the server refuses over 1024 results
LOAD_BYTES_MAX = 256 * 1024  # subjects of one request
DIRECT_S = 2.0  # for the answer of any replica of a cluster
LEADER_ONLY_S = 15.0
LEADER_READS_MAX = 64
STALL_S = 30.0  # a history that makes no progress for so long has lost its broker
RETRY_S = 0.25
QUIET_S = 4.0  # without a message: what was to come may have been removed meanwhile

_OWN_HEADERS = (
    "Nats-Stream",
    "Nats-Subject",
    "Nats-Sequence",
    "Nats-Time-Stamp",
    "Nats-Num-Pending",
    "Nats-Last-Sequence",
)


class JetStreamLog:
    """``store.port.Log`` on one stream."""

    def __init__(self, link: Link, names: Names) -> None:
        self._link = link
        self._stream = names.log_stream
        self._events_stream = names.events_stream
        self._batches = BatchPublisher(link)
        self._leader_until_s = 0.0  # until then replicas are not asked

    async def commit(self, batch: Sequence[Outgoing]) -> CommitOutcome:
        """Store all of ``batch`` atomically, or none; never raises for an outcome."""
        return await self._batches.publish(batch)

    async def load(self, subjects: Sequence[str], upto: int | None = None) -> dict[str, Stored]:
        """The last message of each subject that has one, up to a sequence; raises Unreachable."""
        for subject in subjects:
            wire.check_subject(subject)
        if upto is not None and upto < 1:
            return {}
        if len(subjects) == 1 and upto is None:
            return await self._load_one(subjects[0])
        found: dict[str, Stored] = {}
        chunks = list(_chunks(subjects))
        for part in await asyncio.gather(*(self._load_chunk(chunk, upto) for chunk in chunks)):
            found.update(part)
        if not found and subjects and upto is not None:
            # The server has no answer for a sequence beyond its last one.
            latest = await self.load(subjects)
            found = {name: stored for name, stored in latest.items() if stored.seq <= upto}
        return found

    async def read(self, subject: str) -> Stored | None:
        """The last message of ``subject`` from the stream's leader; raises Unreachable."""
        return await api.last_message(self._link, self._stream, wire.check_subject(subject))

    async def at(self, stream: StreamName, seq: int) -> Stored | None:
        """One message of either stream from its leader; raises Unreachable."""
        name = self._stream if stream == "log" else self._events_stream
        return await api.message_at(self._link, name, seq) if seq > 0 else None

    async def extent(self, stream: StreamName) -> Extent:
        """What either stream holds now, from its leader; raises Unreachable."""
        name = self._stream if stream == "log" else self._events_stream
        info = await api.ask(self._link, f"STREAM.INFO.{name}")
        # The state counts messages that were removed since, so the last one there is asked for.
        last = await api.last_message(self._link, name, ">")
        first = int(info["state"]["first_seq"]) if last is not None else 0
        created = msgspec.convert(info["created"], datetime)
        return Extent(first, last.seq if last is not None else 0, created)

    async def latest(self, subject: str) -> AsyncIterator[Stored]:
        """The last message of each subject that matches, in the order stored, then end.

        A subject that changes meanwhile may come again, newer. Raises Unreachable.
        """
        async for stored in read_all(self._link, self._stream, subject, "last_per_subject"):
            yield stored

    async def history(self, subject: str, after: int = 0) -> AsyncIterator[Stored]:
        """All messages of ``subject`` after a sequence, in order, then end; raises Unreachable."""
        async for stored in read_all(self._link, self._stream, subject, after):
            yield stored

    async def watch(self, subject: str, after: int | None = None) -> AsyncIterator[Stored]:
        """Messages of ``subject`` as they are stored, without end."""
        arrived = asyncio.Event()
        start: Start = "new" if after is None else after
        reader = Reader(self._link, self._stream, [subject], start, arrived.set)
        await reader.open()
        try:
            while True:
                arrived.clear()
                for stored in reader.take(LOAD_SUBJECTS_MAX):
                    yield stored
                    arrived.set()
                await arrived.wait()
        finally:
            await reader.close()

    async def purge(self, subject: str, before: int) -> int:
        """Remove what one subject has under a sequence; how many messages that were."""
        if before < 2:  # the server takes 0 for no bound, and then removes all there is
            return 0
        body = {"filter": wire.check_subject(subject), "seq": before}
        try:
            answer = await api.ask(self._link, f"STREAM.PURGE.{self._stream}", body)
        except api.ApiError as failure:
            if codes.kind_of(failure.error) in ("busy", "unknown"):
                raise Unreachable(f"{failure}; try again") from failure
            raise
        return int(answer.get("purged", 0))

    async def _load_one(self, subject: str) -> dict[str, Stored]:
        """The same for one subject, without the cost of a list: what a lone message waits for."""
        if self._replicas_silent():
            return await self._load_from_leader([subject])
        question = f"$JS.API.DIRECT.GET.{self._stream}.{subject}"
        try:
            reply = await self._link.ask(question, timeout_s=self._direct_wait_s)
        except Unreachable as error:
            return await self._load_otherwise([subject], error)
        status = wire.status_of(reply.header)
        if status not in (0, 404):
            raise _load_problem(status, wire.description_of(reply.header))
        return {} if status else {subject: _stored_of(reply)}

    def _replicas_silent(self) -> bool:
        return asyncio.get_running_loop().time() < self._leader_until_s

    @property
    def _direct_wait_s(self) -> float:
        return REQUEST_TIMEOUT_S if self._link.alone else DIRECT_S

    async def _load_otherwise(
        self, subjects: Sequence[str], error: Unreachable
    ) -> dict[str, Stored]:
        """The same from the leader, when a replica has given no answer; raises Unreachable.

        The server gives a direct get to any of the replicas, and goes on giving its share to one
        that is stopped or cut off. So the leader is asked for a while.
        """
        if self._link.alone or not self._link.is_connected:
            raise error
        self._leader_until_s = asyncio.get_running_loop().time() + LEADER_ONLY_S
        return await self._load_from_leader(subjects)

    async def _load_from_leader(self, subjects: Sequence[str]) -> dict[str, Stored]:
        places = asyncio.Semaphore(LEADER_READS_MAX)

        async def one(subject: str) -> Stored | None:
            async with places:
                return await self.read(subject)

        found = await asyncio.gather(*(one(subject) for subject in subjects))
        return {stored.subject: stored for stored in found if stored is not None}

    async def _load_chunk(self, subjects: Sequence[str], upto: int | None) -> dict[str, Stored]:
        if upto is None and self._replicas_silent():
            return await self._load_from_leader(subjects)
        try:
            return await self._load_direct(subjects, upto)
        except Unreachable as error:
            if upto is not None:
                raise
            return await self._load_otherwise(subjects, error)

    async def _load_direct(self, subjects: Sequence[str], upto: int | None) -> dict[str, Stored]:
        found: dict[str, Stored] = {}
        body: dict[str, Any] = {"multi_last": subjects}
        if upto is not None:
            body["up_to_seq"] = upto
        while True:
            end = await self._ask_last(body, found)
            if end.get("Nats-Num-Pending", "0") == "0":
                return found
            # The answer was cut at the server's limit of bytes; go on behind its last message.
            body["seq"] = int(end["Nats-Last-Sequence"]) + 1
            body["up_to_seq"] = int(end["Nats-UpTo-Sequence"])

    async def _ask_last(self, body: dict[str, Any], found: dict[str, Stored]) -> dict[str, str]:
        subject = f"$JS.API.DIRECT.GET.{self._stream}"
        future: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()

        def offer(reply: Reply) -> None:
            if future.done():
                return
            status = wire.status_of(reply.header)
            if status == 0:
                stored = _stored_of(reply)
                found[stored.subject] = stored
            elif status == 204:
                future.set_result(dict(wire.headers_of(reply.header)))
            elif status == 404:
                future.set_result({})
            else:
                future.set_exception(_load_problem(status, wire.description_of(reply.header)))

        def build(inbox: str) -> bytes:
            return wire.message(subject, inbox, (), msgspec.json.encode(body), self._link.size_max)

        waiter = Waiter(future, offer, subject)
        return await self._link.wait(subject, build, waiter, self._direct_wait_s)


async def read_all(link: Link, stream: str, subject: str, start: Start) -> AsyncIterator[Stored]:
    """What a stream has of ``subject`` at the beginning, in order, then end; raises Unreachable.

    After an interruption the end moves to what is there then, and nothing comes twice.
    """
    arrived = asyncio.Event()
    reader = Reader(link, stream, [subject], start, arrived.set)
    await reader.open()
    now_s = asyncio.get_running_loop().time
    stalled_at_s = now_s() + STALL_S
    # last_per_subject begins anew after an interruption; nothing up to here is given again.
    last = start if isinstance(start, int) else 0
    try:
        end = await _end_of(link, stream, subject, stalled_at_s)
        while True:
            arrived.clear()
            whole = reader.taken >= reader.backlog or (reader.pending == 0 and not reader.held)
            if whole and last >= end:
                return
            left = LOAD_SUBJECTS_MAX if whole else reader.backlog - reader.taken
            batch = reader.take(min(LOAD_SUBJECTS_MAX, left))
            for stored in batch:
                if stored.seq > last:
                    last = stored.seq
                    yield stored
            if batch:
                stalled_at_s = now_s() + STALL_S
                continue
            if now_s() > stalled_at_s:
                raise Unreachable(
                    f"reading {subject} stalled for {STALL_S:g} s after message {last}: the server"
                    " is away, or holds a message that can't be read; `snorri verify` names what"
                    " is gone"
                )
            try:
                # Not wait_for: in Python 3.11 it can swallow a cancellation.
                async with asyncio.timeout(QUIET_S):
                    await arrived.wait()
            except TimeoutError:  # what was to come may have been removed meanwhile
                end = await _end_of(link, stream, subject, stalled_at_s)
                reader.renew()
    finally:
        await reader.close()


async def _end_of(link: Link, stream: str, subject: str, deadline_s: float) -> int:
    """The sequence of the last message of ``subject`` by the word of the stream's leader.

    A consumer on a copy that is behind takes that for all there is, and would end too early. Who
    may not ask the leader takes the consumer at its word (0). Raises Unreachable when there is no
    leader until the deadline, in seconds of the loop.
    """
    while True:
        try:
            stored = await api.last_message(link, stream, subject)
        except Denied:
            return 0
        except Unreachable:
            if asyncio.get_running_loop().time() > deadline_s:
                raise
            await asyncio.sleep(RETRY_S)
        else:
            return stored.seq if stored is not None else 0


def _chunks(subjects: Sequence[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    size = 0
    for subject in subjects:
        if chunk and (len(chunk) == LOAD_SUBJECTS_MAX or size + len(subject) > LOAD_BYTES_MAX):
            yield chunk
            chunk, size = [], 0
        chunk.append(subject)
        size += len(subject) + 3
    if chunk:
        yield chunk


def _stored_of(reply: Reply) -> Stored:
    headers = dict(wire.headers_of(reply.header))
    subject, seq, at = headers["Nats-Subject"], headers["Nats-Sequence"], headers["Nats-Time-Stamp"]
    for name in _OWN_HEADERS:
        headers.pop(name, None)
    return Stored(subject, int(seq), wire.nanoseconds_of(at), reply.data, headers)


def _load_problem(status: int, description: str) -> StoreError:
    if status == 503:
        return NoResponders(
            "nobody answers direct gets of the log: no stream or no leader; try again"
        )
    if status >= 500:
        return Unreachable(f"the log could not be read ({status} {description}); try again")
    return StoreError(f"the log refuses a direct get ({status} {description}); report this")
