"""What became of one attempt of a job: a closed union, and the one place that makes it. Pure.

A job says how it ended in several ways (data, ``success``, ``failure``, nothing, an exception);
everything after this module knows four. Nothing here knows a broker or decides about another try.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from sagas.messages import to_raw
from store.masking import AT_WORK, without

REASON_CHARS_MAX = 1000  # of a reason or an error: it travels in headers, which have a limit


class Success(Struct, frozen=True):
    """The job did its work; ``data`` is the payload of its result event, JSON."""

    data: bytes


class Failure(Struct, frozen=True):
    """The answer is no, and trying again will not change it.

    ``data`` is merged into the payload of the failure event, ``error`` is the exception's type or
    empty, ``code`` the kind of failure where the job named it. ``defect`` says that somebody has to
    mend something: the command becomes a dead letter.
    """

    reason: str
    data: object = None
    error: str = ""
    defect: bool = False
    timed_out: bool = False
    code: str = ""


class Crash(Struct, frozen=True):
    """The attempt came to no answer (an exception, a time-out); another one may.

    ``data`` is merged into the payload of the failure event if none does.
    """

    reason: str
    error: str
    timed_out: bool = False
    data: object = None


class Returned(Struct, frozen=True):
    """The worker stops before the job has an answer; the command goes back to the queue."""


Outcome: TypeAlias = Success | Failure | Crash | Returned


class PermanentFailure(Exception):
    """Raise it in a job to end the command as failed, without another attempt.

    ``data`` joins the payload of the failure event, as in ``failure(reason, data)``; in a step it
    is for the undo. ``code`` names the kind of failure.
    """

    def __init__(self, reason: str, data: object = None, *, code: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.data = data
        self.code = code


class Answer(Struct, frozen=True):
    """What ``success`` and ``failure`` give; return it from the job."""

    data: object = None
    reason: str | None = None


def success(data: object = None) -> Answer:
    """The job's work is done; ``data``, anything msgspec writes as JSON, is its result."""
    return Answer(data=data)


def failure(reason: str | BaseException, data: object = None) -> Answer:
    """The job's answer is no, for good: its failure event is published and nothing is repeated."""
    text = reason if isinstance(reason, str) else describe(reason)
    return Answer(data=data, reason=text)


def outcome_of(returned: object) -> Success | Failure:
    """The outcome of a job that returned; data that can't be JSON is a failure and a defect."""
    if isinstance(returned, Answer):
        if returned.reason is not None:
            return Failure(clip(returned.reason), returned.data)
        returned = returned.data
    try:
        return Success(b"{}" if returned is None else bytes(to_raw(returned)))
    except (TypeError, ValueError, RecursionError) as error:
        return Failure(
            clip(
                f"the job's work is done, but its result can't be written as JSON: {error};"
                " return Structs, dicts, lists, texts and numbers"
            ),
            error=type(error).__name__,
            defect=True,
        )


def outcome_of_error(error: BaseException) -> Failure | Crash:
    """The outcome of a job that raised."""
    if isinstance(error, PermanentFailure):
        name = type(error).__name__
        return Failure(clip(error.reason), error.data, name, code=error.code)
    return Crash(clip(describe(error)), type(error).__name__)


def describe(error: BaseException) -> str:
    """An exception in one line; one whose own text can't be had is named by its type."""
    try:
        text = str(error)
    except Exception:
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def clip(text: str) -> str:
    """``text`` cut to REASON_CHARS_MAX, without what UTF-8 can't hold and without the secret values
    of the command at work: reasons go into history, logs and dead letters.
    """
    text = without(text, AT_WORK.get())
    if len(text) > REASON_CHARS_MAX:
        text = f"{text[: REASON_CHARS_MAX - 1]}…"
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
