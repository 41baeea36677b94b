"""Command queues on JetStream: one durable pull consumer for each target, shared by its workers.

Promises what ``store.port.WorkQueues`` does. A worker is given what it asks for and nothing is
fetched ahead: a request ends with the first messages that it yields. Acks are sent without waiting;
a lost one costs a redelivery, which the command's id makes harmless.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from typing import Any

import msgspec

from store.jetstream import api, codes, topology, wire
from store.jetstream.link import Link
from store.port import NO_HEADERS, Headers, StoreError, TopologyDrift, Unreachable, Work
from store.subjects import Names, escape

NAME_CHARS_MAX = 120  # of a consumer's name; it becomes a directory on the server
COLLECT_S = 0.05  # how long a take waits for the rest of what the first message came with
PAUSE_S = 0.05  # before a request that the server turned down is sent again
TAKE_MAX = 1000


def consumer_name(target: str) -> str:
    """The durable's name for ``target``: readable, with a hash in place of a long tail."""
    name = f"job-{escape(target)}"
    if len(name) <= NAME_CHARS_MAX:
        return name
    digest = hashlib.blake2b(target.encode(), digest_size=12).hexdigest()
    return f"{name[: NAME_CHARS_MAX - len(digest) - 1]}-{digest}"


class JetStreamWork:
    """``store.port.Work``: one delivery, ended by one of ack, nak and term."""

    __slots__ = ("_link", "_reply", "at_ns", "attempt", "data", "headers", "seq", "subject")

    def __init__(self, link: Link, subject: str, reply: bytes, headers: Headers, data: bytes):
        delivery = wire.delivery_of(reply)
        self._link = link
        self._reply = reply.decode()
        self.subject = subject
        self.headers = headers
        self.data = data
        self.seq = delivery.seq
        self.at_ns = delivery.at_ns
        self.attempt = delivery.attempt

    async def ack(self) -> None:
        """Done; the command is not delivered again (unless the ack is lost)."""
        self.answer(b"+ACK")

    async def nak(self, delay_s: float = 0.0) -> None:
        """Give it back, for delivery after ``delay_s`` seconds."""
        delay_ns = int(delay_s * 1e9)
        self.answer(b'-NAK {"delay": %d}' % delay_ns if delay_ns > 0 else b"-NAK")

    async def term(self) -> None:
        """Give up: never deliver it again."""
        self.answer(b"+TERM")

    async def in_progress(self) -> None:
        """Begin the ack wait anew."""
        self.answer(b"+WPI")

    def answer(self, word: bytes) -> None:
        """Send ``word`` if there is a connection; without one the server redelivers by itself."""
        try:
            self._link.post(wire.pub(self._reply, "", word))
        except Unreachable:
            return


