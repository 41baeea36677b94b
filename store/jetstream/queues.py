"""Command queues on JetStream: one durable pull consumer for each target, shared by its workers.

Promises what ``store.port.WorkQueues`` does. A worker is given what it asks for and nothing is
fetched ahead of its free slots. Acks are sent without waiting;
a lost one costs a redelivery, which the command's id makes harmless.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from typing import Any

import msgspec

from store.backup.manifest import ConsumerPlace
from store.jetstream import api, codes, topology, wire
from store.jetstream.link import Link
from store.port import (
    NO_HEADERS,
    Headers,
    QueueState,
    StoreError,
    TopologyDrift,
    Unreachable,
    Work,
)
from store.subjects import Names, escape

NAME_CHARS_MAX = 120  # of a consumer's name; it becomes a directory on the server
COLLECT_S = 0.25  # how long a take that may not wait leaves the server to answer
EXPIRES_S = 30.0
HEARTBEAT_S = 2.0
OPEN_TIMEOUT_S = 20.0
PAUSE_S = 0.05  # before a request that the server turned down is sent again
TAKE_MAX = 1000


# What the consumers of all jobs have in common.
QUEUE: dict[str, Any] = {
    "ack_policy": "explicit",
    "deliver_policy": "all",
    "max_deliver": -1,
    "replay_policy": "instant",
}


def is_queue(consumer: str) -> bool:
    """Whether a consumer is the queue of a job."""
    return consumer.startswith("job-")


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
    """``store.port.WorkQueue`` over one durable consumer.

    Requests stand for as many commands as the caller has room for and are topped up by each
    ``take``, so a command arrives with no request of its own to wait for. They stand on when a
    ``take`` ends with nothing: what they bring is there for the next one, or goes back at the end.
    """

    def __init__(self, link: Link, stream: str, consumer: str) -> None:
        self._link = link
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._held: deque[JetStreamWork] = deque()
        self._requests: dict[bytes, int] = {}  # what each request that stands may still bring
        self._count = 0
        self._changed = asyncio.Event()
        self._not_before_s = 0.0
        self._heard_at_s = 0.0
        self._closed = False
        self._sid = 0
        self._inbox = ""

    async def start(self) -> None:
        """Subscribe an inbox for the answers; called once, by ``open``."""
        self._inbox = f"{self._link.prefix}.{self._link.unique()}"
        self._sid = await self._link.attach(f"{self._inbox}.*", self._deliver)
        self._link.reconnected.append(self._lose_requests)

    async def take(self, limit: int, wait_s: float) -> list[Work]:
        """Up to ``limit`` commands; waits up to ``wait_s`` seconds for the first one only."""
        limit = min(limit, TAKE_MAX)
        deadline_s = _now_s() + (wait_s if wait_s > 0 else COLLECT_S)
        self._top_up(limit, wait_s)
        while not self._held and limit > 0 and not self._closed:
            if wait_s <= 0 and not self._requests:
                break
            if not await self._stirred(deadline_s - _now_s()):
                break
            if wait_s > 0:
                self._top_up(limit, wait_s)
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
        if self._lose_requests in self._link.reconnected:
            self._link.reconnected.remove(self._lose_requests)
        # Without interest in its inbox the server drops our open requests; what is on its way is
        # delivered to the end of this subscription and given back by the sink.
        while self._held:
            await self._held.popleft().nak()
        await self._link.detach(self._sid)

    def _top_up(self, limit: int, wait_s: float) -> None:
        room = limit - len(self._held) - sum(self._requests.values())
        now_s = _now_s()
        if room <= 0 or now_s < self._not_before_s:
            return
        body: dict[str, Any] = {"batch": room}
        if wait_s > 0:
            body |= {"expires": int(EXPIRES_S * 1e9), "idle_heartbeat": int(HEARTBEAT_S * 1e9)}
        else:
            body["no_wait"] = True
        self._count += 1
        inbox = f"{self._inbox}.{self._count}"
        try:
            self._link.post(wire.pub(self._next, inbox, msgspec.json.encode(body)))
        except Unreachable:
            self._not_before_s = now_s + PAUSE_S
            return
        self._heard_at_s = now_s
        self._requests[b"%d" % self._count] = room

    async def _stirred(self, left_s: float) -> bool:
        """Wait for a change; False when the time is over, or the server has gone silent."""
        self._changed.clear()
        pause_s = max(0.0, self._not_before_s - _now_s())
        wait_s = min(left_s, pause_s or HEARTBEAT_S)
        try:
            async with asyncio.timeout(max(0.0, wait_s)):
                await self._changed.wait()
        except TimeoutError:
            if self._requests and _now_s() - self._heard_at_s > 2 * HEARTBEAT_S:
                self._requests.clear()
                return True
            return wait_s < left_s
        return True

    def _deliver(self, subject: bytes, reply: bytes, header: bytes, data: bytes) -> None:
        self._heard_at_s = _now_s()
        if reply:
            self._hold(subject, reply, header, data)
            return
        status = wire.status_of(header)
        if status == 100:
            return
        self._requests.pop(subject.rpartition(b".")[2], None)
        # 404: no messages. 408: expired. The rest (409, 503): consumer or leader gone, a limit of
        # the connection; ask again a little later.
        if status not in (404, 408):
            self._not_before_s = _now_s() + PAUSE_S
        self._changed.set()

    def _hold(self, subject: bytes, reply: bytes, header: bytes, data: bytes) -> None:
        headers = wire.headers_of(header) if header else NO_HEADERS
        work = JetStreamWork(self._link, subject.decode(), reply, headers, data)
        if self._closed:
            work.answer(b"-NAK")
            return
        if self._requests:  # a delivery does not say whose answer it is; the oldest is served first
            oldest = next(iter(self._requests))
            self._requests[oldest] -= 1
            if self._requests[oldest] <= 0:
                del self._requests[oldest]
        self._held.append(work)
        self._changed.set()

    def _lose_requests(self) -> None:
        """After a reconnect the server knows nothing of our requests."""
        self._requests.clear()
        self._changed.set()


def _place(info: dict[str, Any]) -> ConsumerPlace:
    floor = info["ack_floor"]
    return ConsumerPlace(
        name=info["name"],
        config=info["config"],
        delivered=floor["consumer_seq"],
        stream=floor["stream_seq"],
    )


def _now_s() -> float:
    return asyncio.get_running_loop().time()


class JetStreamQueues:
    """``store.port.WorkQueues``; ``close`` ends all queues that are still open."""

    def __init__(self, link: Link, names: Names) -> None:
        self._link = link
        self._names = names
        self._queues: list[JetStreamQueue] = []

    async def open(self, target: str, *, ack_wait_s: float, in_flight_max: int) -> JetStreamQueue:
        """Bind or make the durable consumer of ``target``; raises TopologyDrift, Unreachable."""
        stream, name = self._names.log_stream, consumer_name(target)
        want = QUEUE | {
            "durable_name": name,
            "ack_wait": int(ack_wait_s * 1e9),
            "filter_subject": self._names.command_filter(target),
            "max_ack_pending": in_flight_max,
        }
        have = await self._bind(stream, name, want)
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

    async def state(self, target: str) -> QueueState | None:
        """See WorkQueues; the consumer's own counts, from its leader."""
        info = await self._info(consumer_name(target))
        if info is None:
            return None
        return QueueState(
            waiting=info["num_pending"],
            in_flight=info["num_ack_pending"],
            asking=info["num_waiting"],
        )

    async def places(self) -> tuple[ConsumerPlace, ...]:
        """The durable consumers of the log and up to where all is acknowledged; raises Unreachable.

        What was acknowledged out of order behind that place counts as open.
        """
        found: list[ConsumerPlace] = []
        while True:
            page = await api.ask(
                self._link, f"CONSUMER.LIST.{self._names.log_stream}", {"offset": len(found)}
            )
            infos: list[dict[str, Any]] = page["consumers"] or []
            found += [_place(info) for info in infos]
            if not infos or len(found) >= page["total"]:
                return tuple(place for place in found if "durable_name" in place.config)

    async def close(self) -> None:
        """Close all queues; part of closing the backend."""
        for queue in self._queues:
            await queue.close()
        self._queues.clear()

    async def _bind(self, stream: str, name: str, want: dict[str, Any]) -> dict[str, Any]:
        """The configuration of the consumer, made when there is none.

        In a cluster one that is being made has no leader at first, and nobody answers for it.
        """
        deadline_s = _now_s() + OPEN_TIMEOUT_S
        while True:
            try:
                info = await self._info(name)
                return await self._make(stream, name, want) if info is None else info["config"]
            except Unreachable:
                if _now_s() > deadline_s:
                    raise
            await asyncio.sleep(PAUSE_S)

    async def _info(self, name: str) -> dict[str, Any] | None:
        try:
            return await api.ask(self._link, f"CONSUMER.INFO.{self._names.log_stream}.{name}")
        except api.ApiError as failure:
            if failure.error.err_code == codes.CONSUMER_NOT_FOUND:
                return None
            raise

    async def _make(self, stream: str, name: str, want: dict[str, Any]) -> dict[str, Any]:
        try:
            return (await api.create_consumer(self._link, stream, name, want))["config"]
        except api.ApiError as failure:
            info = await self._info(name)  # another worker may have made it just now
            if info is None:
                full = failure.error.err_code == codes.CONSUMERS_FULL
                next = (
                    f"the stream {stream} has no room for another; start an engine of this version,"
                    f" which makes room, or set its max_consumers ({topology.CONSUMERS_MAX})"
                    if full
                    else "check the server's limits"
                )
                raise StoreError(
                    f"the consumer {name} can't be made: {failure}; {next}"
                ) from failure
            return info["config"]
