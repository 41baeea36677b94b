"""Replays of a whole saga in this process: one at a time, told about every second, ended at will.

Keys come page by page from the projections and histories from the log, so the memory it takes does
not grow with the number of instances. A replay changes nothing: when the process ends, it ends.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import datetime

from msgspec import structs

from sagas.definition import SagaDefinition
from store.broker_clock import utc_now
from store.client import SagaClient
from store.port import StoreError
from store.projection.instances import count_instances, page_of_keys
from store.projection.port import ReadError, ReadModel
from store.replay_jobs import Hide, ReplayJob, ReplayJobs, ReplayStatus
from store.replaying import Replayed, replay_keys

log = logging.getLogger("snorri.replay")

SAVE_EVERY_S = 1.0
PAGE = 1_000


class ReplayRunner:
    """Runs replays; one for each process that serves the API.

    ``hide`` takes the secret values of a JSON document out of a text that may quote them.
    """

    def __init__(
        self,
        jobs: ReplayJobs,
        client: SagaClient,
        read: ReadModel,
        *,
        hide: Hide = lambda text, source: text,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._jobs = jobs
        self._client = client
        self._read = read
        self._hide = hide
        self._now = now
        self._beginning = asyncio.Lock()
        self._running: tuple[ReplayJob, asyncio.Task[None]] | None = None  # the last one

    @property
    def running(self) -> ReplayJob | None:
        """The one that runs here now."""
        if self._running is None or self._running[1].done():
            return None
        return self._running[0]

    async def begin(self, definition: SagaDefinition, by: str, id: str = "") -> ReplayJob:
        """Begin a replay under ``id`` (a new one when empty), or give that which runs for the saga.

        Raises Busy when another saga's runs, ReadError, Unreachable.
        """
        async with self._beginning:
            if (there := self.running) is not None:
                if there.saga != definition.id:
                    raise Busy(there)
                return there
            counts = (await count_instances(self._read, definition.id)).get(definition.id, {})
            now = self._now()
            job = ReplayJob(
                id=id or uuid.uuid4().hex,
                saga=definition.id,
                definition=definition.hash,
                by=by,
                total=sum(counts.values()),
                created=now,
                updated=now,
            )
            await self._jobs.save(job)
            task = asyncio.create_task(self._work(definition, job), name=f"replay {job.id}")
            self._running = (job, task)
            return job

    async def cancel(self, job: ReplayJob) -> None:
        """Have a replay end soon, wherever it runs."""
        await self._jobs.ask_to_end(job.id)

    async def close(self) -> None:
        """End the one that runs; it is then shown as interrupted."""
        if self._running is None or self._running[1].done():
            return
        job, task = self._running
        task.cancel()
        await asyncio.wait({task})
        if task.cancelled():  # before its first step even
            await self._end(job, "interrupted", "the process that ran it was stopped")

    async def _work(self, definition: SagaDefinition, job: ReplayJob) -> None:
        try:
            status, note = await self._replay(definition, job)
        except (StoreError, ReadError) as error:
            status, note = "failed", str(error)
        except Exception:
            log.exception("replay %s broke down", job.id)
            status, note = "failed", "it broke down; the log of the server says more"
        await self._end(job, status, note)

    async def _replay(self, definition: SagaDefinition, job: ReplayJob) -> tuple[ReplayStatus, str]:
        """How it ended, and why if that needs words."""
        loop = asyncio.get_running_loop()
        saved_s = loop.time()
        async for found in self._all(definition):
            job.tally.add(found, self._hide)
            if loop.time() - saved_s > SAVE_EVERY_S:
                saved_s = loop.time()
                if await self._jobs.shall_end(job.id):
                    return "cancelled", ""
                await self._jobs.save(structs.replace(job, updated=self._now()))
        return "done", ""

    async def _all(self, definition: SagaDefinition) -> AsyncIterator[Replayed]:
        after = ""
        while keys := await page_of_keys(self._read, definition.id, after, PAGE):
            async for found in replay_keys(self._client, definition, keys):
                yield found
            after = keys[-1]

    async def _end(self, job: ReplayJob, status: ReplayStatus, note: str) -> None:
        now = self._now()
        try:
            ended = structs.replace(job, status=status, note=note, updated=now, ended=now)
            await self._jobs.save(ended)
        except StoreError as error:
            log.info("the end of replay %s can't be noted: %s", job.id, error)


class Busy(Exception):
    """Another replay runs in this process."""

    def __init__(self, job: ReplayJob) -> None:
        super().__init__(
            f"a replay of {job.saga} runs in this process: wait for its end, or cancel it"
        )
        self.job = job
