"""Groups of failures worked off in waves, on the same jobs and runner as bulk actions."""

from __future__ import annotations

import uuid

from sagas.actions import ActionRequest
from server.api.deps import Deps
from store.bulk import BulkJob
from ui.waves import Wave


class DeskWaves:
    """``ui.waves.Waves`` over the parts of the API."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def begin(self, wave: Wave, by: str, origin: str) -> str:
        """See Waves."""
        now = self._deps.now()
        job = BulkJob(
            id=uuid.uuid4().hex,
            action=wave.action,
            request=ActionRequest(by_hand=wave.by_hand),
            by=by,
            reason=wave.reason,
            origin=origin,
            total=len(wave.targets),
            created=now,
            updated=now,
            stop_after=wave.stop_after,
            watch_s=wave.watch_s,
        )
        if await self._deps.bulk_jobs.create(job, wave.targets):
            await self._deps.bulk.start(job)
        return job.id
