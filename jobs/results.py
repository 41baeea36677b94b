"""The outcome of an attempt becomes the event that reports it. Pure.

Owns the payload of failures, the headers of results and their encoding: header values are ASCII
without line breaks, whatever a job writes into its reasons. It sends nothing.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import TypeAlias, assert_never

import msgspec
from msgspec import Struct

from jobs.context import Command
from jobs.job import AnyJob
from jobs.outcome import Crash, Failure, Outcome, Returned, Success, clip
from sagas.names import is_awaited, is_by_hand, is_call
from sagas.retry import RetryPolicy, delay, may_retry
from store import codec
from store.codec import Execution
from store.port import Outgoing
from store.subjects import Names

HEADER_BYTES_MAX = 400  # what subject and header names add to a message, roughly and with room
RETURN_NOW = 0.0


class Attempted(Struct, frozen=True, kw_only=True):
    """One attempt as it is reported: what ran, when and where. Times are UTC."""

    command: Command
    job: AnyJob
    worker: str
    number: int
    queued: datetime
    started: datetime
    ended: datetime

    @property
    def policy(self) -> RetryPolicy:
        """The retry policy that applies: the send's own, or else the job's."""
        return self.command.retry or self.job.retry


class Report(Struct, frozen=True):
    """The event to publish, and what then ends the delivery: an ack, or a nak after ``delay_s``."""

    message: Outgoing
    outcome: codec.Outcome
    error: str
    delay_s: float | None = None


class Answered(Struct, frozen=True):
    """The outcome goes to the saga; ``dead`` is the reason for a dead letter, or empty."""

    payload: bytes
    outcome: codec.Outcome
    error: str = ""
    dead: str = ""


class Again(Struct, frozen=True):
    """The attempt is put on record and the command delivered again in ``delay_s`` seconds."""

    outcome: codec.Outcome
    error: str
    delay_s: float


Verdict: TypeAlias = Answered | Again


def judge(attempt: Attempted, outcome: Outcome, fraction: float) -> Verdict:
    """What follows from an outcome: an answer, or another try. The only place that decides this.

    ``fraction`` (0 to 1) picks the jitter. A try that would come after the deadline comes at it.
    """
    match outcome:
        case Success():
            return Answered(outcome.data, "completed")
        case Failure():
            return Answered(
                _failure_payload(
                    attempt, outcome.reason, outcome.error, outcome.data, outcome.code
                ),
                "timed_out" if outcome.timed_out else "failed",
                outcome.reason,
                outcome.reason if outcome.defect else "",
            )
        case Crash():
            kind: codec.Outcome = "timed_out" if outcome.timed_out else "retried"
            if may_retry(attempt.policy, attempt.number):
                wait_s = delay(attempt.policy, attempt.number, fraction)
                if attempt.command.deadline is not None:
                    left_s = (attempt.command.deadline - attempt.ended).total_seconds()
                    wait_s = min(wait_s, max(left_s, 0.0))
                return Again(kind, outcome.reason, wait_s)
            return Answered(
                _failure_payload(attempt, outcome.reason, outcome.error, outcome.data),
                "timed_out" if outcome.timed_out else "failed",
                outcome.reason,
                f"given up after attempt {attempt.number}: {outcome.reason}",
            )
        case Returned():
            return Again("returned", "the worker stopped before the job had ended", RETURN_NOW)
        case _:
            assert_never(outcome)


class Reporter:
    """Writes reports for the jobs of one worker."""

    def __init__(self, names: Names, payload_max: int) -> None:
        self._names = names
        self._payload_max = payload_max
        self._attempted = f"{names.event(codec.ATTEMPTED)}."
        self._heads: dict[str, str] = {}

    def report(self, attempt: Attempted, verdict: Verdict) -> Report:
        """The event for a verdict. An answer too large for the broker becomes a failure."""
        if isinstance(verdict, Again):
            return self._again(attempt, verdict)
        report = self._answer(attempt, verdict)
        size = _size(report.message)
        if size <= self._payload_max:
            return report
        return self.refused(
            attempt,
            f"the job's work is done, but its result has {size} bytes with its headers and at most"
            f" {self._payload_max} are allowed; return a reference to the data",
            done=verdict.outcome == "completed",
        )

    def refused(self, attempt: Attempted, reason: str, *, done: bool = False) -> Report:
        """The failure that takes the place of a result which can't be stored; ``done`` tells the
        run of a step that its work was done.
        """
        told = {"done": True} if done and not attempt.job.letters else None
        payload = _failure_payload(attempt, clip(reason), "ResultRefused", told)
        return self._answer(attempt, Answered(payload, "failed", clip(reason), clip(reason)))

    def _answer(self, attempt: Attempted, verdict: Answered) -> Report:
        job, command = attempt.job, attempt.command
        failed = verdict.outcome != "completed"
        own, general = job.on_success, codec.COMPLETED
        if failed:
            own, general = job.on_failure, codec.FAILED
        headers = [(codec.CAUSE, command.id)]
        if command.trace:
            headers.append((codec.TRACEPARENT, command.trace))
        if failed:
            headers.append((codec.OUTCOME, "failed"))
        headers.append((codec.EXECUTION, _execution(attempt, verdict.outcome, verdict.error)))
        # Whoever ran it by hand or called it gets the answer, and so does the run of a step.
        if verdict.dead and job.letters and not is_awaited(command.id):
            headers.append((codec.DEAD_LETTER, header_text(verdict.dead)))
        # No saga may take the result of what it has not sent for one of its own.
        others = is_by_hand(command.id) or is_call(command.id)
        type = general if others else own or general
        subject = self._head(type) + command.key_token
        return Report(
            Outgoing(subject, verdict.payload, tuple(headers)), verdict.outcome, verdict.error
        )

    def _again(self, attempt: Attempted, verdict: Again) -> Report:
        # Without Snorri-Cause: this answers nothing, the command stays open.
        headers = [(codec.EXECUTION, _execution(attempt, verdict.outcome, verdict.error))]
        if attempt.command.trace:
            headers.append((codec.TRACEPARENT, attempt.command.trace))
        message = Outgoing(self._attempted + attempt.command.key_token, b"{}", tuple(headers))
        return Report(message, verdict.outcome, verdict.error, verdict.delay_s)

    def _head(self, type: str) -> str:
        head = self._heads.get(type)
        if head is None:
            head = self._heads[type] = f"{self._names.event(type)}."
        return head


def header_text(text: str) -> str:
    r"""``text`` fit for a header: one line of ASCII, every other character as ``\uXXXX``."""
    return _ascii(" ".join(text.split()))


def header_json(document: bytes) -> str:
    """A JSON document fit for a header, still the same JSON."""
    return _ascii(document.decode())


def _ascii(text: str) -> str:
    return text if text.isascii() and _CONTROL.search(text) is None else _OTHER.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return json.dumps(found.group())[1:-1]


def _execution(attempt: Attempted, outcome: codec.Outcome, error: str) -> str:
    document = _encode(
        Execution(
            command=attempt.command.id,
            target=attempt.job.target,
            worker=attempt.worker,
            attempt=attempt.number,
            queued=attempt.queued,
            started=attempt.started,
            ended=attempt.ended,
            outcome=outcome,
            error=error,
        )
    )
    return header_json(document)


def _failure_payload(
    attempt: Attempted, reason: str, error: str, data: object, code: str = ""
) -> bytes:
    """The facts of a failure and the job's own data; its fields win over ours of the same name."""
    payload: dict[str, object] = {
        "reason": reason,
        "error": error,
        "attempts": attempt.number,
        "target": attempt.job.target,
    }
    if code:
        payload["code"] = code
    try:
        extra: object = {} if data is None else msgspec.json.decode(_encode(data))
        payload.update(extra if isinstance(extra, dict) else {"data": extra})
        return _encode(payload)
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as problem:
        payload["data"] = f"not shown, it can't be written as JSON: {problem}"
        return _encode(payload)


def _size(message: Outgoing) -> int:
    size = len(message.payload) + len(message.subject) + HEADER_BYTES_MAX
    for name, value in message.headers:
        size += len(name) + len(value)
    return size


_encode = msgspec.json.Encoder().encode
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_OTHER = re.compile(r"[^\x20-\x7e]")
