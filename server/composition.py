"""Where the parts of a process are put together: a broker, a backend, the services of its roles.

The only place that decides which concrete backend runs and which services a command starts.
Everything is opened here and closed here, in reverse order, also when a start fails half-way.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, assert_never

from msgspec import Struct

from jobs.engine import Engine
from jobs.inline import InlineSteps, inline_targets
from jobs.service import Service, Supervisor
from jobs.worker import Worker
from server.broker_watch import BrokerWatch, usage_of
from server.datadir import holder_of
from server.embedded import EmbeddedServer
from server.embedded_cluster import Embedded, EmbeddedCluster
from server.knock import knock
from server.loading import App
from server.login import login_of
from server.logs import redactor
from server.natsconf import HOST
from server.observing import Observing
from server.settings import Settings
from store.broker_clock import BrokerClock, Clock
from store.jetstream.backend import JetStreamBackend, connect
from store.port import StoreError, TopologyDrift
from store.room import RoomWatch
from store.subjects import Names

if TYPE_CHECKING:
    from server.serving import Serving

log = logging.getLogger("snorri")

Role: TypeAlias = Literal["engine", "jobs", "api"]

PATIENCE_POLL_S = 0.5
ELECTION_S = 30.0
EMBEDDED_ENGINE = "dev"


class Runtime(Struct, frozen=True, kw_only=True):
    """An open broker: ``server`` is None when it is not ours."""

    url: str
    names: Names
    backend: JetStreamBackend
    server: Embedded | None = None


def names_of(settings: Settings) -> Names:
    """The subjects and streams these settings mean."""
    return Names(namespace=settings.namespace, bucket=settings.bucket)


def nats_url_of(settings: Settings) -> str:
    """Where NATS is: as set, or the embedded server of whoever holds the data directory."""
    if settings.nats_url:
        return settings.nats_url
    holder = holder_of(Path(settings.data))
    ports = (holder.ports or (holder.port,)) if holder is not None else ()
    return ",".join(f"nats://{HOST}:{port or settings.nats_port}" for port in ports or (0,))


@asynccontextmanager
async def open_embedded(settings: Settings) -> AsyncGenerator[Runtime]:
    """A broker for one machine: ours, one server or a cluster, unless an address is set.

    Raises SetupError, BrokerTooOld, StoreError.
    """
    async with AsyncExitStack() as stack:
        server: Embedded | None = None
        if settings.nats_url is None:
            server = _embedded(settings)
            await stack.enter_async_context(server)
            if server.version_warning:
                log.warning("%s", server.version_warning)
        url = server.url if server is not None else nats_url_of(settings)
        replicas = max(settings.replicas, settings.cluster if server is not None else 1)
        # The servers of a cluster are ready before they have agreed who leads each stream.
        wait_s = ELECTION_S if replicas > 1 else 0.0
        backend = await _connect_within(
            wait_s, lambda: _connect(settings, url, make=True, replicas=replicas)
        )
        stack.push_async_callback(backend.close)
        yield Runtime(url=url, names=names_of(settings), backend=backend, server=server)


@asynccontextmanager
async def open_remote(
    settings: Settings, *, make: bool, wait_s: float = 0.0
) -> AsyncGenerator[Runtime]:
    """A broker that runs already; tries for ``wait_s`` seconds. Raises StoreError.

    With ``make`` missing streams are made, otherwise they must be there.
    """
    url = nats_url_of(settings)
    backend = await _connect_within(wait_s, lambda: _connect(settings, url, make=make))
    try:
        yield Runtime(url=url, names=names_of(settings), backend=backend)
    finally:
        await backend.close()


async def _connect_within(
    wait_s: float, attempt: Callable[[], Awaitable[JetStreamBackend]]
) -> JetStreamBackend:
    """Attempt to connect, again and again for so many seconds; raises what the last one did."""
    deadline_s = asyncio.get_running_loop().time() + wait_s
    told = ""
    while True:
        try:
            return await attempt()
        except TopologyDrift:
            raise
        except StoreError as error:
            if asyncio.get_running_loop().time() >= deadline_s:
                raise
            if str(error) != told:
                told = str(error)
                log.warning("waiting up to %g s: %s", wait_s, told)
        await asyncio.sleep(PATIENCE_POLL_S)


def _embedded(settings: Settings) -> Embedded:
    if settings.cluster > 1:
        return EmbeddedCluster(
            *(settings.data, settings.cluster),
            port=settings.nats_port,
            sync_always=settings.sync_always,
            store_bytes_max=settings.store_bytes_max,
        )
    return EmbeddedServer(
        settings.data,
        port=settings.nats_port,
        sync_always=settings.sync_always,
        store_bytes_max=settings.store_bytes_max,
    )


@asynccontextmanager
async def broker_of(settings: Settings) -> AsyncGenerator[str]:
    """Where the broker is: the one that is set, or that of whoever holds the data directory; or
    ours, started for as long. Raises SetupError.
    """
    if settings.nats_url or holder_of(Path(settings.data)):
        yield nats_url_of(settings)
        return
    async with _embedded(settings) as server:
        yield server.url


async def _connect(
    settings: Settings, url: str, *, make: bool, replicas: int | None = None
) -> JetStreamBackend:
    login = login_of(settings)
    await knock(url)
    return await connect(
        url,
        names_of(settings),
        partitions=settings.partitions,
        replicas=replicas or settings.replicas,
        login=login,
        make=make,
    )


class Process(NamedTuple):
    """What runs in this process; ``serving`` is None unless one of its roles is ``api``."""

    supervisor: Supervisor
    serving: Serving | None


def build_process(
    settings: Settings,
    runtime: Runtime,
    app: App,
    roles: Sequence[Role],
    targets: Sequence[str] = (),
    *,
    mount: str = "",
) -> Process:
    """The services of ``roles`` in the order they start; ``targets`` limits the jobs, () is all.

    With ``mount`` the API has no server of its own and stands at that path of somebody else's.
    Raises DefinitionError for a target without a job and for providers that can't work, and
    AccessFileError.
    """
    server = runtime.server
    observing = Observing(
        *(settings, runtime.backend, runtime.names),
        healthy=server.healthy if server is not None else None,
    )
    clock = BrokerClock(runtime.backend.time)
    services: list[Service] = [*observing.first(), *_watches(runtime), clock]
    secret_names = app.secrets.union(settings.secrets)
    redactor.hide(lambda: secret_names)
    serving: Serving | None = None
    inline: InlineSteps | None = None
    if settings.inline_steps and {"engine", "jobs"} <= set(roles):
        jobs = app.jobs.select(targets or None)
        inline = InlineSteps(runtime.names, inline_targets(app.registry, jobs), clock.now)
    for role in roles:
        match role:
            case "engine":
                engine = _engine(settings, runtime, app, observing, inline, clock.now)
                observing.scrape.engine(engine)
                services.append(engine)
            case "jobs":
                services.append(
                    Worker(
                        *(runtime.backend, runtime.names, app.jobs),
                        targets=targets or None,
                        providers=app.providers,
                        hook=observing.hook,
                        now=clock.now,
                        secret_fields=settings.secrets,
                        inline=inline,
                    )
                )
            case "api":
                # DuckDB and the web framework take most of a second to load; others go without.
                from server.serving import build_serving

                serving = build_serving(
                    *(runtime.backend, runtime.url, runtime.names, app, settings),
                    observing=observing,
                    mount=mount,
                    broker=runtime.backend.state,
                    now=clock.now,
                )
                services += serving.services
            case _:
                assert_never(role)
    if serving is None:
        services += observing.last()
    return Process(Supervisor(services, "snorri"), serving)


def _engine(
    settings: Settings,
    runtime: Runtime,
    app: App,
    observing: Observing,
    inline: InlineSteps | None,
    now: Clock,
) -> Engine:
    return Engine(
        *(runtime.backend, runtime.names, app.registry),
        # Nobody else can hold the data directory, so whoever holds it is the engine that was there
        # before: after a crash its leases are its own, not waited for.
        engine_id=EMBEDDED_ENGINE if runtime.server is not None else "",
        hook=observing.hook,
        secret_fields=settings.secrets,
        inline=inline,
        now=now,
    )


async def run_until_signal(supervisor: Supervisor, ready: Callable[[], None]) -> int:
    """Run until Ctrl-C (130) or SIGTERM (0), stop in order, and return the exit code.

    A second signal ends the process at once; an embedded nats-server follows by itself. Raises
    ServiceDied when a service ended although nobody asked for it.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    codes: list[int] = []

    def ask(number: signal.Signals) -> None:
        if codes:
            os._exit(128 + number)
        codes.append(130 if number is signal.SIGINT else 0)
        log.info("stopping in order; once more to stop at once")
        stop.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, ask, number)
    try:
        await supervisor.run(stop, ready)
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
    return codes[0] if codes else 0


def _watches(runtime: Runtime) -> tuple[Service, Service]:
    """What looks after the broker."""
    backend, server = runtime.backend, runtime.server
    room = RoomWatch(backend.meta, lambda: usage_of(backend, server))
    return BrokerWatch(backend, server), room
