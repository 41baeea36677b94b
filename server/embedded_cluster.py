"""Several nats-servers of our own on loopback that form one cluster: the way a cluster works, on
one machine, to develop and to test against it.

It protects against the end of a process, not of the machine or its disk. Each server is an
`EmbeddedServer` with a directory of its own, ``nodes/n1`` and so on; this owns the directory above
them, and that they start and stop together. A server that ends by itself leaves the others
working; `wait` returns when most have ended, since nothing can be stored any more.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

import msgspec
from msgspec import Struct

from server.datadir import DataDir, cluster_kind
from server.embedded import READY_S_MAX, EmbeddedServer
from server.errors import EmbeddedError, PortTaken, StartFailed
from server.natsconf import HOST, Member, store_bytes_default

PORT_MAX = 65535
POLL_S = 0.1


class _Group(Struct, frozen=True):
    leader: str = ""


class _Stream(Struct, frozen=True):
    cluster: _Group = _Group()


class _Account(Struct, frozen=True):
    stream_detail: tuple[_Stream, ...] = ()


class _Peer(Struct, frozen=True):
    current: bool = False
    offline: bool = False


class _Meta(Struct, frozen=True):
    replicas: tuple[_Peer, ...] = ()


class _Page(Struct, frozen=True):
    account_details: tuple[_Account, ...] = ()
    meta_cluster: _Meta = _Meta()


class EmbeddedCluster:
    """``async with EmbeddedCluster(data_dir, 3) as cluster:``; has what an EmbeddedServer has."""

    def __init__(
        self,
        data_dir: Path | str,
        count: int,
        *,
        port: int = 4222,
        sync_always: bool = True,
        store_bytes_max: int | None = None,
        ready_s_max: float = READY_S_MAX,
        members: Sequence[Member] | None = None,
    ) -> None:
        """``port`` is the first server's, the others take the next ones; 0 takes any free ones.

        ``store_bytes_max`` is shared among them. ``members`` says how they find each other, for
        tests that put something in between.
        """
        self.data_dir = Path(data_dir).resolve()
        self.nodes: tuple[EmbeddedServer, ...] = ()
        self._members = tuple(members) if members else members_of(count)
        self._port = port
        self._sync_always = sync_always
        self._store_bytes_max = store_bytes_max
        self._ready_s_max = ready_s_max
        self._held: DataDir | None = None

    @property
    def url(self) -> str:
        """Where clients connect: all servers, separated by commas."""
        return ",".join(node.url for node in self.nodes)

    @property
    def port(self) -> int:
        """The port of the first server."""
        return self.nodes[0].port if self.nodes else self._port

    @property
    def version(self) -> str:
        """The version of the servers, all of one executable."""
        return self.nodes[0].version

    @property
    def version_warning(self) -> str | None:
        """What is to be known of this version, if anything."""
        return self.nodes[0].version_warning

    @property
    def log_path(self) -> Path:
        """The folder that holds the servers' logs, each in its own."""
        return self.data_dir / "nodes"

    @property
    def store_bytes(self) -> int:
        """What may be stored: each server keeps a copy of everything."""
        return min(node.store_bytes for node in self.nodes)

    @property
    def running(self) -> bool:
        """Whether enough servers run to store anything."""
        return sum(node.running for node in self.nodes) > len(self._members) // 2

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> Self:
        """Start all and wait until they have found each other; raises as EmbeddedServer does."""
        if self._port + len(self._members) - 1 > PORT_MAX:
            raise PortTaken(
                f"the servers take the ports from {self._port} on, and there is none over "
                f"{PORT_MAX}; use --nats-port 4222 or 0"
            )
        self._held = DataDir.hold(self.data_dir, cluster_kind(len(self._members)))
        self.nodes = tuple(self._made(place) for place in range(len(self._members)))
        try:
            async with asyncio.TaskGroup() as group:
                for node in self.nodes:
                    group.create_task(node.start())
            await self._agreed()
        except BaseExceptionGroup as failed:
            await self.stop()
            raise failed.exceptions[0] from None
        except BaseException:
            await self.stop()
            raise
        self._held.record(port=self.port, ports=tuple(node.port for node in self.nodes))
        return self

    async def stop(self) -> None:
        """End all in order and give the directory back. Idempotent."""
        await asyncio.gather(*(node.stop() for node in self.nodes))
        if self._held is not None:
            self._held.release()
            self._held = None

    async def wait(self) -> int:
        """Return an exit code once so many servers have ended that nothing can be stored."""
        if not self.nodes:
            raise EmbeddedError("this cluster was never started; call start first")
        waits = [asyncio.create_task(node.wait()) for node in self.nodes]
        try:
            code = 0
            for ended, task in enumerate(asyncio.as_completed(waits), 1):
                code = await task
                if len(waits) - ended <= len(waits) // 2:
                    break
            return code
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def healthy(self) -> bool:
        """Whether most servers call themselves well, so that everything can be stored."""
        answers = await asyncio.gather(*(node.healthy() for node in self.nodes))
        return sum(answers) > len(answers) // 2

    async def _agreed(self) -> None:
        """Wait until the servers have agreed who leads; raises StartFailed."""
        deadline_s = asyncio.get_running_loop().time() + self._ready_s_max
        while not await self._led():
            if asyncio.get_running_loop().time() > deadline_s:
                raise StartFailed(
                    f"the servers have not agreed who leads within {self._ready_s_max:g} s; their"
                    f" logs are in {self.log_path}"
                )
            await asyncio.sleep(POLL_S)

    async def _led(self) -> bool:
        """Whether somebody leads the cluster, and knows of all of it, and every stream that there
        is has a leader: until then nothing can be made or stored.
        """
        asked = (node.monitor("/jsz?accounts=true&streams=true") for node in self.nodes)
        answers = [answer for answer in await asyncio.gather(*asked) if answer is not None]
        pages = [msgspec.json.decode(answer, type=_Page) for answer in answers]
        seen = [page.meta_cluster.replicas for page in pages]
        whole = any(  # the leader alone calls the others current
            len(peers) == len(self.nodes) - 1
            and all(peer.current and not peer.offline for peer in peers)
            for peers in seen
        )
        accounts = [account for page in pages for account in page.account_details]
        streams = [stream for account in accounts for stream in account.stream_detail]
        return whole and all(stream.cluster.leader for stream in streams)

    def _made(self, place: int) -> EmbeddedServer:
        member = self._members[place]
        self.log_path.mkdir(exist_ok=True)
        store_bytes = self._store_bytes_max or store_bytes_default(self.log_path)
        return EmbeddedServer(
            self.log_path / member.name,
            port=self._port + place if self._port else 0,
            sync_always=self._sync_always,
            store_bytes_max=store_bytes // len(self._members),
            ready_s_max=self._ready_s_max,
            member=member,
        )


Embedded: TypeAlias = EmbeddedServer | EmbeddedCluster


def members_of(count: int) -> tuple[Member, ...]:
    """Members that find each other directly, on ports that are free now."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        ports = [probe.getsockname()[1] for probe in probes]
    return tuple(
        Member(
            name=f"n{place}",
            route_port=port,
            routes=tuple(f"{HOST}:{other}" for other in ports if other != port),
        )
        for place, port in enumerate(ports, 1)
    )
