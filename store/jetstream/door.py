"""Publishing single messages and batches of events: what is no part of a transition.

Promises what ``store.port.Door`` does: an answer that nothing was stored for a passing reason is
retried here for a while, any doubt about storing is Unreachable and never retried here (a message
id makes it safe for the caller to).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from store.jetstream import api, codes, wire
from store.jetstream.batch import BatchPublisher
from store.jetstream.link import Link, NoResponders
from store.port import (
    NO_HEADERS,
    Accepted,
    CommitOutcome,
    Headers,
    Outgoing,
    Refused,
    Unreachable,
)
from store.subjects import Names

RETRY_MIN_S = 0.02
RETRY_MAX_S = 0.5


class JetStreamDoor:
    """``store.port.Door`` for the events stream and the signals of the log."""

    def __init__(self, link: Link, names: Names, timeout_s: float = 0.0) -> None:
        self._link = link
        self._names = names
        self._timeout_s = timeout_s or link.write_timeout_s
        self._batches = BatchPublisher(link)

    async def publish(
        self, subject: str, payload: bytes, headers: Headers = NO_HEADERS, msg_id: str = ""
    ) -> Accepted:
        """Store one message; raises Unreachable (outcome unknown), MessageTooLarge or Refused."""
        self._check_ours(subject)
        pairs = tuple(headers.items())
        if msg_id:
            pairs = (("Nats-Msg-Id", msg_id), *pairs)
        loop = asyncio.get_running_loop()
        since_s = loop.time()
        deadline_s = since_s + self._timeout_s
        delay_s = RETRY_MIN_S
        while True:
            busy = ""
            try:
                reply = await self._link.ask(subject, payload, pairs, self._timeout_s)
            except NoResponders as error:  # the stream is there (see below) and has no leader now
                busy = str(error)
            except Unreachable:
                self._link.stuck(since_s)
                raise
            else:
                ack = api.ack_of(reply.data)
                if ack.error is None:
                    self._link.wrote()
                    return Accepted(ack.seq, ack.duplicate)
                busy = _busy_or_raise(subject, ack.error)
            self._link.stuck(since_s)
            if loop.time() + delay_s > deadline_s:
                raise Unreachable(f"{subject} was not stored within {self._timeout_s:g} s: {busy}")
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            delay_s = min(RETRY_MAX_S, delay_s * 2)

    async def publish_batch(self, batch: Sequence[Outgoing]) -> CommitOutcome:
        """Store many events atomically; the outcome says whether."""
        return await self._batches.publish(batch)

    def _check_ours(self, subject: str) -> None:
        """Refuse what no stream takes: the server's answer would look like a lost leader."""
        tokens = wire.check_subject(subject).split(".")
        depth = self._names.namespace.count(".") + 1
        room = tokens[depth : depth + 1]
        rest = len(tokens) - depth - 1
        in_space = subject.startswith(f"{self._names.namespace}.")
        if in_space and (
            (room == ["events"] and rest in (1, 2))
            or (room in (["signals"], ["commands"], ["timers"]) and rest >= 1)
        ):
            return
        raise Refused(
            f"no stream takes {subject!r}; publish to {self._names.namespace}.events.<Type> or "
            f"{self._names.namespace}.events.<Type>.<key> with both escaped"
        )


def _busy_or_raise(subject: str, error: codes.ServerError) -> str:
    match codes.kind_of(error):
        case "busy":
            return str(error)
        case "unknown":
            raise Unreachable(f"{subject}: {error}; it may be stored, repeat it only with its id")
        case "conflict" | "invalid":
            raise Refused(f"{subject} was refused: {error}; correct the message")
