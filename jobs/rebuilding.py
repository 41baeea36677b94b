"""Rebuilding the projections while the old ones are read: fill fresh tables beside them, bring both
to the same sequences, compare, swap.

The one moment in which nothing is followed is the swap; what is stored meanwhile waits in the feeds
of the fresh tables, which then go on as the live ones.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Literal, Protocol

from msgspec import Struct

from jobs.following import STREAMS, Follower
from store.port import Backend, StoreError, StreamName
from store.projection.checkpoint import Streams
from store.projection.port import Projections, WriteError

log = logging.getLogger("snorri.projection")

LOOK_S = 0.25  # between two looks at how far it is
NEAR = 5_000  # messages that the fresh tables may still lack when following pauses for the swap


class Rebuilt(Struct, frozen=True, kw_only=True):
    """A finished rebuild: rows of each relation before and after, at the same sequences.

    ``before`` is empty when there was nothing to compare with.
    """

    before: Mapping[str, int]
    after: Mapping[str, int]
    seconds: float

    @property
    def same(self) -> bool:
        """Whether both have the same number of rows, or there was nothing to compare with."""
        return not self.before or self.before == self.after


class RebuildState(Struct, frozen=True, kw_only=True):
    """How the last rebuild stands: ``part`` is done (0 to 1); ``error`` says why it failed."""

    status: Literal["running", "done", "failed"]
    started_at: datetime
    part: float = 0.0
    result: Rebuilt | None = None
    error: str = ""


class Live(Protocol):
    """Whoever follows into the tables that are read."""

    async def halt(self) -> Follower | None:
        """Stop following and hand the follower out; None when nothing is followed now."""
        ...

    def go_on(self, follower: Follower) -> None:
        """Follow with this one from now on."""
        ...


class Rebuilder:
    """Rebuilds one at a time; ``told`` is called when anything has moved."""

    def __init__(
        self, backend: Backend, projections: Projections, live: Live, told: Callable[[], None]
    ) -> None:
        self._backend = backend
        self._projections = projections
        self._live = live
        self._told = told
        self._fresh: Follower | None = None
        self._task: asyncio.Task[Rebuilt] | None = None
        self._state: RebuildState | None = None
        self._started_s = 0.0

    @property
    def state(self) -> RebuildState | None:
        """How the last one stands, None when there was none in this process."""
        if self._state is None or self._task is None:
            return None
        started_at = self._state.started_at
        if not self._task.done():
            return RebuildState(status="running", started_at=started_at, part=self.part or 0.0)
        if self._task.cancelled():
            return RebuildState(status="failed", started_at=started_at, error="it was stopped")
        error = self._task.exception()
        if error is not None:
            return RebuildState(status="failed", started_at=started_at, error=str(error))
        result = self._task.result()
        return RebuildState(status="done", started_at=started_at, part=1.0, result=result)

    @property
    def part(self) -> float | None:
        """How much of the one that runs is done, None when none runs."""
        running = self._task is not None and not self._task.done()
        return None if not running else self._fresh.part if self._fresh is not None else 0.0

    def begin(self) -> asyncio.Task[Rebuilt]:
        """Begin one, or join the one that runs."""
        if self._task is None or self._task.done():
            self._state = RebuildState(status="running", started_at=datetime.now(UTC))
            self._task = asyncio.create_task(self._build(), name="rebuild")
            self._task.add_done_callback(_tell_failure)
        return self._task

    async def stop(self) -> None:
        """Give up the one that runs."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _build(self) -> Rebuilt:
        started_s = time.monotonic()
        extents = {name: await self._backend.log.extent(name) for name in STREAMS}
        streams = Streams(events=extents["events"].created, log=extents["log"].created)
        tables = await self._projections.fresh(streams)
        fresh = self._fresh = Follower(self._backend, tables, self._told)
        try:
            await fresh.open()
            for name in STREAMS:
                fresh.learn(name, extents[name].last)
            await self._fill(fresh)
            before, after = await self._change_over(fresh)
        except BaseException:
            await fresh.close()
            raise
        finally:
            self._fresh = None
            self._told()
        rebuilt = Rebuilt(before=before, after=after, seconds=time.monotonic() - started_s)
        if not rebuilt.same:
            log.warning("the rebuilt projections differ: %s before, %s after", before, after)
        return rebuilt

    async def _fill(self, fresh: Follower) -> None:
        """Follow into the fresh tables until little is missing."""
        running = asyncio.create_task(fresh.run(), name="rebuilding")
        try:
            while not running.done() and fresh.behind > NEAR:
                await asyncio.wait({running}, timeout=LOOK_S)
                for name in STREAMS:
                    fresh.learn(name, (await self._backend.log.extent(name)).last)
                self._told()
            fresh.stop()
            await running
        finally:
            running.cancel()
            await asyncio.wait({running})

    async def _change_over(self, fresh: Follower) -> tuple[dict[str, int], dict[str, int]]:
        """Bring both to the same sequences, compare, and go on with the fresh one."""
        live = await self._live.halt()
        next = live
        before: dict[str, int] = {}
        try:
            if live is not None:
                before = await self._level(live, fresh)
            after = await fresh.tables.counts()
            await fresh.tables.finish()
            await self._projections.adopt(fresh.tables)
            next = fresh
        finally:
            if live is not None and next is not None:
                self._live.go_on(next)
        # Without a live one whoever follows opens the adopted tables again.
        await (fresh if live is None else live).close()
        return before, after

    async def _level(self, live: Follower, fresh: Follower) -> dict[str, int]:
        """Bring both to the same sequences; the rows of the live tables there, none when those
        can't be read or written any more.
        """
        goal: dict[StreamName, int] = {}
        for name in STREAMS:
            goal[name] = max(live.applied[name], fresh.applied[name])
        await fresh.advance_to(goal)
        try:
            await live.advance_to(goal)
            return await live.tables.counts()
        except WriteError as error:
            log.warning("the old projections can't be compared with the new ones: %s", error)
            return {}


def _tell_failure(rebuild: asyncio.Task[Rebuilt]) -> None:
    """Log how a rebuild has failed, since nobody may wait for it."""
    if rebuild.cancelled() or (error := rebuild.exception()) is None:
        return
    expected = isinstance(error, StoreError | WriteError)
    log.warning("the projections could not be rebuilt: %s", error, exc_info=not expected)
