"""The way of all results of a worker to the broker: whatever waits is stored in one batch.

The promise: a delivery is ended (ack or nak) only after its event is stored, and a stored event's
delivery is ended as soon as possible. When nobody knows whether a batch was stored it is sent
again: a second answer to a command changes no instance, and a second record of an attempt says the
same. One batch is on its way at a time; what ends meanwhile waits for the next, so a loaded worker
makes large batches and an idle one adds no delay.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import Protocol, assert_never

from jobs.results import Report
from jobs.telemetry import JobRetried, ResultLost, ResultsDelayed, ResultsPublished, Teller
from store.port import (
    Busy,
    CommitOutcome,
    Committed,
    Conflict,
    Door,
    Invalid,
    MessageTooLarge,
    Refused,
    StoreError,
    Unknown,
    Work,
)

BATCH_RESULTS_MAX = 500
BATCH_BYTES_MAX = 4 * 1024 * 1024
PAUSE_MIN_S = 0.02
PAUSE_MAX_S = 1.0
LOST_DELAY_S = 60.0


class Parcel(Protocol):
    """A finished attempt on its way out."""

    @property
    def work(self) -> Work:
        """The delivery to end."""
        ...

    @property
    def report(self) -> Report:
        """The event to store first."""
        ...

    @property
    def command_id(self) -> str: ...

    def replace(self, reason: str) -> bool:
        """Swap a refused result for a failure that says so; False when that was done before."""
        ...

    def ended(self) -> None:
        """The delivery is ended."""
        ...


class Sender:
    """One for each worker; ``run`` is its loop, ``put`` never waits."""

    def __init__(self, door: Door, worker: str, teller: Teller) -> None:
        self._door = door
        self._worker = worker
        self._teller = teller
        self._waiting: deque[Parcel] = deque()
        self._sending = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def waiting(self) -> int:
        """Results that are not stored yet."""
        return len(self._waiting) + self._sending

    def put(self, parcel: Parcel) -> None:
        """Queue a finished attempt."""
        self._waiting.append(parcel)
        self._idle.clear()
        self._wake.set()

    async def drained(self) -> None:
        """Until nothing waits."""
        await self._idle.wait()

    async def run(self) -> None:
        """Store what waits, end its deliveries, for ever; ends only by being cancelled."""
        pause_s = PAUSE_MIN_S
        while True:
            if not self._waiting:
                self._idle.set()
                self._wake.clear()
                await self._wake.wait()
                await asyncio.sleep(0)  # jobs that end in the same turn of the loop join the batch
            if await self._send(self._next_batch()):
                pause_s = PAUSE_MIN_S
                continue
            jitter = random.uniform(0.5, 1.0)  # noqa: S311 - spreads repeats, no secret
            await asyncio.sleep(pause_s * jitter)
            pause_s = min(pause_s * 2, PAUSE_MAX_S)

    def _next_batch(self) -> list[Parcel]:
        batch: list[Parcel] = []
        size = 0
        while self._waiting and len(batch) < BATCH_RESULTS_MAX:
            size += len(self._waiting[0].report.message.payload)
            if batch and size > BATCH_BYTES_MAX:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _send(self, batch: list[Parcel]) -> bool:
        """Whether the batch is done with; if not it waits in front of the others again."""
        self._sending = len(batch)
        begun_s = asyncio.get_running_loop().time()
        outcome = await self._publish(batch)
        match outcome:
            case Committed():
                took_s = asyncio.get_running_loop().time() - begun_s
                self._teller.tell(ResultsPublished(self._worker, len(batch), took_s))
                for parcel in batch:
                    await self._end(parcel)
                self._sending = 0
                return True
            case Conflict() | Busy() | Unknown():
                self._sending = 0
                self._waiting.extendleft(reversed(batch))
                self._teller.tell(ResultsDelayed(self._worker, len(batch), outcome.reason))
                return False
            case Invalid():
                return await self._send_apart(batch, outcome)
            case _:
                assert_never(outcome)

    async def _send_apart(self, batch: list[Parcel], invalid: Invalid) -> bool:
        """One result spoils the batch: send each alone, and swap the one that can't be stored."""
        if len(batch) > 1:
            while batch:
                done = await self._send([batch[0]])
                batch.pop(0)
                if not done:  # it waits in front again; the rest goes behind it
                    first = self._waiting.popleft()
                    self._waiting.extendleft(reversed(batch))
                    self._waiting.appendleft(first)
                    return False
                self._sending = len(batch)
            return True
        parcel = batch[0]
        if parcel.replace(invalid.reason):
            return await self._send(batch)
        self._teller.tell(ResultLost(self._worker, parcel.command_id, invalid.reason))
        await self._finish(parcel, LOST_DELAY_S)
        self._sending = 0
        return True

    async def _publish(self, batch: list[Parcel]) -> CommitOutcome:
        messages = [parcel.report.message for parcel in batch]
        try:
            if len(messages) > 1:
                return await self._door.publish_batch(messages)
            one = messages[0]
            accepted = await self._door.publish(one.subject, one.payload, dict(one.headers))
            return Committed(accepted.seq, 1)
        except (MessageTooLarge, Refused) as error:
            return Invalid(0, str(error))
        except StoreError as error:
            return Unknown(str(error))

    async def _end(self, parcel: Parcel) -> None:
        delay_s = parcel.report.delay_s
        await self._finish(parcel, delay_s)
        if delay_s is not None:
            self._teller.tell(JobRetried(self._worker, parcel.command_id, delay_s))

    async def _finish(self, parcel: Parcel, delay_s: float | None) -> None:
        try:
            if delay_s is None:
                await parcel.work.ack()
            else:
                await parcel.work.nak(delay_s)
        except StoreError:
            pass  # it is delivered again after its ack wait, and its second answer changes nothing
        parcel.ended()
