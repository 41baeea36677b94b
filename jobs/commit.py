"""The third step of the lane: a batch is committed, and every outcome is brought to yes or no.

A time-out says nothing, so the positions are read back from the leader: they name the batch that
moved them last. The expected revision on each position makes the answer final: once another commit
has moved a position, a batch of ours that was still on its way can't be stored any more.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import assert_never

import msgspec

from jobs.batch import Batch
from jobs.intake import Intake
from jobs.telemetry import CommitBusy, CommitUnknown, Teller
from sagas.names import BadName, check_key, check_name
from store import codec
from store.broker_clock import Clock, utc_now
from store.codec import Position
from store.port import (
    Backend,
    Busy,
    Committed,
    Conflict,
    Invalid,
    MessageTooLarge,
    Outgoing,
    Refused,
    Stored,
    Unknown,
    Unreachable,
)
from store.subjects import Names

log = logging.getLogger("snorri.engine")

PAUSE_MIN_S = 0.02
PAUSE_MAX_S = 1.0


class BatchInvalid(Exception):
    """The broker refused a batch for what is in it; one of its messages is at fault."""


class Committer:
    """Commits batches one after the other for one engine."""

    def __init__(
        self,
        backend: Backend,
        names: Names,
        owner: str = "",
        teller: Teller | None = None,
        now: Clock = utc_now,
    ) -> None:
        self._backend = backend
        self._names = names
        self._owner = owner
        self._teller = teller or Teller(None)
        self._now = now
        self._in_vain = Pause()

    async def commit(self, batch: Batch) -> bool:
        """Whether the batch is stored.

        When not, nothing of it is, and lost partitions are marked as such.

        Goes on through outages until it knows. Raises BatchInvalid when the batch itself is at
        fault.
        """
        if batch.light:
            return await self._commit_apart(batch)
        await self._relay(batch)
        messages = batch.seal(self._now())
        pause = Pause()
        while True:
            outcome = await self._backend.log.commit(messages)
            match outcome:
                case Committed():
                    self._in_vain = Pause()
                    batch.committed(outcome.last, outcome.count)
                    return True
                case Busy():
                    self._teller.tell(CommitBusy(self._owner, outcome.reason))
                    await pause.wait()
                case Invalid():
                    raise BatchInvalid(f"{outcome.code}: {outcome.reason}")
                case Unknown():
                    self._teller.tell(CommitUnknown(self._owner, outcome.reason))
                    return await self._read_back(batch, len(messages))
                case Conflict():
                    log.info("commit conflict: %s", outcome.reason)
                    return await self._after_conflict(batch, len(messages))
                case _:
                    assert_never(outcome)

    async def _commit_apart(self, batch: Batch) -> bool:
        """Commit a light batch, each revision by itself.

        When one is not stored the others may be: decided again, their answers change nothing.
        """
        messages = batch.seal_apart()
        found = await asyncio.gather(*(self._commit_one(message) for message in messages))
        revisions = {
            message.subject: seq for message, seq in zip(messages, found, strict=True) if seq
        }
        if len(revisions) < len(messages):
            return False
        batch.committed_apart(revisions)
        return True

    async def _commit_one(self, message: Outgoing) -> int:
        """The sequence of a revision, 0 when it is not stored; goes on until it knows."""
        pause = Pause()
        while True:
            outcome = await self._backend.log.commit([message])
            match outcome:
                case Committed():
                    return outcome.last
                case Busy():
                    self._teller.tell(CommitBusy(self._owner, outcome.reason))
                    await pause.wait()
                case Invalid():
                    raise BatchInvalid(f"{outcome.code}: {outcome.reason}")
                case Conflict():
                    return await self._stored_as(message)
                case Unknown():
                    self._teller.tell(CommitUnknown(self._owner, outcome.reason))
                    if seq := await self._stored_as(message):
                        return seq
                    await pause.wait()  # not there yet, or never: its expectation lets it in once
                case _:
                    assert_never(outcome)

    async def _stored_as(self, message: Outgoing) -> int:
        """The sequence under which the leader holds just this revision, or 0."""
        stored = await self._latest(message.subject)
        return stored.seq if stored and stored.data == message.payload else 0

    async def _after_conflict(self, batch: Batch, count: int) -> bool:
        """See _read_back; when nothing has moved, wait before the messages are decided again.

        An instance may be fed by others too; or a leader without the others has an earlier batch
        of ours in mid-air, and refuses all that comes after it (10164).
        """
        stored = await self._read_back(batch, count)
        if not stored and not any(partition.lost for partition in batch.partitions):
            await self._in_vain.wait()
        return stored

    async def _read_back(self, batch: Batch, count: int) -> bool:
        """Ask the leader who moved the positions.

        Marks partitions that somebody else has moved as lost.
        """
        stored_here = False
        for partition in batch.partitions:
            stored = await self.position(partition.number)
            position = msgspec.json.decode(stored.data, type=Position) if stored else None
            if stored and position and position.batch == batch.id and not stored_here:
                last = stored.seq + count - 1 - batch.position_index(partition)
                batch.committed(last, count)
                stored_here = True
            elif not stored_here and (stored.seq if stored else 0) != partition.revision:
                partition.lost = True
                owner = position.owner if position else "nobody"
                log.warning(
                    "partition %d was moved by %s; it is theirs now", partition.number, owner
                )
        return stored_here

    async def position(self, number: int) -> Stored | None:
        """The position record of a partition from the leader, however long the broker is away."""
        return await self._latest(self._names.position(number))

    async def _latest(self, subject: str) -> Stored | None:
        pause = Pause()
        while True:
            try:
                return await self._backend.log.read(subject)
            except Unreachable as error:
                log.info("waiting for the broker: %s", error)
                await pause.wait()

    async def _relay(self, batch: Batch) -> None:
        """Publish the events that sagas emitted.

        Their ids make a repeat after a crash harmless to instances.
        """
        relays = [intake for intake in batch.intakes if intake.relay is not None]
        if relays:
            await asyncio.gather(*(self._publish(batch, intake) for intake in relays))

    async def _publish(self, batch: Batch, intake: Intake) -> None:
        envelope = intake.relay
        if envelope is None:
            return
        cause = envelope.cause
        headers = {codec.TRACEPARENT: cause.trace} if cause.trace else {}
        pause = Pause()
        while True:
            try:
                type, key = check_name(cause.type, "event type"), check_key(envelope.key)
                subject = self._names.event(type, key)
                await self._backend.door.publish(subject, bytes(cause.payload), headers, cause.id)
                return
            except Unreachable as error:
                log.info("waiting to publish %s: %s", cause.type, error)
                await pause.wait()
            except (MessageTooLarge, Refused, BadName) as error:
                log.warning("the event %s of a saga was refused: %s", cause.type, error)
                batch.bury(intake.letter(cause.type, str(error), key=envelope.key))
                return


class Pause:
    """Waits that grow with jitter: many who wait for the same thing don't come back together."""

    def __init__(self) -> None:
        self._limit = PAUSE_MIN_S

    async def wait(self) -> None:
        """Wait a random part of a limit that doubles each time, up to a second."""
        await asyncio.sleep(random.uniform(PAUSE_MIN_S / 2, self._limit))  # noqa: S311  jitter, no secret
        self._limit = min(self._limit * 2, PAUSE_MAX_S)
