"""What a worker says of itself in the meta bucket: that it lives, and what its jobs are.

``worker.<id>`` is renewed while the worker runs and expires by itself after it died, so that "no
worker asks for this target" can be told; ``job.<target>`` stays, it says how a job is declared.
Both are for people: nothing depends on them, and a broker that can't be reached is only logged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

import msgspec

from jobs.job import AnyJob
from sagas.names import escape
from store.cards import JobCard, WorkerCard
from store.port import Meta, StoreError

log = logging.getLogger("snorri.jobs")

PRESENCE_TTL_S = 10
RENEW_EVERY_S = 3.0


def card_of(job: AnyJob) -> JobCard:
    """The card of a job."""
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
    )


class Presence:
    """Keeps a worker's card; ``card`` is asked for the present one at each renewal."""

    def __init__(self, meta: Meta, id: str, card: Callable[[], WorkerCard]) -> None:
        self._meta = meta
        self._key = f"worker.{escape(id)}"
        self._card = card

    async def register(self, jobs: Iterable[AnyJob]) -> None:
        """Write the cards of jobs; one that can't be written is logged and left out."""
        for job in jobs:
            await self._put(f"job.{escape(job.target)}", msgspec.json.encode(card_of(job)), 0)

    async def run(self) -> None:
        """Write and renew the worker's card until cancelled."""
        while True:
            await self.renew()
            await asyncio.sleep(RENEW_EVERY_S)

    async def renew(self) -> None:
        """Write the card now."""
        await self._put(self._key, msgspec.json.encode(self._card()), PRESENCE_TTL_S)

    async def leave(self) -> None:
        """Take the worker's card away."""
        try:
            await self._meta.delete(self._key)
        except StoreError as error:
            log.debug("the worker's card stays until it expires: %s", error)

    async def _put(self, key: str, card: bytes, ttl_s: int) -> None:
        try:
            await self._meta.put(key, card, ttl_s=ttl_s)
        except StoreError as error:
            log.warning("%s was not written: %s", key, error)
