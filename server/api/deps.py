"""What the routes work with, made once for a process and handed to every handler as ``deps``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cached_property

from msgspec import Struct, field

from jobs.projector import Projector
from server.access.access import Access
from server.bulk import BulkRunner
from server.correlation import KnownSagas
from server.health import Readiness
from server.live.hub import Hub
from server.loading import App
from server.metrics.catalog import Catalog
from server.metrics.scrape import Scrape
from server.replaying import ReplayRunner
from server.settings import Settings
from server.tracing import QUIET, Tracing
from store.broker_clock import Clock, utc_now
from store.broker_state import BrokerState
from store.bulk import BulkJobs
from store.client import SagaClient
from store.diagnosis_gather import Diagnosis
from store.live_mask import LiveMask
from store.port import Backend
from store.projection.attempts import Attempts
from store.projection.console import Console
from store.projection.port import ReadModel
from store.projection.throughput import Throughput
from store.replay_jobs import ReplayJobs
from store.room import RoomReader
from store.subjects import Names


class Deps(Struct, kw_only=True, dict=True):
    """The parts behind the API. ``app`` is the code this process has loaded: plans and queries need
    their definition here; what only engines know is in the registry of the meta bucket.
    """

    settings: Settings
    names: Names
    backend: Backend
    client: SagaClient
    read: ReadModel
    app: App
    mask: Callable[[bytes], bytes]  # JSON in, JSON out, secret fields replaced
    projector: Projector | None = None  # None: somebody else writes what ``read`` reads
    live: Hub | None = None  # None: this process streams nothing
    console: Console | None = None  # None: this process answers no SQL
    metrics: Scrape = field(default_factory=lambda: Scrape(Catalog()))
    healthy: Callable[[], Awaitable[bool]] | None = None  # how our own nats-server is
    broker: Callable[[], Awaitable[BrokerState]] | None = None  # what the broker tells of itself
    tracing: Tracing = QUIET  # `with deps.tracing.publishing(type, header) as traceparent`
    access: Access = field(default_factory=Access)  # who may come in; by default all of loopback
    now: Clock = utc_now  # the time of the installation, which is the broker's

    @cached_property
    def health(self) -> Readiness:
        """Whether this process can do its work: ``await deps.health.look()``."""
        return Readiness(
            *(self.backend, self.names),
            read=self.read,
            live=self.live,
            healthy=self.healthy,
            engines=not self.access.is_read_only,
            room=self.room,
        )

    @property
    def room(self) -> RoomReader:
        """Whether new sagas are taken: ``await deps.room.look()``."""
        return self.client.room  # one for the process, so that nobody hears two answers

    @cached_property
    def attempts(self) -> Attempts:
        """How jobs went lately: ``await deps.attempts.of(target, since, width)``."""
        return Attempts(self.read)

    @cached_property
    def throughput(self) -> Throughput:
        """What went through lately: ``await deps.throughput.spans(since, width)``."""
        return Throughput(self.read)

    @cached_property
    def diagnosis(self) -> Diagnosis:
        """Says what an instance waits for: ``await deps.diagnosis.waits(instance)``."""
        return Diagnosis(self.backend, self.names, self.read, now=self.now)

    @cached_property
    def sagas(self) -> KnownSagas:
        """The registered sagas, kept for a moment: whom an event reaches."""
        return KnownSagas(self.backend.meta, self.app.registry)

    @cached_property
    def bulk_jobs(self) -> BulkJobs:
        """The bulk jobs that are kept, of all processes."""
        return BulkJobs(self.backend.meta)

    @cached_property
    def bulk(self) -> BulkRunner:
        """Runs bulk jobs in this process."""
        if isinstance(self.mask, LiveMask):
            return BulkRunner(self.bulk_jobs, self.client, hide=self.mask.text, now=self.now)
        return BulkRunner(self.bulk_jobs, self.client, now=self.now)

    @cached_property
    def replay_jobs(self) -> ReplayJobs:
        """The replays of whole sagas that are kept, of all processes."""
        return ReplayJobs(self.backend.meta, self.now)

    @cached_property
    def replays(self) -> ReplayRunner:
        """Runs replays of whole sagas in this process."""
        parts = (self.replay_jobs, self.client, self.read)
        if isinstance(self.mask, LiveMask):
            return ReplayRunner(*parts, hide=self.mask.text, now=self.now)
        return ReplayRunner(*parts, now=self.now)

    async def close(self) -> None:
        """End what requests have begun in the background; the app calls it when it shuts down."""
        await self.bulk.close()
        await self.replays.close()
