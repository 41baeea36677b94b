"""What the function of a step asks of jobs while it runs: calls, whose answer it waits for, and
sends.

The id of a command that is sent here is made from what is the same whenever the function runs
again: the id of the step's own command, the target, and a name or the place among the calls of the
function. So a repetition finds what the first time has sent. A job that
failed for good is asked again only when a person has sent the step again.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import msgspec
from msgspec import Raw

from jobs.context import Command
from jobs.outcome import PermanentFailure, describe
from sagas.durations import seconds
from sagas.messages import to_raw
from sagas.names import BadName
from sagas.programs.steps import Duration
from store.job_calls import JobCall, JobCalls
from store.job_runs import JobResult
from store.port import MessageTooLarge

PLACE, NAME = "place", "name"


class CallFailed(PermanentFailure):
    """The job that a step has called failed for good; one that is not caught fails the step.

    ``reason`` and ``code`` are the job's (the name of its error where it gave no code), ``answer``
    is the payload of its failure, ``timed_out`` whether it was its time that ran out.
    """

    def __init__(self, target: str, command: str, result: JobResult) -> None:
        found = _plain(result.payload)
        answer: dict[str, Any] = found if isinstance(found, dict) else {"data": found}
        reason = str(answer.get("reason") or result.error or "it gave no reason")
        super().__init__(
            f"{target}: {reason}", code=str(answer.get("code") or answer.get("error") or "")
        )
        self.reason = reason
        self.target = target
        self.command = command
        self.answer = answer
        self.attempts = result.attempt
        self.timed_out = result.outcome == "timed_out"


class CallTimedOut(TimeoutError):
    """A called job has not answered in time. It goes on: who calls again waits for the same one."""

    def __init__(self, target: str, command: str, timeout_s: float) -> None:
        super().__init__(
            f"{target} has not answered within {timeout_s:g} s; the job goes on, and the next"
            " attempt waits for its answer"
        )
        self.target = target
        self.command = command


class StepCalls:
    """The calls of one attempt at a step or an undo."""

    def __init__(self, calls: JobCalls, command: Command) -> None:
        self._calls = calls
        self._command = command
        self._count = 0

    async def call(
        self, target: str, payload: object, type: Any, timeout: Duration | None, name: str
    ) -> Any:
        """See StepContext."""
        limit_s = None if timeout is None else seconds(timeout)
        place, body = self._place(name), _encoded(target, payload)
        limit = asyncio.timeout(limit_s)
        try:
            async with limit:
                command, result = await self._answered(target, place, body)
        except TimeoutError:
            if limit_s is None or not limit.expired():
                raise
            command = self._call(target, place, body, 1).command
            raise CallTimedOut(target, command, limit_s) from None
        if result.outcome != "completed":
            raise CallFailed(target, command, result)
        return _decoded(target, result.payload, type)

    async def send(self, target: str, payload: object, name: str) -> str:
        """See StepContext."""
        call = self._call(target, self._place(name), _encoded(target, payload), 1, waits=False)
        await self._send(call)
        return call.command

    async def _answered(
        self, target: str, place: tuple[str, object], body: Raw
    ) -> tuple[str, JobResult]:
        """The answer of the first time at which the job did not fail, or else of the last one.

        A step that a person has sent again asks once more what has failed.
        """
        for time in range(1, self._command.sends + 1):
            call = self._call(target, place, body, time)
            await self._send(call)
            result = await self._calls.result(call)
            if result.outcome == "completed" or time == self._command.sends:
                return call.command, result
        raise AssertionError("a command is sent once or more")

    async def _send(self, call: JobCall) -> None:
        try:
            await self._calls.send(call)
        except BadName as error:
            raise PermanentFailure(str(error), code="BadTarget") from None
        except MessageTooLarge as error:
            raise PermanentFailure(str(error), code="PayloadTooLarge") from None

    def _place(self, name: str) -> tuple[str, object]:
        if name:
            return NAME, name
        self._count += 1
        return PLACE, self._count

    def _call(
        self, target: str, place: tuple[str, object], body: Raw, time: int, *, waits: bool = True
    ) -> JobCall:
        command = self._command
        same = [command.id, target, *place, time]
        token = hashlib.blake2b(msgspec.json.encode(same), digest_size=16).hexdigest()
        return JobCall(
            token=token,
            sender=".".join(command.id.split(".")[:4]),
            target=target,
            payload=body,
            saga=command.saga,
            key=command.key,
            version=command.version,
            traceparent=command.trace,
            waits=waits,
        )


def _encoded(target: str, payload: object) -> Raw:
    try:
        return to_raw(payload)
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise PermanentFailure(
            f"the payload for {target!r} can't be written as JSON: {error}; give Structs, dicts,"
            " lists, texts and numbers",
            code="BadPayload",
        ) from None


def _decoded(target: str, answer: Raw, type: Any) -> Any:
    try:
        return msgspec.json.decode(answer, type=type)
    except Exception as error:  # also what a Struct's own __post_init__ raises
        raise PermanentFailure(
            f"the answer of {target!r} does not fit {type!r:.80}: {describe(error)}; correct the"
            " type, or what the job returns",
            code="BadAnswer",
        ) from error


def _plain(payload: Raw) -> Any:
    try:
        return msgspec.json.decode(payload)
    except msgspec.DecodeError:
        return {}
