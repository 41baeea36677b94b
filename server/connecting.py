"""Opening a broker: our own nats-server or one that runs already, and the connection to it.

Commands that only look need nothing more, so what runs engines and pages is loaded elsewhere.
Everything is opened here and closed here, in reverse order, also when a start fails half-way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from msgspec import Struct

from server.datadir import holder_of
from server.embedded import EmbeddedServer
from server.embedded_cluster import Embedded, EmbeddedCluster
from server.knock import knock
from server.login import login_of
from server.natsconf import HOST
from server.settings import Settings
from store.jetstream.backend import JetStreamBackend, connect
from store.port import StoreError, TopologyDrift
from store.subjects import Names

log = logging.getLogger("snorri")

PATIENCE_POLL_S = 0.5
ELECTION_S = 30.0


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
