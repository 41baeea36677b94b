"""Commands that a step sends itself: each stored once, whatever becomes of who sends it.

A call has a subject of its own, made from its id, and its command is stored there on the condition
that nothing is: sent again, after a lost answer, by another attempt or years later, it is found and
not stored a second time. Its result is an event under the same token, so it is found as well. Both
hold for as long as the streams have them; nothing here depends on the window of message ids.
"""

from __future__ import annotations

import asyncio
import random
from typing import assert_never

from msgspec import Raw, Struct

from sagas.names import call_command_id, check_name, escape
from store import codec
from store.job_runs import JobResult, answer
from store.port import (
    Backend,
    Busy,
    Committed,
    Conflict,
    Invalid,
    MessageTooLarge,
    Outgoing,
    Refused,
    StoreError,
    Unknown,
    Unreachable,
)
from store.subjects import Names

SEND_S = 20.0  # for the broker to say whether it has a command
PAUSE_MIN_S = 0.02
PAUSE_MAX_S = 1.0
ROUTE_BYTES = 400  # what the broker adds to a message, roughly and with room


class UnknownTarget(StoreError):
    """No worker has ever served a job of this name."""


class JobCall(Struct, frozen=True, kw_only=True):
    """What a step asks of a job: ``token`` (32 hex digits) tells it from all else that it asks,
    ``sender`` is the id of the step's command; ``saga``, ``key`` and ``version`` are its run's;
    ``waits`` says whether the step waits for the answer.
    """

    token: str
    sender: str
    target: str
    payload: Raw
    saga: str
    key: str
    version: int = 0
    traceparent: str = ""
    waits: bool = True

    @property
    def command(self) -> str:
        """The id of its command."""
        return call_command_id(self.sender, self.token, waits=self.waits)


class JobCalls:
    """Sends calls and waits for their results; one for each worker."""

    def __init__(self, backend: Backend, names: Names) -> None:
        self._backend = backend
        self._names = names
        self._known: set[str] = set()

    async def send(self, call: JobCall) -> bool:
        """Store the command unless it is stored; whether that was done now.

        Raises BadName, UnknownTarget, MessageTooLarge, Refused, and Unreachable when the broker
        does not say within SEND_S.
        """
        check_name(call.target, "target")
        message = self._message(call)
        self._check_size(call, message)
        await self._check_target(call.target)
        deadline_s = asyncio.get_running_loop().time() + SEND_S
        pause_s = PAUSE_MIN_S
        while True:
            outcome = await self._backend.log.commit([message])
            match outcome:
                case Committed():
                    return True
                case Conflict():
                    # It is there, or somebody is about to write it who may yet fail.
                    if await self._backend.log.load([message.subject]):
                        return False
                case Invalid():
                    raise Refused(f"the call of {call.target!r} is refused: {outcome.reason}")
                case Busy() | Unknown():
                    pass
                case _:
                    assert_never(outcome)
            if asyncio.get_running_loop().time() > deadline_s:
                raise Unreachable(
                    f"the broker does not say whether it has the call of {call.target!r}:"
                    f" {outcome.reason}; try again, it is stored once"
                )
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause_s = min(pause_s * 2, PAUSE_MAX_S)

    async def result(self, call: JobCall) -> JobResult:
        """The result of a call that was sent, whenever it comes; raises Unreachable."""
        return await answer(self._backend.feeds, self._names, call.command, call.token)

    def _message(self, call: JobCall) -> Outgoing:
        headers = [
            (codec.COMMAND_ID, call.command),
            (codec.SAGA, escape(call.saga)),
            (codec.KEY, escape(call.key)),
            (codec.VERSION, str(call.version)),
            (codec.ATTEMPT, "1"),
        ]
        if call.traceparent:
            headers.append((codec.TRACEPARENT, call.traceparent))
        subject = self._names.command(call.target, call.token)
        return Outgoing(subject, bytes(call.payload), tuple(headers), expect=0)

    def _check_size(self, call: JobCall, message: Outgoing) -> None:
        around = sum(len(name) + len(value) for name, value in message.headers) + ROUTE_BYTES
        room = self._backend.payload_max - around - len(message.subject)
        if len(message.payload) > room:
            raise MessageTooLarge(
                f"the payload for {call.target!r} has {len(message.payload)} bytes and at most"
                f" {room} are allowed; store the data elsewhere and send a reference"
            )

    async def _check_target(self, target: str) -> None:
        """A queue is made by the first worker that serves its job, and stays."""
        if target in self._known:
            return
        if await self._backend.queues.state(target) is None:
            raise UnknownTarget(
                f"no worker has ever served a job {target!r}; correct the name, or start a worker"
                f" that has it: snorri jobs {target}"
            )
        self._known.add(target)
