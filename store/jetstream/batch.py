"""Atomic batches: build all messages of one as a single buffer, send it once, name the outcome.

Owns the batch headers and the meaning of the answers. Promises: a batch that can't be stored as it
is (too many or too large messages, a bad subject or header) is Invalid before a byte is sent; no
exception stands for an outcome; at most ``IN_FLIGHT_MAX`` batches of one publisher are open on the
server.

Only two messages of a batch ask for an answer. The last one's is the outcome. The first one's is
empty when the batch was opened; an error there (too many open batches) arrives before the last
message could only say that the batch is incomplete, so whichever answer has content first decides.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Sequence

from store.jetstream import api, codes, wire
from store.jetstream.link import Link, NoResponders
from store.port import (
    BATCH_MESSAGES_MAX,
    Busy,
    CommitOutcome,
    Committed,
    Conflict,
    Invalid,
    MessageTooLarge,
    Outgoing,
    Refused,
    Unknown,
    Unreachable,
)

IN_FLIGHT_MAX = (
    32  # the server takes 50 for a stream, and one left by a crash holds its place for 10 s
)
EXPECT = "Nats-Expected-Last-Subject-Sequence"

# What the server answers to the same faults when it sees them first.
CODE_TOO_MANY = 10199
CODE_TOO_LARGE = 10054
CODE_BAD_MESSAGE = 0


class BatchPublisher:
    """Publishes batches to the one stream that takes their subjects."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._timeout_s = link.write_timeout_s
        self._slots = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._id_head = secrets.token_hex(8)
        self._count = 0

    async def publish(self, batch: Sequence[Outgoing]) -> CommitOutcome:
        """Store all messages or none; one alone goes as a plain publish, which is cheaper."""
        if not 1 <= len(batch) <= BATCH_MESSAGES_MAX:
            return Invalid(
                CODE_TOO_MANY,
                f"a batch has {len(batch)} messages, 1 to {BATCH_MESSAGES_MAX} may be; split it",
            )
        try:
            if len(batch) == 1:
                return await self._watched(self._send_one(batch[0]))
            async with self._slots:
                return await self._watched(self._send_all(batch))
        except MessageTooLarge as error:
            return Invalid(CODE_TOO_LARGE, str(error))
        except Refused as error:
            return Invalid(CODE_BAD_MESSAGE, str(error))
        except NoResponders as error:
            return Busy(str(error))
        except Unreachable as error:
            return Unknown(str(error))

    async def _watched(self, sending: Awaitable[CommitOutcome]) -> CommitOutcome:
        """The outcome of a write, which also says how the server is that we talk to."""
        since_s = asyncio.get_running_loop().time()
        try:
            outcome = await sending
        except Unreachable:
            self._link.stuck(since_s)
            raise
        match outcome:
            case Committed():
                self._link.wrote()
            case Busy() | Conflict():  # a conflict also when a write of ours hangs in mid-air
                self._link.stuck(since_s)
            case Unknown() | Invalid():
                pass
        return outcome

    async def _send_one(self, outgoing: Outgoing) -> CommitOutcome:
        headers = outgoing.headers
        if outgoing.expect is not None:
            headers = ((EXPECT, str(outgoing.expect)), *headers)
        reply = await self._link.ask(
            outgoing.subject, outgoing.payload, headers, timeout_s=self._timeout_s
        )
        ack = api.ack_of(reply.data)
        if ack.duplicate:
            return Invalid(
                codes.DUPLICATE_IN_BATCH,
                f"the message id was stored before as {ack.seq}; leave ids out of commits",
            )
        return _outcome(ack, 1)

    async def _send_all(self, batch: Sequence[Outgoing]) -> CommitOutcome:
        self._count += 1
        batch_id = f"{self._id_head}-{self._count}"
        await self._link.settle()
        reply = await self._link.exchange(
            batch[0].subject,
            lambda inbox: commands(batch, batch_id, inbox, self._link.size_max),
            self._timeout_s,
        )
        return _outcome(api.ack_of(reply.data), len(batch))


def _outcome(ack: api.PubAck, count: int) -> CommitOutcome:
    if ack.error is not None:
        return codes.outcome_of(ack.error)
    return Committed(last=ack.seq, count=count)


def commands(batch: Sequence[Outgoing], batch_id: str, inbox: str, size_max: int) -> bytes:
    """The HPUB commands of a whole batch in one buffer; raises MessageTooLarge or Refused.

    ``inbox`` is the reply subject of the first and the last message. This is the hottest code of a
    commit, hence the flat loop: one string and one encode for the head of each message.
    """
    parts: list[bytes] = []
    append = parts.append
    check_subject, lines_of = wire.check_subject, wire.header_lines
    opening = f"{wire.HEAD_OPEN}Nats-Batch-Id: {batch_id}\r\nNats-Batch-Sequence: "
    last = len(batch)
    for number, outgoing in enumerate(batch, 1):
        subject = check_subject(outgoing.subject)
        payload = outgoing.payload
        head = f"{opening}{number}\r\n"
        if outgoing.expect is not None:
            head += f"{EXPECT}: {outgoing.expect}\r\n"
        if outgoing.headers:
            head += lines_of(outgoing.headers)
        reply = ""
        if number == last:
            head += "Nats-Batch-Commit: 1\r\n\r\n"
            reply = inbox
        else:
            head += "\r\n"
            if number == 1:
                reply = inbox
        length = len(head) if head.isascii() else len(head.encode())
        size = length + len(payload)
        if size > size_max:
            wire.check_size(subject, size, size_max)
        append(f"HPUB {subject} {reply} {length} {size}\r\n{head}".encode())
        append(payload)
        append(b"\r\n")
    return b"".join(parts)
