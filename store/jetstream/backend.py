"""All ports on one connection: connect, check or make the streams, close in order.

The one place where the parts of this package meet; it decides nothing itself.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

from store.broker_state import BrokerState
from store.jetstream import api, topology
from store.jetstream.broker_state import broker_state, broker_time
from store.jetstream.dial import dial
from store.jetstream.door import JetStreamDoor
from store.jetstream.feeds import JetStreamFeeds
from store.jetstream.link import Link
from store.jetstream.log import JetStreamLog
from store.jetstream.login import ANYBODY, Login
from store.jetstream.meta import JetStreamMeta
from store.jetstream.queues import JetStreamQueues
from store.subjects import Names


class JetStreamBackend:
    """``store.port.Backend`` on a NATS server; made by ``connect``."""

    def __init__(self, link: Link, names: Names, partitions: int, replicas: int) -> None:
        self.log = JetStreamLog(link, names)
        self.door = JetStreamDoor(link, names)
        self.feeds = JetStreamFeeds(link, names)
        self.meta = JetStreamMeta(link, names)
        self.queues = JetStreamQueues(link, names)
        self.payload_max = link.size_max
        self.partitions = partitions
        self.replicas = replicas
        self.names = names
        self._link = link

    @property
    def closed(self) -> asyncio.Event:
        """Set when the connection is closed for good: a supervisor's signal."""
        return self._link.closed

    @property
    def connected(self) -> bool:
        """Whether there is a connection at this moment."""
        return self._link.is_connected

    @property
    def server_version(self) -> str:
        """The version of the server we are connected to."""
        return str(self._link.server_info.get("version", ""))

    async def usage(self) -> tuple[int, int]:
        """Bytes of files that the account has stored, and how many it may store (-1: no limit).

        Each copy counts for the server; here they count once. Raises Unreachable and other
        StoreErrors.
        """
        account = await api.ask(self._link, "INFO")
        stored, limit = int(account["storage"]), int(account["limits"]["max_storage"])
        copies = max(1, self.replicas)
        return stored // copies, limit // copies if limit > 0 else limit

    async def time(self) -> datetime:
        """What the clock of the broker says, UTC: that of the server which leads the log, where
        timers fire. Raises Unreachable and other StoreErrors.
        """
        return await broker_time(self._link, self.names)

    async def state(self) -> BrokerState:
        """What the broker tells of itself; raises Unreachable and other StoreErrors."""
        return await broker_state(self._link, self.names)

    async def close(self) -> None:
        """End feeds and queues (what was not taken goes back) and the connection. Idempotent."""
        await self.feeds.close()
        await self.queues.close()
        await self._link.hang_up()


async def connect(
    url: str,
    names: Names,
    *,
    partitions: int = 4,
    replicas: int = 1,
    login: Login = ANYBODY,
    name: str = "snorri",
    make: bool = True,
) -> JetStreamBackend:
    """Open all ports; with ``make`` the streams are made when absent and must be exactly ours.

    Without ``make`` an existing installation is used with whatever number of partitions it has.
    Raises Unreachable, TopologyDrift, BadLogin, Refused where permissions deny it, and StoreError
    for a server that can't be used or a missing stream.
    """
    link = await dial(url, login=login, name=name)
    try:
        count = await topology.ensure(link, names, partitions, replicas, make=make)
        copies = await topology.replicas_of(link, names)
    except BaseException:
        await link.hang_up()
        raise
    return JetStreamBackend(link, names, count, copies)


async def connect_door(
    url: str, names: Names, *, login: Login = ANYBODY, name: str = "snorri-publisher"
) -> JetStreamBackend:
    """Open the ports for a publisher, whose user may look at the events stream only.

    Raises what ``connect`` does.
    """
    link = await dial(url, login=login, name=name)
    try:
        count = await topology.check_door(link, names)
    except BaseException:
        await link.hang_up()
        raise
    return JetStreamBackend(link, names, count, 0)
