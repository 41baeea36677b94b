"""Batches on their way, and light ones: answers of inline steps, each stored as its one revision.

While few are on their way this spares them the cost of a batch, and the wait for the one that is on
its way. When they are many they go with the batches, where each costs a fraction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime

from jobs.batch import LIGHT_MAX, Batch
from jobs.cache import Cache
from jobs.commit import Committer
from jobs.intake import Intake

FLIGHTS_MAX = 32


class Flight:
    """A batch on its way to the log; ``sent_s`` is the loop's time."""

    __slots__ = ("batch", "sent_s", "task")

    def __init__(self, committer: Committer, batch: Batch, wake: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self.batch = batch
        self.sent_s = loop.time()
        self.task = loop.create_task(committer.commit(batch))
        self.task.add_done_callback(lambda _: wake())


class LightCommits:
    """The answers of one lane, and those of them that fly alone."""

    def __init__(self, committer: Committer, cache: Cache, new_batch: Callable[[], Batch]) -> None:
        self._committer = committer
        self._cache = cache
        self._new_batch = new_batch
        self._waiting: list[Intake] = []
        self._flights: list[Flight] = []

    def put(self, answer: Intake) -> None:
        """One more."""
        self._waiting.append(answer)

    def touches(self, batch: Batch) -> bool:
        """Whether an instance of ``batch`` has a commit on its way here, which must end first."""
        return any(
            batch.writes(subject) for flight in self._flights for subject in flight.batch.subjects
        )

    def fly(self, others: Iterable[Batch], now: datetime, wake: Callable[[], None]) -> list[Intake]:
        """Send what can be sent alone; the rest is for the next batch.

        An instance that is in one of the ``others`` goes with them, in order.
        """
        answers, self._waiting = self._waiting, []
        if not answers:
            return []
        busy: set[str] = set()
        if len(answers) <= LIGHT_MAX:
            busy = busy.union(*(batch.subjects for batch in (*others, *self._batches)))
        rest: list[Intake] = []
        for answer in answers:
            subject = answer.arrivals[0].subject
            crowded = len(answers) > LIGHT_MAX or len(self._flights) >= FLIGHTS_MAX
            batch = None if crowded or subject in busy else self._decided(answer, subject, now)
            busy.add(subject)
            if batch is None:
                rest.append(answer)
                continue
            self._flights.append(Flight(self._committer, batch, wake))
        return rest

    def landed(self) -> list[Flight]:
        """The flights that have ended."""
        ended = [flight for flight in self._flights if flight.task.done()]
        if ended:
            self._flights = [flight for flight in self._flights if not flight.task.done()]
        return ended

    async def close(self, *, cancel: bool) -> None:
        """Wait for what is on its way, or give it up."""
        for flight in self._flights:
            if cancel:
                flight.task.cancel()
        await asyncio.gather(*(flight.task for flight in self._flights), return_exceptions=True)

    @property
    def _batches(self) -> list[Batch]:
        return [flight.batch for flight in self._flights]

    def _decided(self, answer: Intake, subject: str, now: datetime) -> Batch | None:
        """The answer as a light batch; None, and nothing has changed, when it can't be one."""
        entry = self._cache.get(subject)
        if entry is None or answer.partition.lost:
            return None
        snapshot, sure = entry.snapshot, entry.sure
        batch = self._new_batch()
        if batch.add(answer, now) and batch.light:
            return batch
        entry.snapshot, entry.sure = snapshot, sure
        return None
