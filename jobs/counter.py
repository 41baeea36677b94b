"""One target in a worker: its queue, its free slots, and how far ahead it takes commands."""

from __future__ import annotations

import asyncio
from collections import deque

from jobs.execution import Attempt
from jobs.job import AnyJob
from store.port import WorkQueue

AHEAD_S = 0.01  # of work that may wait in the worker for a free slot
AHEAD_MAX = 100  # commands of one target that may


class Counter:
    """One target's place in the worker: its queue, its free slots, and what waits for a slot."""

    def __init__(self, job: AnyJob, queue: WorkQueue) -> None:
        self.job = job
        self.queue = queue
        self.free = job.concurrency
        self.ahead: deque[Attempt] = deque()
        self.stirred = asyncio.Event()
        self._ran_s = 1.0  # how long a job takes, a moving average

    def note(self, ran_s: float) -> None:
        """Learn from a job that has ended."""
        self._ran_s += (ran_s - self._ran_s) / 8

    @property
    def wanted(self) -> int:
        """How many commands to take now; 0 while it is not worth a request.

        Asking takes a millisecond or two. So that quick jobs don't wait for it, commands for the
        next AHEAD_S are fetched while the present ones run; none where a limit is shared by all
        workers, and none for jobs that take long.
        """
        if self.job.concurrency_total is not None:
            return self.free
        quick = int(self.job.concurrency * AHEAD_S / max(self._ran_s, 1e-6))
        ahead_max = min(quick, 4 * self.job.concurrency, AHEAD_MAX)
        wanted = self.free + ahead_max - len(self.ahead)
        return wanted if self.free > 0 or wanted * 2 >= ahead_max else 0
