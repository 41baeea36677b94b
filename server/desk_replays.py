"""Replays of whole sagas for the dashboard, by the same runner and checks as the API's routes."""

from __future__ import annotations

from server.api.deps import Deps
from server.api.problems import Problem
from server.api.replaying import begin, cancel
from store.projection.port import ReadError
from store.replay_jobs import ReplayJob
from ui.replays import ReplayFault


class DeskReplays:
    """``ui.replays.Replays`` over the parts of the API."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def begin(self, saga: str, by: str) -> str:
        """See Replays."""
        try:
            return (await begin(self._deps, saga, by)).id
        except Problem as problem:
            raise ReplayFault(f"{problem} {problem.next}") from None
        except ReadError as error:
            raise ReplayFault(str(error)) from None

    async def get(self, id: str) -> ReplayJob | None:
        """See Replays."""
        return await self._deps.replay_jobs.get(id)

    async def list(self, saga: str) -> list[ReplayJob]:
        """See Replays."""
        return await self._deps.replay_jobs.list(saga)

    async def cancel(self, job: ReplayJob) -> None:
        """See Replays."""
        try:
            await cancel(self._deps, job)
        except Problem as problem:
            raise ReplayFault(f"{problem} {problem.next}") from None
