"""One attempt of a job at a command: run it within its limits, and know what became of it.

An attempt never raises for what a job does: exceptions, time-outs, silence and cancellation become
an Outcome, and the Outcome becomes a Report. It takes no part in retries (``results`` judges) and
does not end its delivery (``sender`` does, once the report is stored).
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias, assert_never

from jobs.context import Command, JobContext
from jobs.dependencies import DependencyError, Need, Resolver
from jobs.job import AnyJob
from jobs.outcome import Crash, Failure, Outcome, Returned, clip, describe
from jobs.results import Attempted, Report, Reporter, judge
from jobs.scopes import Scopes
from jobs.telemetry import JobEnded, JobStarted, Teller
from jobs.threads import call_in_thread
from store import codec
from store.job_calls import JobCalls
from store.masking import AT_WORK, Mask
from store.port import Door, Work
from store.subjects import Names

# Deliveries beyond a policy's attempts that are forgiven: each may be a worker that was stopped or
# died. A command that takes its workers down with it is given up after these.
DELIVERIES_EXTRA_MAX = 5
WORKER_DIED = "WorkerDied"

Cut: TypeAlias = Literal["timeout", "deadline", "heartbeat", "stop"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Crew:
    """What all attempts of one worker share; ``now`` is UTC, ``fraction`` gives jitter (0 to 1)."""

    worker: str
    names: Names
    door: Door
    reporter: Reporter
    teller: Teller
    scopes: Scopes
    calls: JobCalls
    threads: ThreadPoolExecutor | None
    now: Callable[[], datetime]
    fraction: Callable[[], float]
    mask: Mask


class Attempt:
    """A delivery in the hands of a worker, from its arrival until it is acked or handed back."""

    __slots__ = (
        "_attempted",
        "_beat_s",
        "_context",
        "_crew",
        "_cut",
        "_heart",
        "_job",
        "_on_ended",
        "_ran_s",
        "_replaced",
        "_report",
        "_scope",
        "_task",
        "command",
        "taken_s",
        "work",
    )

    def __init__(
        self,
        crew: Crew,
        job: AnyJob,
        work: Work,
        command: Command,
        on_ended: Callable[[Attempt], None],
    ) -> None:
        self.work = work
        self.command = command
        self.taken_s = time.monotonic()
        self._crew = crew
        self._job = job
        self._on_ended = on_ended
        self._attempted: Attempted | None = None
        self._report: Report | None = None
        self._replaced = False
        self._cut: Cut | None = None
        self._task: asyncio.Task[None] | None = None
        self._scope: Resolver | None = None
        self._context: JobContext[Any] | None = None
        self._heart: asyncio.TimerHandle | None = None
        self._beat_s = 0.0
        self._ran_s = 0.0

    # --- for the worker

    @property
    def in_progress(self) -> bool:
        """Whether to keep its delivery from others: not when a job goes on after it was cut."""
        return self._cut is None or self._report is not None

    async def run(self) -> None:
        """Run the job and write the report; raises CancelledError only when the loop ends."""
        crew, work, command = self._crew, self.work, self.command
        self._task = asyncio.current_task()
        target, number = self._job.target, work.attempt
        queued = codec.moment(work.at_ns)
        started, begun_s = crew.now(), time.monotonic()
        waited_s = max(0.0, (started - queued).total_seconds())
        crew.teller.tell(
            JobStarted(crew.worker, target, command.id, number, waited_s, command.trace)
        )
        AT_WORK.set(crew.mask.values(work.data))
        outcome = await self._run(started)
        self._attempted = Attempted(
            command=command,
            job=self._job,
            worker=crew.worker,
            number=number,
            queued=queued,
            started=started,
            ended=crew.now(),
        )
        verdict = judge(self._attempted, outcome, crew.fraction())
        report = self._report = crew.reporter.report(self._attempted, verdict)
        # They hold this attempt, too: a ring of so much is left to the collector, and stops us all.
        self._context = self._task = None
        took_s = self._ran_s = time.monotonic() - begun_s
        crew.teller.tell(
            JobEnded(
                *(crew.worker, target, command.id, number, report.outcome, took_s, report.error),
                trace=command.trace,
                queued=queued,
                started=started,
                ended=self._attempted.ended,
            )
        )

    @property
    def ran_s(self) -> float:
        """How long the job ran, in seconds; 0 before it has ended."""
        return self._ran_s

    def cut(self, why: Cut) -> None:
        """End the job before its end; the first reason counts."""
        if self._cut is None and self._report is None and self._task is not None:
            self._cut = why
            self._task.cancel()

    # --- for the sender

    @property
    def report(self) -> Report:
        """The event to store; only after ``run``."""
        assert self._report is not None, "an attempt is sent only after it ran"
        return self._report

    @property
    def command_id(self) -> str:
        return self.command.id

    def replace(self, reason: str) -> bool:
        """Swap a refused report for a failure that says so; False when that was done before."""
        if self._replaced or self._attempted is None:
            return False
        self._replaced = True
        self._report = self._crew.reporter.refused(
            self._attempted,
            f"the broker refused the job's result: {reason}",
            done=self.report.outcome == "completed",
        )
        return True

    def ended(self) -> None:
        """The delivery is ended."""
        self._on_ended(self)

    # --- for the job, through its context

    def beat(self) -> None:
        """Note a sign of life; any thread may."""
        self._beat_s = time.monotonic()

    async def publish(self, type: str, key: str, payload: bytes, msg_id: str) -> None:
        """Store an event of the job's own; raises StoreError."""
        trace = self.command.trace
        headers = {codec.TRACEPARENT: trace} if trace else {}
        subject = self._crew.names.event(type, key)
        await self._crew.door.publish(subject, payload, headers, msg_id)

    async def resolve(self, key: object) -> object:
        """A dependency in this command's scope."""
        return await self._open_scope().resolve(key)

    async def resolve_need(self, need: Need) -> tuple[bool, object]:
        """What a parameter asks for, in this command's scope."""
        return await self._open_scope().resolve_need(need)

    @property
    def calls(self) -> JobCalls:
        """See Desk."""
        return self._crew.calls

    def _open_scope(self) -> Resolver:
        if self._scope is None:
            if self._context is None:
                raise DependencyError(
                    f"the job {self._job.target!r} has ended, so nothing is provided to it any"
                    " more; resolve what it needs before it returns"
                )
            self._scope = self._crew.scopes.command(self._context)
        return self._scope

    # --- inside

    def _refusal(self, now: datetime) -> Failure | None:
        """Why the job is not run at all, or None."""
        command, number = self.command, self.work.attempt
        policy = command.retry or self._job.retry
        if number > policy.attempts_max + DELIVERIES_EXTRA_MAX:
            return Failure(
                f"it was delivered {number} times without an answer and is not run again: its"
                " workers died or were stopped each time; see their logs, then send it again",
                error=WORKER_DIED,
                defect=True,
            )
        if command.deadline is not None and now >= command.deadline:
            return _deadline_passed()
        return None

    async def _run(self, now: datetime) -> Outcome:
        job, refusal = self._job, self._refusal(now)
        if refusal is not None and refusal.error != WORKER_DIED:
            return refusal
        try:
            payload = job.decode(self.work.data or b"null")
        except Exception as error:  # also what a Struct's own __post_init__ raises
            return Failure(
                clip(
                    f"the payload does not fit the job {job.target!r}: {describe(error)};"
                    " correct what the saga sends or the job's annotation"
                ),
                error="BadPayload",
                defect=True,
            )
        context = self._context = job.manner.context(self.command, self.work.attempt, payload, self)
        if refusal is not None:
            return await self._give_up(context, refusal)
        limit = self._arm(now)
        try:
            returned = await self._call(context)
        except (Exception, SystemExit, asyncio.CancelledError) as error:
            return self._broken(context, error)
        else:
            self._calm()
            return job.manner.returned(context, returned)
        finally:
            if limit is not None:
                limit.cancel()
            if self._heart is not None:
                self._heart.cancel()

    async def _give_up(self, context: JobContext[Any], failure: Failure) -> Outcome:
        try:
            return await self._job.manner.given_up(context, failure)
        finally:
            if self._scope is not None:
                await self._scope.close()

    async def _call(self, context: JobContext[Any]) -> object:
        """The job and the clean-up of what it resolved, both part of the attempt."""
        job = self._job
        try:
            positional, named = await job.manner.arguments(context, job.takes_payload)
            call = functools.partial(job.function, *positional, **named)
            threads = self._crew.threads
            returned = await (call_in_thread(call, threads) if job.threaded else call())
        except BaseException as error:
            if self._scope is not None:
                await self._scope.close(error)
            raise
        if self._scope is not None:
            await self._scope.close()
        return returned

    def _arm(self, now: datetime) -> asyncio.TimerHandle | None:
        """Start the limits that apply; the handle of the time-out or deadline, if there is one."""
        loop = asyncio.get_running_loop()
        if self._job.heartbeat_s is not None:
            self.beat()
            self._heart = loop.call_later(self._job.heartbeat_s, self._listen)
        limit_s, why = self._job.timeout_s, "timeout"
        if self.command.deadline is not None:
            left_s = (self.command.deadline - now).total_seconds()
            if limit_s is None or left_s < limit_s:
                return loop.call_later(left_s, self.cut, "deadline")
        return None if limit_s is None else loop.call_later(limit_s, self.cut, why)

    def _listen(self) -> None:
        limit_s = self._job.heartbeat_s or 0.0
        left_s = self._beat_s + limit_s - time.monotonic()
        if left_s <= 0:
            self.cut("heartbeat")
        else:
            self._heart = asyncio.get_running_loop().call_later(left_s, self._listen)

    def _broken(self, context: JobContext[Any], error: BaseException) -> Outcome:
        """What an exception means: ours when we cut the job, else its own."""
        match self._cut:
            case None:
                task = self._task
                if isinstance(error, asyncio.CancelledError) and task and task.cancelling():
                    raise error  # the loop itself ends
                outcome = self._job.manner.raised(context, error)
                if isinstance(error, DependencyError) and isinstance(outcome, Crash):
                    # Who asks again is told the same until somebody mends the app.
                    return Failure(outcome.reason, outcome.data, outcome.error, defect=True)
                return outcome
            case "timeout":
                self._calm()
                text = f"TimeoutError: no answer within {self._job.timeout_s:g} s"
                return Crash(text, "TimeoutError", timed_out=True)
            case "heartbeat":
                self._calm()
                text = f"TimeoutError: no heartbeat for {self._job.heartbeat_s:g} s"
                return Crash(text, "TimeoutError", timed_out=True)
            case "deadline":
                self._calm()
                return _deadline_passed()
            case "stop":
                self._calm()
                return Returned()
            case _:
                assert_never(self._cut)

    def _calm(self) -> None:
        """Take our own cancellation back, so that the rest of the task runs as usual."""
        while self._task is not None and self._task.cancelling():
            self._task.uncancel()


def _deadline_passed() -> Failure:
    return Failure("deadline passed", error="DeadlinePassed", timed_out=True)
