"""Reading a stream in order through an ephemeral pull consumer, whatever happens to the broker.

Owns the pull loop: requests, heartbeats, statuses, gaps. Promises that messages come out in the
order of the stream, each once: the reader counts the consumer's own sequence, and on a gap,
silence, an error or a reconnect it drops the consumer and makes another one after the last message
it handed on. It holds at most about ``HELD_MAX`` messages, so a slow taker slows the broker, not
this process.

The only state that matters is ``last``, the sequence of the last message in the buffer; a consumer
is disposable. Each one has an inbox of its own, so nothing of a former one can be mistaken for its.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from store.jetstream import api, wire
from store.jetstream.link import REQUEST_TIMEOUT_S, Link
from store.jetstream.parser import Message
from store.port import NO_HEADERS, Refused, Stored, StoreError, Unreachable

log = logging.getLogger(__name__)

HELD_MAX = 2000  # messages asked for and not yet taken
HELD_BYTES_MAX = 32 * 1024 * 1024  # over this no more are asked for
ASK_BYTES_MAX = 8 * 1024 * 1024  # of one request
EXPIRES_S = 30.0
HEARTBEAT_S = 1.0  # twice as long without a word, and the consumer is taken for lost
CLOSE_S = 1.0
REMAKE_S = 2.0  # for the first answer to another one: who should answer may be gone with it
INACTIVE_S = 90
OPEN_TIMEOUT_S = 10.0
RETRY_MIN_S = 0.05
RETRY_MAX_S = 1.0

Start: TypeAlias = int | Literal["new", "last_per_subject"]


class Reader:
    """One reading of one stream; ``open`` starts it, ``take`` empties it, ``close`` ends it.

    ``start`` is a sequence to begin after, ``new`` (what is stored from now on) or
    ``last_per_subject``. The last one begins anew with the last values after every interruption:
    the sequence numbers then step back and ``generation`` grows, with ``backlog`` messages to come.
    """

    def __init__(
        self,
        link: Link,
        stream: str,
        filters: Sequence[str],
        start: Start,
        wake: Callable[[], None],
    ) -> None:
        self._link = link
        self._stream = stream
        self._filters = list(filters)
        self._start: Start = start
        self._wake = wake
        self._held: deque[Stored] = deque()
        self._held_bytes = 0
        self.last = start if isinstance(start, int) else 0
        self.pending = 0  # messages that the server still had when the last one was sent
        self.generation = 0
        self.backlog = 0  # messages that waited, here or there, when the present consumer was made
        self.taken = 0  # messages of the present generation handed on
        self._consumer = ""
        self._sid = 0
        self._inbox = ""
        self._consumer_seq: int = 0
        self._asked = 0  # of the present consumer: requested and neither delivered nor given up
        self._heard = False  # anything at all, since the watchdog looked last
        self._broken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self, timeout_s: float = OPEN_TIMEOUT_S) -> None:
        """Make the first consumer; raises Unreachable when that fails for so long, Refused at once
        where permissions deny it.
        """
        deadline_s = self._now_s() + timeout_s
        await self._make_until(deadline_s)
        self._link.reconnected.append(self._break)
        self._task = asyncio.create_task(self._watch_over(), name=f"reader of {self._stream}")

    def take(self, limit: int) -> list[Stored]:
        """Up to ``limit`` messages that have arrived, in order; never waits."""
        held = self._held
        if limit >= len(held):
            taken = list(held)
            held.clear()
            self._held_bytes = 0
        else:
            taken = [held.popleft() for _ in range(limit)]
            self._held_bytes -= sum(len(stored.data) for stored in taken)
        if taken:
            self.taken += len(taken)
            self._ask_more()
        return taken

    def renew(self) -> None:
        """Make another consumer: of the messages that were to come some may have been removed."""
        self._break()

    @property
    def held(self) -> int:
        """How many messages wait to be taken."""
        return len(self._held)

    async def close(self) -> None:
        """Stop reading and remove the consumer; idempotent, never raises."""
        task, self._task = self._task, None
        if task is None:
            return
        if self._break in self._link.reconnected:
            self._link.reconnected.remove(self._break)
        while not task.done():  # a cancellation can be swallowed in a library's wait_for
            task.cancel()
            await asyncio.wait({task}, timeout=CLOSE_S)
        await self._drop()

    # --- one consumer

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = {
            "name": self._consumer,
            "ack_policy": "none",
            "replay_policy": "instant",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": INACTIVE_S * 1_000_000_000,
        }
        if len(self._filters) == 1:
            config["filter_subject"] = self._filters[0]
        elif self._filters:
            config["filter_subjects"] = self._filters
        match self._start:
            case "new" | "last_per_subject":
                config["deliver_policy"] = self._start
            case int():
                config["deliver_policy"] = "by_start_sequence"
                config["opt_start_seq"] = self.last + 1
        return config

    async def _make(self, wait_s: float) -> None:
        self._consumer = f"read-{self._link.unique()}"
        self._inbox = f"{self._link.prefix}.{self._consumer}"
        self._consumer_seq = 0
        self._asked = 0
        self._broken.clear()
        self._sid = await self._link.attach_runs(self._inbox, self._deliver)
        answer = await api.create_consumer(
            *(self._link, self._stream, self._consumer, self._config()), timeout_s=wait_s
        )
        if self._start == "new":  # after an interruption go on from here, not from "now" again
            self._start = self.last = answer["delivered"]["stream_seq"]
        if self._start == "last_per_subject":
            self._held.clear()
            self._held_bytes = 0
        self.pending = answer["num_pending"]
        self.backlog = self.pending + len(self._held)
        self.taken = 0
        self.generation += 1
        self._ask_more()
        self._wake()

    async def _drop(self) -> None:
        sid, self._sid = self._sid, 0
        if sid:
            try:
                await self._link.detach(sid)
                if self._link.is_connected and self._link.may_tidy:
                    self._link.post(
                        wire.pub(
                            f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._consumer}", "", b""
                        )
                    )
            except (OSError, StoreError) as error:
                log.debug("a consumer is left to expire: %s", error)

    async def _make_until(self, deadline_s: float | None) -> None:
        delay_s = RETRY_MIN_S
        wait_s = REMAKE_S if deadline_s is None else REQUEST_TIMEOUT_S
        while True:
            try:
                return await self._make(wait_s)
            except Refused as error:
                await self._drop()
                if deadline_s is not None:
                    raise
                log.warning("reading %s: %s", self._stream, error)
                delay_s = RETRY_MAX_S
            except StoreError as error:
                await self._drop()
                if deadline_s is not None and self._now_s() > deadline_s - delay_s:
                    raise Unreachable(
                        f"the stream {self._stream} can't be read: {error}"
                    ) from error
                log.debug("reading %s: %s; again soon", self._stream, error)
                wait_s = REQUEST_TIMEOUT_S
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            delay_s = min(RETRY_MAX_S, delay_s * 2)

    # --- requests and what comes back

    def _ask_more(self) -> None:
        room = HELD_MAX - len(self._held) - self._asked
        if room < HELD_MAX // 2 or self._held_bytes > HELD_BYTES_MAX:
            return
        if self._broken.is_set() or not self._sid:
            return
        request = {
            "batch": room,
            "expires": int(EXPIRES_S * 1e9),
            "idle_heartbeat": int(HEARTBEAT_S * 1e9),
            "max_bytes": ASK_BYTES_MAX,
        }
        self._heard = True  # silence counts from the last request on
        try:
            self._link.post(
                wire.pub(
                    f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}",
                    self._inbox,
                    msgspec.json.encode(request),
                )
            )
            self._asked += room
        except StoreError:
            self._break()

    def _deliver(self, run: list[Message]) -> None:
        self._heard = True
        for message in run:
            subject, reply, header, data = message
            if not reply:
                self._hear_status(wire.status_of(header), header)
                continue
            if self._broken.is_set():
                continue
            seq, consumer_seq, at_ns, self.pending = wire.place_of(reply)
            if consumer_seq != self._consumer_seq + 1:
                self._break()
                continue
            self._consumer_seq = consumer_seq
            self.last = seq
            self._asked -= 1
            self._held_bytes += len(data)
            headers = wire.Block(header) if header else NO_HEADERS
            name = subject.decode("utf-8", "surrogateescape")
            self._held.append(Stored(name, seq, at_ns, data, headers))
        if self._asked <= HELD_MAX // 2:
            self._ask_more()
        if self._held:
            self._wake()

    def _hear_status(self, status: int, header: bytes) -> None:
        headers = wire.headers_of(header)
        match status:
            case 100:
                last = headers.get("Nats-Last-Consumer", "")
                if last.isdigit() and int(last) > self._consumer_seq:
                    self._break()  # messages before this heartbeat never came
            case 404 | 408 | 409 if "Nats-Pending-Messages" in headers:
                # A request has ended (expired, or as many bytes as it allowed) with that many to
                # go.
                self._asked = max(0, self._asked - int(headers["Nats-Pending-Messages"]))
                self._ask_more()
            case _:
                log.debug("reading %s: %s", self._stream, wire.description_of(header))
                self._break()  # consumer deleted, leadership change, no responders …

    def _break(self) -> None:
        self._broken.set()

    async def _watch_over(self) -> None:
        silent_s = 0.0
        while True:
            try:
                # Not wait_for: in Python 3.11 it can swallow a cancellation.
                async with asyncio.timeout(HEARTBEAT_S / 2):
                    await self._broken.wait()
            except TimeoutError:
                # Silence is only a sign while something is asked for.
                quiet = not self._heard and self._asked > 0
                silent_s = silent_s + HEARTBEAT_S / 2 if quiet else 0.0
                self._heard = False
                if silent_s < 2 * HEARTBEAT_S:
                    continue
            silent_s = 0.0
            self._broken.set()
            await self._drop()
            await self._make_until(None)

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()