class JetStreamQueue:
    """``store.port.WorkQueue`` over one durable consumer."""

    def __init__(self, link: Link, stream: str, consumer: str) -> None:
        self._link = link
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._inbox = f"{link.prefix}.{link.unique()}"
        self._held: deque[JetStreamWork] = deque()
        self._changed = asyncio.Event()
        self._ended = True  # the present request has ended, or there is none
        self._turned_down = False  # … without a message and before its time
        self._request = 0
        self._closed = False
        self._sids: list[int] = []

    async def start(self) -> None:
        """Subscribe the inboxes of all requests; called once, by ``open``."""
        self._sids = [await self._link.attach(f"{self._inbox}.*", self._deliver)]
        self._link.reconnected.append(self._lose_request)

    async def take(self, limit: int, wait_s: float) -> list[Work]:
        """Up to ``limit`` commands; waits up to ``wait_s`` seconds for the first one only."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + wait_s
        limit = min(limit, TAKE_MAX)
        first = True
        while not self._held and not self._closed and limit > 0:
            left_s = deadline_s - loop.time()
            if left_s <= 0 and not first:
                break
            if self._turned_down:
                await asyncio.sleep(min(PAUSE_S, max(0.0, left_s)))
            first = False
            await self._ask(limit, max(0.0, left_s))
        if self._held and len(self._held) < limit:
            await self._until_ended(limit, COLLECT_S)
        taken: list[Work] = []
        while self._held and len(taken) < limit:
            taken.append(self._held.popleft())
        return taken

    async def close(self) -> None:
        """Stop asking; what was delivered but not taken goes back at once. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._changed.set()
        if self._lose_request in self._link.reconnected:
            self._link.reconnected.remove(self._lose_request)
        # Without interest in its inbox the server drops our open request; what is on its way is
        # delivered to the end of this subscription and given back by the sink.
        while self._held:
            await self._held.popleft().nak()
        for sid in self._sids:
            await self._link.detach(sid)

    async def _ask(self, limit: int, wait_s: float) -> None:
        request: dict[str, Any] = {"batch": limit, "no_wait": True}
        expires_ns = int(wait_s * 1e9)
        if expires_ns >= 1_000_000:
            request["expires"] = (
                expires_ns  # with no_wait: end at the first messages, wait for them
            )
        self._request += 1
        self._ended = self._turned_down = False
        try:
            self._link.post(
                wire.pub(self._next, f"{self._inbox}.{self._request}", msgspec.json.encode(request))
            )
        except Unreachable:
            self._turned_down = self._ended = True
            return
        await self._until_ended(1, wait_s + COLLECT_S)

    async def _until_ended(self, enough: int, wait_s: float) -> None:
        """Wait until ``enough`` messages are held or the request has ended."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + wait_s
        while len(self._held) < enough and not self._ended and not self._closed:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), max(0.0, deadline_s - loop.time()))
            except TimeoutError:
                return

    def _deliver(self, subject: bytes, reply: bytes, header: bytes, data: bytes) -> None:
        if reply:
            headers = wire.headers_of(header) if header else NO_HEADERS
            work = JetStreamWork(
                self._link, subject.decode("utf-8", "surrogateescape"), reply, headers, data
            )
            if self._closed:
                work.answer(b"-NAK")
                return
            self._held.append(work)
        elif subject.rpartition(b".")[2] == b"%d" % self._request:
            status = wire.status_of(header)
            self._ended = True
            # 404: no messages (any more). 408: expired, or others' requests are before ours.
            # The rest (409, 503): consumer gone, leader gone, connection limits; ask again later.
            self._turned_down = status not in (404, 408) or b"Pending-" not in header
        self._changed.set()

    def _lose_request(self) -> None:
        """After a reconnect the server knows nothing of our request."""
        self._ended = True
        self._changed.set()


class JetStreamQueues:
    """``store.port.WorkQueues``; ``close`` ends all queues that are still open."""

    def __init__(self, link: Link, names: Names) -> None:
        self._link = link
        self._names = names
        self._queues: list[JetStreamQueue] = []

    async def open(self, target: str, *, ack_wait_s: float, in_flight_max: int) -> JetStreamQueue:
        """Bind or make the durable consumer of ``target``; raises TopologyDrift, Unreachable."""
        stream, name = self._names.log_stream, consumer_name(target)
        want = {
            "durable_name": name,
            "ack_policy": "explicit",
            "ack_wait": int(ack_wait_s * 1e9),
            "deliver_policy": "all",
            "filter_subject": self._names.command_filter(target),
            "max_ack_pending": in_flight_max,
            "max_deliver": -1,
            "replay_policy": "instant",
        }
        have = await self._config(stream, name)
        if have is None:
            have = await self._make(stream, name, want)
        lines = topology.differences(want, have)
        if lines:
            raise TopologyDrift(
                f"the consumer {name} of {target!r} differs from what this worker asks for:\n  "
                + "\n  ".join(lines)
                + "\nGive all workers of the target the same settings, or remove the consumer "
                f"(`nats consumer rm {stream} {name}`) when no worker runs"
            )
        queue = JetStreamQueue(self._link, stream, name)
        await queue.start()
        self._queues.append(queue)
        return queue

    async def close(self) -> None:
        """Close all queues; part of closing the backend."""
        for queue in self._queues:
            await queue.close()
        self._queues.clear()

    async def _config(self, stream: str, name: str) -> dict[str, Any] | None:
        try:
            return (await api.ask(self._link, f"CONSUMER.INFO.{stream}.{name}"))["config"]
        except api.ApiError as failure:
            if failure.error.err_code == codes.CONSUMER_NOT_FOUND:
                return None
            raise

    async def _make(self, stream: str, name: str, want: dict[str, Any]) -> dict[str, Any]:
        body = {"stream_name": stream, "config": want, "action": "create"}
        try:
            return (await api.ask(self._link, f"CONSUMER.CREATE.{stream}.{name}", body))["config"]
        except api.ApiError as failure:
            have = await self._config(stream, name)  # another worker may have made it just now
            if have is None:
                raise StoreError(
                    f"the consumer {name} can't be made: {failure}; check the server's limits"
                ) from failure
            return have
