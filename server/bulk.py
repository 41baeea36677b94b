"""Works off bulk jobs in this process: a bounded number of actions at a time, kept up to date.

A job is worked on by whoever holds its lease. It ends when its list is done, when it is cancelled,
when too much was refused, or when no outcome can be had (no engine, no broker): then it waits to be
resumed. Closing leaves running jobs to be resumed by hand: nothing happens twice.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TypeAlias

import msgspec
from msgspec import structs

from sagas.messages import Address
from server.bulk_steps import take_step
from store.broker_clock import utc_now
from store.bulk import CHUNK_TARGETS, LEASE_S, BulkJob, BulkJobs, BulkRefusal, BulkStatus, Tally
from store.client import SagaClient
from store.port import StoreError

log = logging.getLogger("snorri.bulk")

Hide: TypeAlias = Callable[[str, bytes], str]

ACTIONS_AT_ONCE = 16
SAVE_EVERY_S = 1.0
LOOK_EVERY_S = LEASE_S / 5
HOLD_ATTEMPTS = 10
HOLD_PAUSE_S = 0.1


class BulkRunner:
    """Runs bulk jobs; one for each process that serves the API.

    ``hide`` takes the secret values of a JSON document out of a text that may quote them.
    """

    def __init__(
        self,
        jobs: BulkJobs,
        client: SagaClient,
        *,
        hide: Hide = lambda text, source: text,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._jobs = jobs
        self._client = client
        self._hide = hide
        self._now = now
        self._owner = secrets.token_hex(6)
        self._runs: dict[str, tuple[_Run, asyncio.Task[None]]] = {}

    async def start(self, job: BulkJob) -> bool:
        """Begin or go on with a job; False when a process works on it already."""
        revision = await self._hold(job.id)
        if revision is None:
            return False
        run = _Run(self._jobs, self._client, job, self._now, revision, self._hide)
        await run.save()
        task = asyncio.create_task(self._work(run), name=f"bulk {job.id}")
        self._runs[job.id] = (run, task)
        task.add_done_callback(lambda _: self._runs.pop(job.id, None))
        return True

    async def _hold(self, id: str) -> int | None:
        """Take the lease; one who has just ended the job may still be about to give it back."""
        for _ in range(HOLD_ATTEMPTS):
            revision = await self._jobs.hold(id, self._owner)
            if revision is not None:
                return revision
            await asyncio.sleep(HOLD_PAUSE_S)
        return None

    async def cancel(self, id: str) -> None:
        """Have a job end soon, wherever it runs."""
        if id in self._runs:
            self._runs[id][0].end("cancelled", "")
        else:
            await self._jobs.ask_to_end(id)

    async def close(self) -> None:
        """Leave all jobs where they are; waits for that."""
        tasks = [task for _, task in self._runs.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, run: _Run) -> None:
        lease = asyncio.create_task(self._keep(run), name=f"bulk lease {run.job.id}")
        try:
            await run.work()
        except asyncio.CancelledError:
            log.info("bulk job %s is left to be resumed", run.job.id)
            raise
        except Exception:
            log.exception("bulk job %s broke down; it can be resumed", run.job.id)
        finally:
            lease.cancel()
            await asyncio.gather(lease, return_exceptions=True)
            await self._let_go(run)

    async def _let_go(self, run: _Run) -> None:
        try:
            await self._jobs.let_go(run.job.id, run.lease)
        except StoreError as error:
            log.info("the lease of bulk job %s runs out by itself: %s", run.job.id, error)

    async def _keep(self, run: _Run) -> None:
        """Renew the lease, and end the run when it is lost or when that is asked for."""
        misses = 0
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                if await self._jobs.shall_end(run.job.id):
                    run.end("cancelled", "")
                renewed = await self._jobs.renew(run.job.id, self._owner, run.lease)
                misses = 0
            except StoreError:
                misses += 1
                renewed = run.lease if misses * LOOK_EVERY_S < LEASE_S else None
            if renewed is None:
                run.lose()
                return
            run.lease = renewed


class _Run:
    """One job being worked on."""

    def __init__(
        self,
        jobs: BulkJobs,
        client: SagaClient,
        job: BulkJob,
        now: Callable[[], datetime],
        lease: int,
        hide: Hide,
    ) -> None:
        stop_at = job.stop_after and job.tally.refused + job.stop_after
        self.job = structs.replace(
            job, status="running", partial=Tally(), ended=None, note="", stop_at=stop_at
        )
        self.lease = lease
        self._hide = hide
        self._jobs = jobs
        self._client = client
        self._now = now
        self._outcome: tuple[BulkStatus, str] | None = None
        self._lost = False
        self._saved_s = 0.0

    def end(self, status: BulkStatus, note: str) -> None:
        """Take no more targets; the first reason counts."""
        if self._outcome is None:
            self._outcome = (status, note)

    def lose(self) -> None:
        """Somebody else may work on it now: write nothing any more."""
        self._lost = True
        self.end("interrupted", "")

    async def work(self) -> None:
        """Work off the list from where it stands; raises Unreachable when that can't be noted."""
        while self.job.chunk < self.job.chunks and self._outcome is None:
            try:
                targets = await self._jobs.targets(self.job, self.job.chunk)
            except LookupError as error:
                self.end("stopped", str(error))
                break
            places = enumerate(targets, self.job.chunk * CHUNK_TARGETS)
            workers = min(ACTIONS_AT_ONCE, len(targets))
            await asyncio.gather(*(self._take(places) for _ in range(workers)))
            if self._outcome is None:
                settled = self.job.settled.plus(self.job.partial)
                number = self.job.chunk + 1
                self._change(chunk=number, settled=settled, partial=Tally())
                await self.save()
        if self._outcome is None:
            self.end("done", "")
        status, note = self._outcome or ("done", "")
        ended = None if status == "interrupted" else self._now()
        # An interrupted job says running: that nobody holds its lease makes it one.
        kept: BulkStatus = "running" if status == "interrupted" else status
        self._change(status=kept, note=note, ended=ended)
        await self.save()

    async def _take(self, places: Iterator[tuple[int, Address]]) -> None:
        for index, target in places:
            if self._outcome is not None:
                return
            await self._act(index, target)
            now_s = asyncio.get_running_loop().time()
            if now_s - self._saved_s > SAVE_EVERY_S:
                self._saved_s = now_s
                await self.save()

    async def _act(self, index: int, target: Address) -> None:
        try:
            outcome = await take_step(self._client, self.job, index, target)
        except StoreError as error:
            self.end("interrupted", f"the broker does not answer: {error}; resume it later")
            return
        if outcome is None:
            self.end("interrupted", "no engine reads what is stored; start one and resume it")
        elif outcome:
            self._refused(target, await self._shown(target, outcome))
        else:
            self._change(partial=self.job.partial.plus(Tally(done=1)))

    async def _shown(self, target: Address, reason: str) -> str:
        """A refusal as it may be kept where everybody can read it."""
        instance = None
        try:
            if target.saga:
                instance = await self._client.get(target.saga, target.key)
        except StoreError:
            log.info("%s can't be read for what its refusal quotes", target)
        return self._hide(reason, msgspec.json.encode((instance, self.job.request)))

    def _refused(self, target: Address, reason: str) -> None:
        refusal = BulkRefusal(saga=target.saga, key=target.key, reason=reason)
        plain = reason.replace(str(target) if target.saga else target.key, "it")
        one = Tally(refused=1, refusals=(refusal,), reasons={plain: 1})
        self._change(partial=self.job.partial.plus(one))
        count = self.job.settled.refused + self.job.partial.refused
        if self.job.stop_at and count >= self.job.stop_at:
            self.end("stopped", f"{count} refused it or failed again")

    def _change(self, **changes: object) -> None:
        self.job = structs.replace(self.job, **changes)  # type: ignore[arg-type]

    async def save(self) -> None:
        """Write how far the job is, while it is ours."""
        if not self._lost:
            self._change(updated=self._now())
            await self._jobs.save(self.job)
