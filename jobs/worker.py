"""The worker: a service that takes commands of its targets, runs their jobs, reports the results.

The promise to a command: it is run until an answer is stored, at least once, under the same command
id each time. Nothing is acked before its report is stored (``sender``); what a worker holds when it
dies comes back after the ack wait, what it holds when it is stopped comes back at once. Deliveries
are counted by the broker alone. A message on a command's subject that is no command (somebody wrote
it by hand, without a command id) has nobody to answer to: it is logged, told to the hook and taken
off the queue; the message itself stays in the log stream.

A job that blocks the event loop also blocks the signs of life of its neighbours; such work belongs
in a plain ``def``, which runs in a thread.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import socket
import time
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from jobs.commands import BadCommand, read_command
from jobs.counter import Counter
from jobs.dependencies import Providers
from jobs.execution import Attempt, Crew
from jobs.inline import InlineSteps, InlineWork
from jobs.job import AnyJob, JobRegistry
from jobs.presence import Presence
from jobs.results import Reporter
from jobs.scopes import Scopes
from jobs.sender import Sender
from jobs.telemetry import CommandRefused, Hook, Teller
from sagas.names import escape
from store.broker_clock import Clock, utc_now
from store.cards import WorkerCard
from store.job_calls import JobCalls
from store.life import Life
from store.masking import Mask
from store.port import Backend, StoreError, Work
from store.subjects import Names

log = logging.getLogger("snorri.jobs")

ACK_WAIT_S = 30.0
GRACE_S = 20.0
IN_FLIGHT_MAX = 1000  # over all workers of a target that sets no limit of its own
RESULTS_WAITING_MAX = 1000  # with more of them not stored yet, no commands are taken
TAKE_WAIT_S = 10.0
OPENING_MAX = 32  # queues that are opened at a time
PAUSE_MIN_S = 0.05
PAUSE_MAX_S = 2.0
FLUSH_S = 5.0  # at a stop: how long reports may take to be stored after the last job has ended
CANCEL_S = 2.0  # at a stop: how long a job may take to end after it was cancelled


class Worker:
    """Runs the jobs of one process; start, stop and wait as every service."""

    name = "worker"

    def __init__(
        self,
        backend: Backend,
        names: Names,
        jobs: JobRegistry,
        *,
        targets: Iterable[str] | None = None,
        providers: Providers | None = None,
        worker_id: str = "",
        grace_s: float = GRACE_S,
        ack_wait_s: float = ACK_WAIT_S,
        hook: Hook | None = None,
        now: Clock = utc_now,
        fraction: Callable[[], float] = random.random,
        secret_fields: Iterable[str] = (),
        inline: InlineSteps | None = None,
    ) -> None:
        """Raises DefinitionError for a target that no job has and for providers that can't work.

        ``targets`` None: all enabled jobs. ``grace_s`` is how long jobs may go on after ``stop``.
        ``ack_wait_s`` must be the same in all workers of a target. ``secret_fields`` are names
        beside those that the jobs mark; what errors quote of their values is left out. ``inline``
        are the steps that the engine of this process gives it directly.
        """
        host = socket.gethostname()
        self.id = worker_id or f"{escape(host)}-{os.getpid()}-{secrets.token_hex(2)}"
        self._backend = backend
        self._jobs = jobs.select(targets)
        self._grace_s = grace_s
        self._ack_wait_s = ack_wait_s
        self._teller = Teller(hook)
        self._started_at = now()
        providers = providers or Providers()
        providers.check()
        for job in self._jobs:
            providers.check_needs(job.needs, f"the job {job.target!r}")
        self._scopes = Scopes(providers)
        threads = sum(job.concurrency for job in self._jobs if job.threaded)
        self._threads = ThreadPoolExecutor(threads, f"{self.id}-job") if threads else None
        self._crew = Crew(
            worker=self.id,
            names=names,
            door=backend.door,
            reporter=Reporter(names, backend.payload_max),
            teller=self._teller,
            scopes=self._scopes,
            calls=JobCalls(backend, names),
            threads=self._threads,
            now=now,
            fraction=fraction,
            mask=Mask([*secret_fields, *(name for job in self._jobs for name in job.secrets)]),
        )
        self._sender = Sender(backend.door, self.id, self._teller)
        self._presence = Presence(backend.meta, self.id, self._jobs, self._card, now)
        self._counters: list[Counter] = []
        self._by_target: dict[str, Counter] = {}
        self._inline = inline
        self._backed_up = False
        self._held: set[Attempt] = set()
        self._running: dict[asyncio.Task[None], tuple[Attempt, Counter]] = {}
        self._takers: list[asyncio.Task[None]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._life = Life()
        self._starting = asyncio.Lock()
        self._stopping: asyncio.Task[None] | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets it serves."""
        return tuple(job.target for job in self._jobs)

    @property
    def running(self) -> int:
        """Attempts whose job has not ended."""
        return len(self._running)

    async def start(self) -> None:
        """Open the queues and begin to take; raises StoreError (TopologyDrift for other limits).
        A stop meanwhile waits for it.
        """
        async with self._starting:
            if self._stopping is None:
                await self._start()

    async def _start(self) -> None:
        try:
            # Some at a time: a list of 500 steps has 1,000 queues, and each costs a round trip.
            free = asyncio.Semaphore(OPENING_MAX)
            opened = [self._open(job, free) for job in self._jobs]
            for end in await asyncio.gather(*opened, return_exceptions=True):
                if isinstance(end, BaseException):
                    raise end
            await self._presence.register()
            await self._presence.renew()
        except BaseException:
            for counter in self._counters:
                await counter.queue.close()
            self._end_threads()
            raise
        self._tasks = [
            self._begin(self._sender.run(), "sender"),
            self._begin(self._keep(), "in progress"),
            self._begin(self._presence.run(), "presence"),
        ]
        self._takers = [self._begin(self._take(c), c.job.target) for c in self._counters]
        if self._inline is not None:
            self._inline.open(self)

    async def _open(self, job: AnyJob, free: asyncio.Semaphore) -> None:
        async with free:
            queue = await self._backend.queues.open(
                job.target,
                ack_wait_s=self._ack_wait_s,
                in_flight_max=job.concurrency_total or IN_FLIGHT_MAX,
            )
        counter = self._by_target[job.target] = Counter(job, queue)
        self._counters.append(counter)

    async def stop(self) -> None:
        """Take no more, let jobs end within the grace, hand the rest back; waits for all that."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(), name="worker stop")
        await asyncio.shield(self._stopping)

    async def wait(self) -> None:
        """Return after ``stop``; raise what ended the worker otherwise."""
        await self._life.wait()

    # --- taking and running

    def accept(self, target: str, work: InlineWork) -> bool:
        """Carry out a step for the engine of this process; False when no job here is its own."""
        counter = self._by_target.get(target)
        return counter is not None and self._accept(counter, work)

    def run_ended(self, saga: str, key: str) -> None:
        """The engine of this process has ended a run."""
        self._scopes.run_ended(saga, key)

    async def _take(self, counter: Counter) -> None:
        """Fill the free slots of one target for as long as the worker runs."""
        pause_s = PAUSE_MIN_S
        while True:
            wanted = counter.wanted
            if self._sender.waiting >= RESULTS_WAITING_MAX:
                self._backed_up, wanted = True, 0
            if wanted <= 0:
                counter.stirred.clear()
                await counter.stirred.wait()
                continue
            try:
                works = await counter.queue.take(wanted, TAKE_WAIT_S)
            except StoreError as error:
                log.warning("no commands of %s can be taken now: %s", counter.job.target, error)
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                pause_s = min(pause_s * 2, PAUSE_MAX_S)
                continue
            pause_s = PAUSE_MIN_S
            # All are accepted before the first await: a stop may cancel us there.
            refused = [work for work in works if not self._accept(counter, work)]
            for work in refused:
                await _quietly(work.term())

    def _accept(self, counter: Counter, work: Work) -> bool:
        """Begin with a command, or put it in line; False when it is none."""
        try:
            command = read_command(work.subject, work.headers, counter.job.target)
        except BadCommand as bad:
            self._teller.tell(CommandRefused(self.id, work.subject, work.seq, str(bad)))
            return False
        attempt = Attempt(self._crew, counter.job, work, command, self._let_go)
        self._held.add(attempt)
        if counter.free > 0:
            self._run(counter, attempt)
        else:
            counter.ahead.append(attempt)
        return True

    def _run(self, counter: Counter, attempt: Attempt) -> None:
        counter.free -= 1
        task = asyncio.create_task(attempt.run(), name=attempt.command_id)
        self._running[task] = (attempt, counter)
        task.add_done_callback(self._ran)

    def _ran(self, task: asyncio.Task[None]) -> None:
        """A job has ended: its slot is free, its report goes out."""
        attempt, counter = self._running.pop(task)
        counter.free += 1
        counter.note(attempt.ran_s)
        if counter.ahead:
            self._run(counter, counter.ahead.popleft())
        counter.stirred.set()
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or error is not None:
            # The loop ends, or this program is at fault; the command comes back after its ack wait.
            self._held.discard(attempt)
            if error is not None:
                log.error("the attempt at %s broke down", attempt.command_id, exc_info=error)
                if isinstance(attempt.work, InlineWork):
                    attempt.work.again(self._ack_wait_s)
            return
        report, work = attempt.report, attempt.work
        if isinstance(work, InlineWork) and report.delay_s is None:
            work.answer(report.message)
            attempt.ended()
        else:
            self._sender.put(attempt)

    def _let_go(self, attempt: Attempt) -> None:
        self._held.discard(attempt)
        if self._backed_up and self._sender.waiting <= RESULTS_WAITING_MAX // 2:
            self._backed_up = False
            for counter in self._counters:
                counter.stirred.set()

    async def _keep(self) -> None:
        """Tell the broker three times within an ack wait that what is held is being worked on."""
        while True:
            await asyncio.sleep(self._ack_wait_s / 3)
            await self._hand_back(time.monotonic() - self._ack_wait_s / 3)
            self._scopes.sweep()
            for attempt in list(self._held):
                if attempt.in_progress and attempt in self._held:
                    await _quietly(attempt.work.in_progress())

    async def _hand_back(self, taken_before_s: float, *, inline: bool = False) -> None:
        """Give back what has waited for a slot too long; another worker may have one. Only this
        one has a place for ``inline`` steps.
        """
        for counter in self._counters:
            for attempt in list(counter.ahead):
                kept = isinstance(attempt.work, InlineWork) and not inline
                if attempt.taken_s <= taken_before_s and not kept:
                    counter.ahead.remove(attempt)
                    self._held.discard(attempt)
                    await _quietly(attempt.work.nak())

    # --- stopping

    async def _stop(self) -> None:
        async with self._starting:  # what is being opened has to be closed, too
            if self._inline is not None:
                self._inline.close()
        await _cancelled(self._takers)
        for counter in self._counters:
            await _quietly(counter.queue.close())
        await self._hand_back(time.monotonic(), inline=True)
        await self._let_end(self._grace_s)
        for attempt, _ in list(self._running.values()):
            attempt.cut("stop")
        await self._let_end(CANCEL_S)
        try:
            async with asyncio.timeout(FLUSH_S):
                await self._sender.drained()
        except TimeoutError:
            log.warning("%d results were not stored; their jobs run again", self._sender.waiting)
        await _cancelled(self._tasks)
        for attempt in list(self._held):
            await _quietly(attempt.work.nak())
        for task, (attempt, _) in list(self._running.items()):
            log.warning("the job of %s does not end; it is left behind", attempt.command_id)
            task.cancel()
        await self._close_app()
        self._end_threads()
        await self._presence.leave()
        self._life.end()

    async def _let_end(self, limit_s: float) -> None:
        if self._running:
            await asyncio.wait(list(self._running), timeout=limit_s)
            await asyncio.sleep(0)  # their callbacks hand the reports to the sender

    async def _close_app(self) -> None:
        try:
            await self._scopes.close()
        except Exception:
            log.exception("the clean-up of a provider failed")

    def _end_threads(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        return self._life.guard(asyncio.create_task(work, name=f"worker {name}"))

    def _card(self) -> WorkerCard:
        return WorkerCard(
            id=self.id,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=self._started_at,
            targets=self.targets,
            running=self.running,
        )


async def _quietly(call: Coroutine[Any, Any, None]) -> None:
    """Do without the answer: an unanswered delivery comes back after its ack wait."""
    try:
        await call
    except StoreError as error:
        log.debug("not told to the broker: %s", error)


async def _cancelled(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
