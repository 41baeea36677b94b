"""Three brokers for tests: a cluster whose routes can be cut, and who leads what in it.

Each server dials each other one through a pipe of its own, and no server tells anybody where else
it could be reached, so that a server is cut off exactly when its pipes are.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

from server.embedded import EmbeddedServer
from server.embedded_cluster import EmbeddedCluster
from server.natsconf import HOST, Member
from store.jetstream import JetStreamBackend
from store.jetstream.api import ask

CHUNK_BYTES = 65536


class Pipe:
    """Forwards a port of loopback to another; while it is cut, what is sent stays where it is.

    Nobody is told: to both ends it looks like a network that has fallen silent.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._open = asyncio.Event()
        self._open.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Pipe:
        self._server = await asyncio.start_server(self._meet, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Let nothing through any more."""
        self._open.clear()

    def heal(self) -> None:
        """Let everything through again, what has waited first."""
        self._open.set()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._open.wait()
            theirs, ours = await asyncio.open_connection(HOST, self._target)
            try:
                await self._copy_both(reader, writer, theirs, ours)
            finally:
                await _close(ours)
        except OSError:  # the server behind is away
            pass
        finally:
            await _close(writer)
            self._tasks.discard(task)

    async def _copy_both(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        theirs: asyncio.StreamReader,
        ours: asyncio.StreamWriter,
    ) -> None:
        ways = {
            asyncio.create_task(self._copy(reader, ours)),
            asyncio.create_task(self._copy(theirs, writer)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK_BYTES):
            await self._open.wait()
            writer.write(data)
            await writer.drain()


class Brokers:
    """A running cluster; ``pipes[a, b]`` is the way from server a to server b, by place."""

    def __init__(self, cluster: EmbeddedCluster, pipes: dict[tuple[int, int], Pipe]) -> None:
        self.cluster = cluster
        self._pipes = pipes

    def node(self, name: str) -> EmbeddedServer:
        """The server of that name, as the cluster calls it."""
        return self.cluster.nodes[_place(name)]

    def cut(self, name: str) -> None:
        """Cut one server off from the others; clients still reach it."""
        for pipe in self._pipes_of(name):
            pipe.cut()

    def heal(self, name: str) -> None:
        """The others hear it again."""
        for pipe in self._pipes_of(name):
            pipe.heal()

    def _pipes_of(self, name: str) -> list[Pipe]:
        place = _place(name)
        return [pipe for ends, pipe in self._pipes.items() if place in ends]


async def leader_of(backend: JetStreamBackend, stream: str) -> str:
    """The name of the server that leads a stream; raises Unreachable while there is none."""
    info = await ask(backend._link, f"STREAM.INFO.{stream}")
    return str(info["cluster"]["leader"])


async def in_step(backend: JetStreamBackend, stream: str) -> bool:
    """Whether every copy of a stream is as new as its leader's."""
    info = await ask(backend._link, f"STREAM.INFO.{stream}")
    copies = info["cluster"].get("replicas") or []
    return all(copy.get("current") and not copy.get("offline") for copy in copies)


@asynccontextmanager
async def brokers(home: Path, count: int = 3) -> AsyncGenerator[Brokers]:
    """A cluster in ``home`` that stores every write with a sync, and its pipes."""
    async with AsyncExitStack() as stack:
        ports = _free_ports(count)
        ends = [(a, b) for a in range(count) for b in range(count) if a != b]
        pipes = {(a, b): await stack.enter_async_context(Pipe(ports[b])) for a, b in ends}
        members = [
            Member(
                name=f"n{place + 1}",
                route_port=port,
                routes=tuple(f"{HOST}:{pipes[place, b].port}" for a, b in ends if a == place),
                advertise=f"{HOST}:1",  # nobody listens there
            )
            for place, port in enumerate(ports)
        ]
        cluster = EmbeddedCluster(home, count, port=0, members=members)
        await stack.enter_async_context(cluster)
        yield Brokers(cluster, pipes)


def _place(name: str) -> int:
    return int(name.rpartition("n")[2]) - 1


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
