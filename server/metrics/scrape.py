"""An answer to a scraper: figures that have to be asked for are asked for, then all is written.

Each source has its own time limit and is left out when it fails: a scrape says what can be said.
Answers of the projections and the broker are kept for some seconds, so that many scrapers cost no
more than one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, TypeAlias

from prometheus_client.exposition import choose_encoder

from sagas.names import unescape
from server.live.hub import Hub
from server.metrics.catalog import Catalog
from store.port import Backend, StoreError
from store.projection import figures
from store.projection.port import ReadError, ReadModel
from store.room import RoomReader

log = logging.getLogger("snorri.metrics")

KEPT_S = 5.0
SOURCE_S = 2.0

Source: TypeAlias = tuple[str, Callable[[], Awaitable[None]]]


class Depth(Protocol):
    """An engine, as far as metrics look at it."""

    @property
    def waiting(self) -> int:
        """Messages that are stored and not decided."""
        ...


class Scrape:
    """Writes the figures of one process; whoever starts its parts names them here."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._read: ReadModel | None = None
        self._live: Hub | None = None
        self._sources: list[Source] = []
        self._asked_s = -KEPT_S
        self._lock = asyncio.Lock()

    def broker(self, backend: Backend) -> None:
        """There is a connection to look at."""
        self.catalog.connected.set_function(lambda: backend.connected)

    def engine(self, engine: Depth) -> None:
        """There is an engine in this process."""
        self.catalog.lane_depth.set_function(lambda: engine.waiting)

    def installation(self, backend: Backend, read: ReadModel, live: Hub | None) -> None:
        """This process also answers for the installation as a whole."""
        self.broker(backend)
        self._read, self._live = read, live
        self._sources = [
            ("projections", partial(self._projections, read)),
            ("queues", partial(self._queues, backend)),
            ("leases", partial(self._leases, backend)),
            ("room", partial(self._room, RoomReader(backend.meta))),
        ]

    def forget(self) -> None:
        """Ask everything anew at the next answer."""
        self._asked_s = -KEPT_S

    async def answer(self, accept: str = "") -> tuple[str, bytes]:
        """Content type and body in the format the scraper prefers; never raises for a source."""
        await self._ask()
        self._look()
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self.catalog.registry)

    async def _ask(self) -> None:
        now = asyncio.get_running_loop().time
        async with self._lock:
            if now() - self._asked_s < KEPT_S:
                return
            await asyncio.gather(*(self._guarded(name, source) for name, source in self._sources))
            self._asked_s = now()

    async def _guarded(self, name: str, source: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(SOURCE_S):
                await source()
        except (TimeoutError, StoreError, ReadError) as error:
            log.info("no figures of the %s now: %s", name, error or "no answer in time")
            self.catalog.scrape_errors.labels(name).inc()

    async def _projections(self, read: ReadModel) -> None:
        catalog = self.catalog
        for gauge in (catalog.instances, catalog.letters_open, catalog.timers):
            gauge.clear()
        rows = await read.fetch(figures.INSTANCES_BY_STATUS, {}, figures.StatusCount)
        for row in rows:
            catalog.instances.labels(row.saga, row.status).set(row.count)
        for gauge, query in (
            (catalog.letters_open, figures.OPEN_LETTERS),
            (catalog.timers, figures.PENDING_TIMERS),
        ):
            gauge.set((await read.fetch(query, {}, figures.Count))[0].count)

    async def _queues(self, backend: Backend) -> None:
        catalog = self.catalog
        catalog.queue_depth.clear()
        catalog.queue_flight.clear()
        cards = await backend.meta.entries("job.")
        targets = [unescape(card.key.removeprefix("job.")) for card in cards]
        states = await asyncio.gather(*(backend.queues.state(target) for target in targets))
        for target, state in zip(targets, states, strict=True):
            if state is not None:
                catalog.queue_depth.labels(target).set(state.waiting)
                catalog.queue_flight.labels(target).set(state.in_flight)

    async def _leases(self, backend: Backend) -> None:
        held = {lease.key for lease in await backend.meta.entries("lease.")}
        self.catalog.unowned.set(max(0, backend.partitions - len(held)))

    async def _room(self, room: RoomReader) -> None:
        self.catalog.refusing.set(await room.look() is not None)

    def _look(self) -> None:
        """What is known without asking."""
        catalog = self.catalog
        if self._read is not None:
            progress = self._read.progress
            catalog.projected.labels("events").set(progress.events_seq)
            catalog.projected.labels("log").set(progress.log_seq)
            catalog.projection_lag.set(progress.lag)
            catalog.projection_lag_s.set(progress.lag_s)
            catalog.projection_fault.set(bool(progress.fault))
        if self._live is not None:
            catalog.streams.set(self._live.seats.taken)
            catalog.stream_drops.set(self._live.dropped)
