"""What a worker says of itself in the meta bucket: that it lives, and what its jobs are.

``worker.<id>`` is renewed while the worker runs and expires by itself after it died, so that "no
worker asks for this target" can be told; ``job.<target>`` stays, it says how a job is declared and
when a worker last served it.
Both are for people: nothing depends on them, and a broker that can't be reached is only logged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import datetime

import msgspec

from jobs.job import AnyJob
from sagas.names import escape
from store.cards import JobCard, WorkerCard
from store.port import Meta, StoreError

log = logging.getLogger("snorri.jobs")

PRESENCE_TTL_S = 10
RENEW_EVERY_S = 3.0
JOBS_EVERY = 10  # renewals of the worker's card to one of its jobs' cards


def card_of(job: AnyJob, seen: datetime) -> JobCard:
    """The card of a job that is served at ``seen``."""
    return JobCard(
        target=job.target,
        description=job.description,
        retry=job.retry,
        timeout_s=job.timeout_s,
        heartbeat_s=job.heartbeat_s,
        concurrency=job.concurrency,
        concurrency_total=job.concurrency_total,
        on_success=job.on_success,
        on_failure=job.on_failure,
        enabled=job.enabled,
        seen=seen,
        secrets=job.secrets,
    )


class Presence:
    """Keeps the cards of a worker and its jobs; ``card`` is asked for the present one each time."""

    def __init__(
        self,
        meta: Meta,
        id: str,
        jobs: Iterable[AnyJob],
        card: Callable[[], WorkerCard],
        now: Callable[[], datetime],
    ) -> None:
        self._meta = meta
        self._key = f"worker.{escape(id)}"
        self._jobs = tuple(jobs)
        self._card = card
        self._now = now

    async def register(self) -> None:
        """Write the cards of its jobs; one that can't be written is logged and left out."""
        for job in self._jobs:
            card = msgspec.json.encode(card_of(job, self._now()))
            await self._put(f"job.{escape(job.target)}", card, 0)

    async def run(self) -> None:
        """Write and renew the cards until cancelled."""
        while True:
            for _ in range(JOBS_EVERY):
                await self.renew()
                await asyncio.sleep(RENEW_EVERY_S)
            await self.register()

    async def renew(self) -> None:
        """Write the card now."""
        await self._put(self._key, msgspec.json.encode(self._card()), PRESENCE_TTL_S)

    async def leave(self) -> None:
        """Take the worker's card away; its jobs' cards say until when they were served."""
        await self.register()
        try:
            await self._meta.delete(self._key)
        except StoreError as error:
            log.debug("the worker's card stays until it expires: %s", error)

    async def _put(self, key: str, card: bytes, ttl_s: int) -> None:
        try:
            await self._meta.put(key, card, ttl_s=ttl_s)
        except StoreError as error:
            log.warning("%s was not written: %s", key, error)
