"""What engines and workers tell of themselves: one frozen Struct for each kind of moment.

The catalogue is this module: names, fields and units. Moments are given to a hook, which is called
in the event loop, must be quick and may not stop the work: what it raises is logged. Metrics,
traces and tests are hooks; the default one writes the log.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Protocol, TypeAlias, assert_never

from msgspec import Struct

from sagas.decision import Transition
from sagas.messages import EPOCH
from sagas.names import parse_command_id
from store.codec import Outcome

log = logging.getLogger("snorri.jobs")
log_engine = logging.getLogger("snorri.engine")


# --- engines


class BatchCommitted(Struct, frozen=True):
    """A batch is stored: its transitions in order, the messages it took in, the dead letters it
    wrote; ``duration_s`` is the commit's alone.
    """

    engine: str
    transitions: tuple[Transition, ...]
    messages: int
    letters: int
    duration_s: float


class BatchConflicted(Struct, frozen=True):
    """A batch of so many messages was not stored and is decided again."""

    engine: str
    messages: int


class CommitBusy(Struct, frozen=True):
    """The broker has no room for a batch now; it is sent again after a pause."""

    engine: str
    reason: str


class CommitUnknown(Struct, frozen=True):
    """No answer to a commit: the positions are read back to know what became of it."""

    engine: str
    reason: str


class PartitionTaken(Struct, frozen=True):
    """The engine works on a partition from now on."""

    engine: str
    partition: int


class PartitionLeft(Struct, frozen=True):
    """It does no more; ``lost`` when somebody else had moved it."""

    engine: str
    partition: int
    lost: bool


# --- workers


class JobStarted(Struct, frozen=True):
    """A job begins an attempt; ``attempt`` counts deliveries from 1.

    ``waited_s`` is the time since its command was stored, ``trace`` the command's traceparent. The
    hook is called in the task that runs the job: what it sets of the context, the job sees.
    """

    worker: str
    target: str
    command: str
    attempt: int
    waited_s: float = 0.0
    trace: str = ""


class JobEnded(Struct, frozen=True):
    """An attempt has ended, its result not yet stored; ``error`` is empty when it went well.

    ``trace`` is the traceparent of the command; ``queued`` is when the command was stored,
    ``started`` and ``ended`` are the worker's time. All are UTC.
    """

    worker: str
    target: str
    command: str
    attempt: int
    outcome: Outcome
    duration_s: float
    error: str
    trace: str = ""
    queued: datetime = EPOCH
    started: datetime = EPOCH
    ended: datetime = EPOCH


class JobRetried(Struct, frozen=True):
    """An attempt is on record and its command was handed back, for delivery in ``delay_s``."""

    worker: str
    command: str
    delay_s: float


class CommandRefused(Struct, frozen=True):
    """Something on a command's subject is no command; it was taken off the queue and not run."""

    worker: str
    subject: str
    seq: int
    reason: str


class ResultsPublished(Struct, frozen=True):
    """``count`` results were stored in one go."""

    worker: str
    count: int
    duration_s: float


class ResultsDelayed(Struct, frozen=True):
    """``count`` results were not stored, or nobody knows; they are sent again."""

    worker: str
    count: int
    reason: str


class ResultLost(Struct, frozen=True):
    """The broker refuses a result for good; its command was handed back. A defect of ours."""

    worker: str
    command: str
    reason: str


EngineMoment: TypeAlias = (
    BatchCommitted | BatchConflicted | CommitBusy | CommitUnknown | PartitionTaken | PartitionLeft
)
WorkerMoment: TypeAlias = (
    JobStarted
    | JobEnded
    | JobRetried
    | CommandRefused
    | ResultsPublished
    | ResultsDelayed
    | ResultLost
)
Telemetry: TypeAlias = EngineMoment | WorkerMoment


class Hook(Protocol):
    """Told of every moment, in order."""

    def told(self, moment: Telemetry) -> None: ...


class Hooks:
    """Several hooks as one; what one of them raises does not keep it from the others."""

    def __init__(self, *hooks: Hook) -> None:
        self._tellers = [Teller(hook) for hook in hooks]

    def told(self, moment: Telemetry) -> None:
        """Tell them in order."""
        for teller in self._tellers:
            teller.tell(moment)


class LoggingHook:
    """The default: failures and trouble as warnings, the rest for those who log at debug level.

    An engine's parked instances and dead letters are told by ``trouble``, its partitions by
    ``ownership``.
    """

    def told(self, moment: Telemetry) -> None:
        """Write a line, or none."""
        match moment:
            case BatchCommitted():
                log_engine.debug(
                    "%d transitions of %d messages committed in %.3f s",
                    *(len(moment.transitions), moment.messages, moment.duration_s),
                )
            case BatchConflicted():
                log_engine.info("%d messages are decided again", moment.messages)
            case CommitBusy():
                log_engine.info("the broker is busy: %s", moment.reason)
            case CommitUnknown():
                log_engine.info("nobody knows whether a commit is stored: %s", moment.reason)
            case PartitionTaken() | PartitionLeft():
                pass
            case JobStarted():
                pass
            case JobEnded():
                if moment.outcome == "completed":
                    log.debug("%s completed in %.3f s", moment.command, moment.duration_s)
                else:
                    log.warning(
                        "%s: attempt %d of %s %s after %.3f s: %s",
                        moment.command,
                        moment.attempt,
                        moment.target,
                        moment.outcome.replace("_", " "),
                        moment.duration_s,
                        moment.error,
                        extra=_whose(moment.command, moment.trace),
                    )
            case JobRetried():
                log.info(
                    "%s is tried again in %.1f s",
                    moment.command,
                    moment.delay_s,
                    extra=_whose(moment.command),
                )
            case CommandRefused():
                log.error(
                    "message %d on %s is no command: %s; it was taken off the queue, send it again"
                    " through a saga",
                    moment.seq,
                    moment.subject,
                    moment.reason,
                )
            case ResultsPublished():
                log.debug("%d results stored in %.3f s", moment.count, moment.duration_s)
            case ResultsDelayed():
                log.warning("%d results wait to be stored: %s", moment.count, moment.reason)
            case ResultLost():
                log.error(
                    "the result of %s was refused: %s",
                    moment.command,
                    moment.reason,
                    extra=_whose(moment.command),
                )
            case _:
                assert_never(moment)


def _whose(command: str, trace: str = "") -> dict[str, str]:
    """Fields of a log line about a command: its instance and trace, as far as they are known."""
    origin = parse_command_id(command)
    fields = {"trace": trace} if trace else {}
    return {**fields, "instance": f"{origin[0]}/{origin[1]}"} if origin else fields


class Teller:
    """Hands moments to a hook and keeps its errors away from the work."""

    def __init__(self, hook: Hook | None) -> None:
        self._hook: Hook = hook if hook is not None else LoggingHook()

    def tell(self, moment: Telemetry) -> None:
        """Never raises."""
        try:
            self._hook.told(moment)
        except Exception:
            log.exception("a telemetry hook failed on %r", moment)
