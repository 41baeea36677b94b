"""Running one job by hand: a command that belongs to no saga, and the result that answers it.

The command is stored on its target's subject like any other, so a worker runs it with the same
limits and retries; who sent it, why and from where stands in its headers. Its result is an event of
a general type, so that no saga mistakes it for an answer of its own; no engine delivers it.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from datetime import datetime

import msgspec
from msgspec import Raw, Struct

from sagas.messages import NULL
from sagas.names import by_hand_command_id, check_key, check_name, escape
from store import codec
from store.codec import Execution
from store.port import Backend, Feed, Feeds, Stored
from store.subjects import Names

TAKE_MAX = 100
OTHERS_S = 2.0  # for what is known to be stored besides the first answer that has arrived


class JobRun(Struct, frozen=True, kw_only=True):
    """A command that was sent by hand: its id, and where it stands in the log."""

    command: str
    target: str
    key: str
    seq: int


class JobResult(Struct, frozen=True, kw_only=True):
    """How a run ended: ``payload`` is what the job answered, ``seq`` the event that says so."""

    outcome: codec.Outcome
    payload: Raw
    error: str
    attempt: int
    worker: str
    started: datetime
    ended: datetime
    seq: int


class JobRuns:
    """Sends commands by hand; every method raises Unreachable when the broker does not answer."""

    def __init__(self, backend: Backend, names: Names) -> None:
        self._backend = backend
        self._names = names

    async def send(
        self,
        target: str,
        payload: Raw = NULL,
        *,
        token: str,
        key: str | None = None,
        by: str = "",
        reason: str = "",
        origin: str = "",
        traceparent: str = "",
    ) -> JobRun:
        """Store the command; ``token`` makes its id, and for some minutes a repetition harmless.

        ``key`` (default: the token) is what the job sees as its key. Raises BadName, Refused and
        MessageTooLarge.
        """
        check_name(target, "target")
        key = check_key(token if key is None else key)
        command = by_hand_command_id(token)
        headers = {codec.COMMAND_ID: command, codec.KEY: escape(key), codec.ATTEMPT: "1"}
        for name, text in ((codec.BY, by), (codec.REASON, reason), (codec.ORIGIN, origin)):
            if text:
                headers[name] = escape(text)
        if traceparent:
            headers[codec.TRACEPARENT] = traceparent
        subject = self._names.command(target, key)
        accepted = await self._backend.door.publish(subject, bytes(payload), headers, command)
        return JobRun(command=command, target=target, key=key, seq=accepted.seq)

    async def result(self, run: JobRun, timeout_s: float) -> JobResult | None:
        """The result of a run, None when it has none within the time."""
        try:
            async with asyncio.timeout(timeout_s):
                return await answer(self._backend.feeds, self._names, run.command, run.key)
        except TimeoutError:
            return None


async def answer(feeds: Feeds, names: Names, command: str, key: str) -> JobResult:
    """The result of a command that no saga has sent, under the key of its subject, whenever it
    comes: the first one, should the job have run again after it; raises Unreachable.
    """
    arrived = asyncio.Event()
    async with AsyncExitStack() as stack:
        opened: list[Feed] = []
        # One for each: permissions can say what may be read only by a single filter.
        for type in (codec.COMPLETED, codec.FAILED):
            feed = await feeds.open("events", [names.stored_event(type, key)], 0, arrived.set)
            stack.push_async_callback(feed.close)
            opened.append(feed)
        return await _answer(opened, arrived, command)


async def _answer(feeds: list[Feed], arrived: asyncio.Event, command: str) -> JobResult:
    found: list[Stored] = []
    while not found:
        arrived.clear()
        taken = _take(feeds)
        found += _answers(taken, command)
        if not taken:
            await arrived.wait()
    with suppress(TimeoutError):
        async with asyncio.timeout(OTHERS_S):
            while any(feed.waiting for feed in feeds):  # what is under way may have come before
                arrived.clear()
                taken = _take(feeds)
                found += _answers(taken, command)
                if not taken:
                    await arrived.wait()
    return _read(min(found, key=lambda stored: stored.seq))


def _take(feeds: list[Feed]) -> list[Stored]:
    return [stored for feed in feeds for stored in feed.take(TAKE_MAX)]


def _answers(taken: list[Stored], command: str) -> list[Stored]:
    return [
        stored
        for stored in taken
        if stored.headers.get(codec.CAUSE) == command and codec.EXECUTION in stored.headers
    ]


def _read(stored: Stored) -> JobResult:
    execution = msgspec.json.decode(stored.headers[codec.EXECUTION], type=Execution)
    return JobResult(
        outcome=execution.outcome,
        payload=Raw(stored.data or NULL),
        error=execution.error,
        attempt=execution.attempt,
        worker=execution.worker,
        started=execution.started,
        ended=execution.ended,
        seq=stored.seq,
    )
