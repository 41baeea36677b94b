"""The projector: a service that keeps the projections up with both streams, and rebuilds them.

It believes a checkpoint only when the streams still hold what it says was applied, at start and
every second. It never ends by itself: what is wrong with the broker or the disk becomes a ``fault``
that people can read, and is tried again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from msgspec import Struct, structs

from jobs.following import STREAMS, Follower
from store.port import Backend, Extent, StoreError, StreamName
from store.projection.checkpoint import Streams, mismatch
from store.projection.port import Progress, Projections, Tables, WriteError

log = logging.getLogger("snorri.projection")

LOOK_S = 1.0  # between two looks at the ends of the streams
RETRY_MIN_S = 0.25
RETRY_MAX_S = 10.0
NEAR = 5_000  # messages that a rebuild may still lack when following pauses for the swap


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


class _Another(Exception):
    """The streams are not those that the tables were made of."""


class Projector:
    """Follows the streams of ``backend`` into ``projections``; a service like the others."""

    name = "projector"

    def __init__(self, backend: Backend, projections: Projections) -> None:
        self._backend = backend
        self._projections = projections
        self._live: Follower | None = None
        self._fresh: Follower | None = None
        self._fault = ""
        self._behind_since_s = 0.0
        self._task: asyncio.Task[None] | None = None
        self._rebuild: asyncio.Task[Rebuilt] | None = None
        self._swap: asyncio.Future[Follower] | None = None
        self._halted = asyncio.Event()
        self._begun = asyncio.Event()
        self._stopped = asyncio.Event()

    # --- service

    async def start(self) -> None:
        """Open the tables and begin; returns when they are followed or it is known why not.

        Raises WriteError when another process has them.
        """
        tables = await self._projections.open()
        self._task = asyncio.create_task(self._run(tables), name="projector")
        await self._begun.wait()

    async def stop(self) -> None:
        """End after the write that is on its way, and close the tables."""
        for task in (self._rebuild, self._task):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
        if not self._stopped.is_set():
            self._stopped.set()
            await self._projections.close()

    async def wait(self) -> None:
        """Return after ``stop``."""
        await self._stopped.wait()

    # --- following

    async def _run(self, tables: Tables | None) -> None:
        delay_s = RETRY_MIN_S
        while True:
            try:
                tables = tables or await self._projections.open()
                await self._follow(tables)
                delay_s = RETRY_MIN_S
            except _Another:
                pass  # told where it was found; the next round begins anew
            except (StoreError, WriteError) as error:
                self._fault = str(error)
                self._told()
                self._begun.set()
                log.warning("the projections stand still: %s", error)
                await asyncio.sleep(delay_s)
                delay_s = min(RETRY_MAX_S, delay_s * 2)
            tables = None

    async def _follow(self, tables: Tables) -> None:
        """Follow into these tables until something is wrong; raises what that is."""
        extents = await self._extents()
        if found := await self._mismatch(tables, extents):
            log.warning("the projections are built from nothing: %s", found)
            streams = Streams(events=extents["events"].created, log=extents["log"].created)
            tables = await self._projections.reset(streams)
        self._live = live = Follower(self._backend, tables, self._written)
        running: asyncio.Task[None] | None = None
        try:
            await live.open()
            await self._learn(live, extents)
            running = asyncio.create_task(live.run(), name="following")
            while True:
                await asyncio.wait({running}, timeout=LOOK_S)
                if running.done():
                    running.result()
                    live = self._live = await self._swapped()
                    running = asyncio.create_task(live.run(), name="following")
                else:
                    await self._look(live)
        finally:
            self._live = None
            if running is not None:
                running.cancel()
                await asyncio.wait({running})
            await live.close()

    async def _look(self, live: Follower) -> None:
        """See how far the streams are and whether they are still the same; raises _Another."""
        try:
            extents = await self._extents()
            found = await self._mismatch(live.tables, extents)
        except StoreError as error:
            self._fault = str(error)  # following goes on by itself when the broker is back
            self._told()
            return
        if found:
            log.warning("the streams have changed: %s", found)
            raise _Another
        self._fault = ""
        await self._learn(live, extents)
        await live.tables.rest()
        if found := self._projections.outdated:
            self._rebuild_for(found)

    async def _learn(self, live: Follower, extents: Mapping[StreamName, Extent]) -> None:
        for name in STREAMS:
            live.learn(name, extents[name].last)
        await live.finish()
        self._told()
        self._begun.set()

    async def _extents(self) -> dict[StreamName, Extent]:
        return {name: await self._backend.log.extent(name) for name in STREAMS}

    async def _mismatch(self, tables: Tables, extents: Mapping[StreamName, Extent]) -> str:
        checkpoint = tables.checkpoint
        if checkpoint is None:
            return "there are none yet"
        for name, mark in (("events", checkpoint.events), ("log", checkpoint.log)):
            stream: StreamName = "events" if name == "events" else "log"
            anchor = await self._backend.log.at(stream, mark.anchor) if mark.anchor else None
            if found := mismatch(mark, extents[stream], anchor):
                which = "stream of events" if stream == "events" else "log"
                return f"the {which} is not the one they were made of: {found}"
        return ""

    # --- rebuilding

    async def rebuild(self) -> Rebuilt:
        """Build fresh tables beside those that are read, and swap them when they have caught up.

        A second call joins the first. Raises WriteError, StoreError.
        """
        if self._rebuild is None or self._rebuild.done():
            self._rebuild = asyncio.create_task(self._build(), name="rebuild")
        return await asyncio.shield(self._rebuild)

    def _rebuild_for(self, reason: str) -> None:
        if self._rebuild is None or self._rebuild.done():
            log.warning("the projections are built anew: %s", reason)
            self._rebuild = asyncio.create_task(self._build(), name="rebuild")
            self._rebuild.add_done_callback(_tell_failure)

    async def _build(self) -> Rebuilt:
        started_s = time.monotonic()
        extents = await self._extents()
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
                await asyncio.wait({running}, timeout=LOOK_S / 4)
                for name, extent in (await self._extents()).items():
                    fresh.learn(name, extent.last)
                self._told()
            fresh.stop()
            await running
        finally:
            running.cancel()
            await asyncio.wait({running})

    async def _change_over(self, fresh: Follower) -> tuple[dict[str, int], dict[str, int]]:
        """Bring both to the same sequences, compare, and go on with the fresh one."""
        live = self._live
        if live is None:  # the tables that are read are out of order: nothing to compare with
            counts = await fresh.tables.counts()
            await fresh.tables.finish()
            await self._projections.adopt(fresh.tables)
            await fresh.close()
            return {}, counts
        swap = self._swap = asyncio.get_running_loop().create_future()
        self._halted.clear()
        live.stop()
        try:
            await self._halted.wait()
            goal: dict[StreamName, int] = {}
            for name in STREAMS:
                goal[name] = max(live.applied[name], fresh.applied[name])
            await live.advance_to(goal)
            await fresh.advance_to(goal)
            before, after = await live.tables.counts(), await fresh.tables.counts()
            await fresh.tables.finish()
            await self._projections.adopt(fresh.tables)
        except BaseException:
            swap.set_result(live)
            raise
        swap.set_result(fresh)
        await live.close()
        return before, after

    async def _swapped(self) -> Follower:
        """The follower to go on with, after a rebuild has asked the live one to stop."""
        self._halted.set()
        if self._swap is None:
            raise RuntimeError("following ended although nobody asked for it")
        follower = await self._swap
        follower.resume()
        return follower

    # --- progress

    def _written(self) -> None:
        self._fault = ""
        self._told()

    def _told(self) -> None:
        live = self._live
        if live is None:
            old = self._projections.progress
            self._projections.report(structs.replace(old, fault=self._fault))
            return
        checkpoint = live.tables.checkpoint
        partial = checkpoint is None or not checkpoint.complete
        building = self._fresh or (live if partial else None)
        self._projections.report(
            Progress(
                events_seq=live.applied["events"],
                log_seq=live.applied["log"],
                events_last=live.ends["events"],
                log_last=live.ends["log"],
                lag_s=self._lag_s(live),
                rebuilding=None if building is None else building.part,
                fault=self._fault,
                partial=partial,
                unreadable=live.tables.unreadable,
            )
        )

    def _lag_s(self, live: Follower) -> float:
        if live.behind == 0:
            self._behind_since_s = 0.0
            return 0.0
        now_s = time.monotonic()
        self._behind_since_s = self._behind_since_s or now_s
        oldest_ns = live.oldest_ns()
        if oldest_ns:
            return max(0.0, (time.time_ns() - oldest_ns) / 1e9)
        return now_s - self._behind_since_s


def _tell_failure(rebuild: asyncio.Task[Rebuilt]) -> None:
    """Log how a rebuild that nobody waits for has failed; the next look begins another."""
    if not rebuild.cancelled() and (error := rebuild.exception()) is not None:
        log.warning("the projections could not be built anew: %s", error)
