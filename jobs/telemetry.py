"""What a worker tells of itself: one frozen Struct for each kind of moment, given to a hook.

The catalogue is this module: names, fields and units. A hook is called in the event loop, must be
quick and may not stop the work: what it raises is logged. Metrics and tests are hooks; the default
one writes the log.
"""

from __future__ import annotations

import logging
from typing import Protocol, TypeAlias, assert_never

from msgspec import Struct

from sagas.names import parse_command_id
from store.codec import Outcome

log = logging.getLogger("snorri.jobs")


class JobStarted(Struct, frozen=True):
    """A job begins an attempt; ``attempt`` counts deliveries from 1."""

    worker: str
    target: str
    command: str
    attempt: int


class JobEnded(Struct, frozen=True):
    """An attempt has ended, its result not yet stored; ``error`` is empty when it went well.

    ``trace`` is the traceparent of the command.
    """

    worker: str
    target: str
    command: str
    attempt: int
    outcome: Outcome
    duration_s: float
    error: str
    trace: str = ""


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


Telemetry: TypeAlias = (
    JobStarted
    | JobEnded
    | JobRetried
    | CommandRefused
    | ResultsPublished
    | ResultsDelayed
    | ResultLost
)


class Hook(Protocol):
    """Told of every moment, in order."""

    def told(self, moment: Telemetry) -> None: ...


class LoggingHook:
    """The default: failures and trouble as warnings, the rest for those who log at debug level."""

    def told(self, moment: Telemetry) -> None:
        """Write a line, or none."""
        match moment:
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
