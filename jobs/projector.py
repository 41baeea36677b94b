"""The projector: a service that keeps the projections up with both streams.

It believes a checkpoint only when the streams still hold what it says was applied, at start and
every second. It never ends by itself: what is wrong with the broker or the disk becomes a ``fault``
that people can read, and is tried again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from msgspec import structs

from jobs.following import STREAMS, Follower
from jobs.rebuilding import Rebuilder, Rebuilt
from store.broker_clock import Clock, utc_now
from store.port import Backend, Extent, StoreError, StreamName
from store.projection.checkpoint import Streams, mismatch
from store.projection.port import Progress, Projections, Tables, WriteError

log = logging.getLogger("snorri.projection")

LOOK_S = 1.0  # between two looks at the ends of the streams
RETRY_MIN_S = 0.25
RETRY_MAX_S = 10.0


class _Another(Exception):
    """The streams are not those that ``tables`` were made of."""

    def __init__(self, tables: Tables) -> None:
        super().__init__("the streams have changed")
        self.tables = tables


class Projector:
    """Follows the streams of ``backend`` into ``projections``; a service like the others.

    ``rebuilder`` builds them anew while they are read. ``now`` has to be the broker's time.
    """

    name = "projector"

    def __init__(self, backend: Backend, projections: Projections, *, now: Clock = utc_now) -> None:
        self._backend = backend
        self._now = now
        self._projections = projections
        self._live: Follower | None = None
        self._fault = ""
        self._behind_since_s = 0.0
        self._task: asyncio.Task[None] | None = None
        self._next: asyncio.Future[Follower] | None = None
        self._halted = asyncio.Event()
        self._begun = asyncio.Event()
        self._stopped = asyncio.Event()
        self.rebuilder = Rebuilder(backend, projections, self, self._told)

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
        await self.rebuilder.stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        if not self._stopped.is_set():
            self._stopped.set()
            await self._projections.close()

    async def wait(self) -> None:
        """Return after ``stop``; raises what ended following otherwise."""
        stopped = asyncio.create_task(self._stopped.wait())
        waits = {stopped, self._task} if self._task is not None else {stopped}
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        for task in done - {stopped}:
            if task is not None and not task.cancelled():
                task.result()

    async def rebuild(self) -> Rebuilt:
        """Build the projections anew while they are read; a second call joins the first.

        Raises WriteError, StoreError.
        """
        return await asyncio.shield(self.rebuilder.begin())

    # --- following

    async def _run(self, tables: Tables | None) -> None:
        delay_s = RETRY_MIN_S
        while True:
            begun_s = time.monotonic()
            try:
                tables = tables or await self._projections.open()
                await self._follow(tables)
            except _Another as another:
                tables = another.tables  # the next round finds the same at its beginning
            except (StoreError, WriteError) as error:
                self._fault = str(error)
                self._told()
                self._begun.set()
                if time.monotonic() - begun_s > RETRY_MAX_S:  # it was well for a while
                    delay_s = RETRY_MIN_S
                log.warning("the projections stand still: %s", error)
                await asyncio.sleep(delay_s)
                delay_s = min(RETRY_MAX_S, delay_s * 2)
                tables = None

    async def _follow(self, tables: Tables) -> None:
        """Follow into these tables until something is wrong; raises what that is."""
        extents = await self._extents()
        if found := await self._mismatch(tables, extents):
            level = logging.INFO if tables.checkpoint is None else logging.WARNING
            log.log(level, "the projections are built from nothing: %s", found)
            streams = Streams(events=extents["events"].created, log=extents["log"].created)
            tables = await self._projections.reset(streams)
        live = Follower(self._backend, tables, self._written)
        running: asyncio.Task[None] | None = None
        try:
            await live.open()
            self._live = live
            await self._learn(live, extents)
            running = asyncio.create_task(live.run(), name="following")
            while True:
                await asyncio.wait({running}, timeout=LOOK_S)
                if running.done():
                    running.result()
                    live = self._live = await self._replaced()
                    running = asyncio.create_task(live.run(), name="following")
                else:
                    await self._look(live)
        finally:
            self._live = None
            self._halted.set()  # a rebuild need not wait for what has ended
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
            raise _Another(live.tables)
        self._fault = ""
        await self._learn(live, extents)
        await live.tables.rest()
        if found := self._projections.outdated:
            if self.rebuilder.part is None:
                log.warning("the projections are built anew: %s", found)
            self.rebuilder.begin()

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
        for name in STREAMS:
            mark = checkpoint.events if name == "events" else checkpoint.log
            anchor = await self._backend.log.at(name, mark.anchor) if mark.anchor else None
            if found := mismatch(mark, extents[name], anchor):
                which = "stream of events" if name == "events" else "log"
                return f"the {which} is not the one they were made of: {found}"
        return ""

    # --- making room for a rebuild

    async def halt(self) -> Follower | None:
        """See ``rebuilding.Live``."""
        live = self._live
        if live is None:
            return None
        self._next = asyncio.get_running_loop().create_future()
        self._halted.clear()
        live.stop()
        await self._halted.wait()
        return self._live

    def go_on(self, follower: Follower) -> None:
        """See ``rebuilding.Live``."""
        if self._next is not None and not self._next.done():
            self._next.set_result(follower)

    async def _replaced(self) -> Follower:
        """The follower to go on with, after a rebuild has asked the live one to stop."""
        if self._next is None:
            raise RuntimeError("following ended although nobody asked for it")
        self._halted.set()
        follower = await self._next
        self._next = None
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
            self._projections.report(
                structs.replace(old, fault=self._fault, rebuilding=self.rebuilder.part)
            )
            return
        checkpoint = live.tables.checkpoint
        partial = checkpoint is None or not checkpoint.complete
        self._projections.report(
            Progress(
                events_seq=live.applied["events"],
                log_seq=live.applied["log"],
                events_last=live.ends["events"],
                log_last=live.ends["log"],
                lag_s=self._lag_s(live),
                rebuilding=live.part if partial else self.rebuilder.part,
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
            return max(0.0, self._now().timestamp() - oldest_ns / 1e9)
        return now_s - self._behind_since_s
