"""What looks after the broker: whether it is there, what room it has, and that it is started anew
when a full disk has stopped it.

nats-server writes no more to a stream whose disk was full once, also when there is room again, but
after a start. Where the server is ours, that is done here. It never is for other errors of the
disk: what could not be synced may look as if it were stored, so somebody has to look first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil

from server.embedded import EmbeddedServer
from server.embedded_cluster import Embedded, EmbeddedCluster
from server.errors import SetupError
from store.jetstream.backend import JetStreamBackend
from store.life import Life
from store.port import StoreError
from store.room import AGAIN, Usage

log = logging.getLogger("snorri")

LOOK_S = 0.2
ASK_EVERY = 10  # looks
RESERVE_SHARE = 0.05  # of the disk is not for the store …
RESERVE_BYTES_MAX = 256 * 1024 * 1024  # … but no more than this
NO_ROOM = ("no space left on device", "disk quota exceeded")


async def usage_of(backend: JetStreamBackend, server: Embedded | None) -> Usage | None:
    """What is stored, of what may be; None where only the owner of the server knows.

    With a server of ours the disk counts too, whoever fills it: its last part is kept, so that new
    sagas are refused while running ones can still go on. Raises StoreErrors and OSError.
    """
    used, limit = await backend.usage()
    if server is None:
        return Usage(used, limit) if limit > 0 else None
    disk = await asyncio.to_thread(shutil.disk_usage, server.data_dir)
    left = max(0, disk.free - min(RESERVE_BYTES_MAX, int(disk.total * RESERVE_SHARE)))
    return Usage(used, min(server.store_bytes, used + left // len(_servers(server))))


class BrokerWatch:
    """Ends when the broker is gone for good: our server, or the connection."""

    name = "connection to NATS"

    def __init__(self, backend: JetStreamBackend, server: Embedded | None) -> None:
        self._backend = backend
        self._server = server
        self._life = Life()
        self._told: dict[EmbeddedServer, str] = {}

    async def start(self) -> None:
        """Begin to look."""
        self._life.begin(self._run(), self.name)

    async def stop(self) -> None:
        """End; a server that is just being started anew ends with this."""
        await self._life.stop()

    async def wait(self) -> None:
        """Return after ``stop``; raises StoreError when the broker has ended."""
        await self._life.wait()

    async def _run(self) -> None:
        looks = 0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._backend.closed.wait()
                raise StoreError("the connection was closed for good; check the credentials")
            if self._server is None:
                continue
            if not self._server.running:
                raise StoreError(f"nats-server ended by itself; its log is {self._server.log_path}")
            looks += 1
            if looks % ASK_EVERY == 0:
                for node in _servers(self._server):
                    await self._look_after(node)

    async def _look_after(self, node: EmbeddedServer) -> None:
        complaint = await node.complaint() if node.running else ""
        if complaint and complaint != self._told.get(node):
            log.error("nats-server does not store any more: %s", complaint)
        self._told[node] = complaint
        if any(words in complaint for words in NO_ROOM) and await self._has_room():
            log.warning("there is room on the disk again; starting nats-server anew")
            try:
                await node.restart()
            except SetupError as error:
                raise StoreError(f"nats-server could not be started anew: {error}") from error

    async def _has_room(self) -> bool:
        try:
            usage = await usage_of(self._backend, self._server)
        except (StoreError, OSError) as error:
            log.debug("room can't be measured now: %s", error)
            return False
        return usage is not None and usage.share < AGAIN


def _servers(server: Embedded) -> tuple[EmbeddedServer, ...]:
    return server.nodes if isinstance(server, EmbeddedCluster) else (server,)
