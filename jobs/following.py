"""Following both streams into one set of tables: feeds, what waits, and one write at a time.

While a batch is written in a thread, the messages behind it are collected; so a batch grows with
what there is to do. Messages of both streams go in in the order they were stored, as far as both
are known, so that what an event caused is rarely written before the event.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import get_args

from store.port import Backend, Feed, Stored, StreamName
from store.projection.port import Tables

STREAMS: tuple[StreamName, ...] = get_args(StreamName)
# The larger the batches of a long way, the less they cost; three of these (one waits, two are on
# their way into the tables) fit into some hundred megabytes.
BATCH_MAX = 30_000  # messages of one stream in one write
HELD_MAX = 30_000  # messages of one stream that wait for a write
HELD_BYTES_MAX = 48 * 1024 * 1024
TAKE_MAX = 4_000
# On a long way a write waits for so many messages of the stream that is behind the other.
LONG_WAY = 60_000  # messages that are stored and not received
WORTH = 18_000
WRITES_MAX = 2  # batches on their way into the tables
# Between the beginnings of two small writes: a fifth longer than the last one took, since a write
# of a few messages costs nearly as much as one of a thousand.
BREATH = 1.2
BREATH_MIN_S = 0.075
BREATH_MAX_S = 0.2
MANY = 2_000  # messages that wait for no breath


class Follower:
    """Follows from the tables' checkpoint on. ``told`` is called when anything has moved."""

    def __init__(
        self, backend: Backend, tables: Tables, told: Callable[[], None] = lambda: None
    ) -> None:
        self.tables = tables
        self.ends: dict[StreamName, int] = dict.fromkeys(STREAMS, 0)  # last known there
        self.applied: dict[StreamName, int] = dict.fromkeys(STREAMS, 0)
        self._backend = backend
        self._told = told
        self._feeds: dict[StreamName, Feed] = {}
        self._held: dict[StreamName, deque[Stored]] = {name: deque() for name in STREAMS}
        self._held_bytes: dict[StreamName, int] = dict.fromkeys(STREAMS, 0)
        self._received: dict[StreamName, int] = dict.fromkeys(STREAMS, 0)  # last sequences
        self._wake = asyncio.Event()
        self._writing: deque[asyncio.Task[None]] = deque()
        self._written_s = 0.0  # when the last write began, and how long it took
        self._took_s = 0.0
        self._oldest_ns: deque[int] = deque()  # of each batch that is being written
        self._stopping = False

    async def open(self) -> None:
        """Begin to read after the checkpoint's anchors; raises Unreachable."""
        checkpoint = self.tables.checkpoint
        if checkpoint is None:
            raise RuntimeError("the tables were never begun")
        marks = {"events": checkpoint.events, "log": checkpoint.log}
        try:
            for name in STREAMS:
                mark = marks[name]
                # What was applied after the anchor made no rows, so it may be read again.
                self.applied[name] = self._received[name] = mark.applied
                self.ends[name] = max(self.ends[name], mark.applied)
                self._feeds[name] = await self._backend.feeds.open(
                    name, [">"], mark.anchor, self._wake.set
                )
        except BaseException:
            await self.close()
            raise

    @property
    def behind(self) -> int:
        """Messages known to be stored and not applied."""
        return sum(max(0, self.ends[name] - self.applied[name]) for name in STREAMS)

    @property
    def part(self) -> float:
        """How much of what there is was applied, 0 to 1."""
        whole = sum(self.ends.values())
        return 1.0 if whole == 0 else min(1.0, sum(self.applied.values()) / whole)

    def oldest_ns(self) -> int:
        """When the oldest message that was received and is not applied was stored; 0: none."""
        times = [held[0].at_ns for held in self._held.values() if held]
        times.extend(self._oldest_ns)
        return min(times, default=0)

    def learn(self, name: StreamName, last: int) -> None:
        """The stream is known to reach so far."""
        self.ends[name] = max(last, self.applied[name])

    async def finish(self) -> None:
        """Note that the tables are complete, once they have caught up with what is known."""
        checkpoint = self.tables.checkpoint
        if self.behind == 0 and checkpoint is not None and not checkpoint.complete:
            await self.tables.finish()

    async def run(self) -> None:
        """Follow until ``stop``; raises WriteError."""
        while True:
            self._wake.clear()
            self._collect()
            await self._reap()
            if self._stopping and not self._writing:
                return
            if not self._stopping:
                self._write(BATCH_MAX)
            await self._wake.wait()

    def stop(self) -> None:
        """Let ``run`` return when the write on its way has ended."""
        self._stopping = True
        self._wake.set()

    def resume(self) -> None:
        """``run`` may be called again."""
        self._stopping = False

    async def advance_to(self, goal: Mapping[StreamName, int]) -> None:
        """Write up to these sequences, which were in the streams, and no more; not while ``run``
        runs.
        """
        while True:
            self._wake.clear()
            self._collect()
            await self._reap()
            if not self._writing:
                if all(self._is_past(name, goal[name]) for name in STREAMS):
                    return
                self._write(BATCH_MAX, goal)
            await self._wake.wait()

    def _is_past(self, name: StreamName, seq: int) -> bool:
        """Whether nothing up to ``seq`` is missing; the message itself may be gone from there."""
        held = self._held[name]
        return self.applied[name] >= seq or (bool(held) and held[0].seq > seq)

    async def close(self) -> None:
        """Wait for the write on its way and end both feeds; idempotent, raises nothing."""
        while self._writing:
            writing = self._writing.popleft()
            await asyncio.wait({writing})
            writing.exception()
        feeds, self._feeds = self._feeds, {}
        for feed in feeds.values():
            await feed.close()

    # --- collecting and writing

    def _collect(self) -> None:
        for name, feed in self._feeds.items():
            held = self._held[name]
            while len(held) < HELD_MAX and self._held_bytes[name] < HELD_BYTES_MAX:
                taken = feed.take(TAKE_MAX)
                if not taken:
                    break
                held.extend(taken)
                self._held_bytes[name] += sum(len(stored.data) for stored in taken)
                self._received[name] = taken[-1].seq
                self.ends[name] = max(self.ends[name], taken[-1].seq)

    def _write(self, limit: int, goal: Mapping[StreamName, int] | None = None) -> None:
        """Begin to write what is held, if there is anything and it is time.

        Of a long way the rows of one batch are made while another is written.
        """
        if len(self._writing) == WRITES_MAX or not any(self._held.values()):
            return
        if self._writing and sum(map(len, self._held.values())) < WORTH:
            return
        breath_s = min(max(BREATH_MIN_S, BREATH * self._took_s), BREATH_MAX_S)
        wait_s = self._written_s + breath_s - time.monotonic()
        if wait_s > 0 and sum(map(len, self._held.values())) < MANY:
            asyncio.get_running_loop().call_later(wait_s, self._wake.set)
            return
        if self._fills():
            return
        batch: dict[StreamName, list[Stored]] = {}
        for name in STREAMS:
            batch[name] = self._cut(name, limit, goal)
        if any(batch.values()):
            self._written_s = time.monotonic()
            self._oldest_ns.append(min(part[0].at_ns for part in batch.values() if part))
            writing = asyncio.create_task(self._apply(batch))
            writing.add_done_callback(lambda _: self._wake.set())
            self._writing.append(writing)

    def _fills(self) -> bool:
        """Whether a larger batch will be here soon: what arrives next wakes again."""
        missing = {name: self.ends[name] - self._received[name] for name in STREAMS}
        if sum(missing.values()) < LONG_WAY:
            return False
        coming: list[StreamName] = [name for name in STREAMS if missing[name] > 0]
        behind = min(coming, key=lambda name: held[-1].at_ns if (held := self._held[name]) else 0)
        return len(self._held[behind]) < WORTH and self._held_bytes[behind] < HELD_BYTES_MAX

    def _cut(
        self, name: StreamName, limit: int, goal: Mapping[StreamName, int] | None
    ) -> list[Stored]:
        held, horizon_ns = self._held[name], self._horizon_ns(name)
        batch: list[Stored] = []
        while held and len(batch) < limit and held[0].at_ns <= horizon_ns:
            if goal is not None and held[0].seq > goal[name]:
                break
            batch.append(held.popleft())
        self._held_bytes[name] -= sum(len(stored.data) for stored in batch)
        return batch

    def _horizon_ns(self, name: StreamName) -> int:
        """Up to when messages of a stream may go in: the newest known of the other one, unless
        that has no more to come.
        """
        other: StreamName = "events" if name == "log" else "log"
        held = self._held[other]
        if not held or self._received[other] >= self.ends[other] or not self._held[name]:
            return 2**63
        return max(held[-1].at_ns, self._held[name][0].at_ns)

    async def _apply(self, batch: Mapping[StreamName, list[Stored]]) -> None:
        await self.tables.apply(batch["events"], batch["log"])
        for name, part in batch.items():
            if part:
                self.applied[name] = part[-1].seq
        self._oldest_ns.popleft()
        self._took_s = time.monotonic() - self._written_s
        await self.finish()

    async def _reap(self) -> None:
        while self._writing and self._writing[0].done():
            self._writing.popleft().result()
            self._told()
