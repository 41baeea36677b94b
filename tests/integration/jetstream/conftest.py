"""A backend on the session's server with a bucket of its own, and servers with a configuration."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from server.embedded import find_server
from store.jetstream import JetStreamBackend, connect
from store.jetstream.dial import dial
from store.jetstream.link import Link
from store.subjects import Names
from tests.conftest import NatsServer
from tests.waiting import eventually

Configured = Callable[..., Awaitable[str]]


@pytest.fixture
def names(fresh_names: Callable[[], Names]) -> Names:
    """An installation that no other test has."""
    return fresh_names()


@pytest_asyncio.fixture
async def backend(nats_server: NatsServer, names: Names) -> AsyncIterator[JetStreamBackend]:
    """All ports of one process."""
    backend = await connect(nats_server.url, names)
    yield backend
    await backend.close()


@pytest_asyncio.fixture
async def link(nats_server: NatsServer) -> AsyncIterator[Link]:
    """A bare connection beside the backend's."""
    link = await dial(nats_server.url, name="test")
    yield link
    await link.hang_up()


@pytest_asyncio.fixture
async def configured(tmp_path: Path) -> AsyncIterator[Configured]:
    """Starts a nats-server with some configuration; gives the address to connect to."""
    processes: list[subprocess.Popen[bytes]] = []

    async def start(lines: str, jetstream: str = "") -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        config = tmp_path / f"server{len(processes)}.conf"
        config.write_text(
            f"listen: 127.0.0.1:{port}\n{lines}\n"
            f'jetstream {{ store_dir: "{tmp_path}/js{len(processes)}"\n{jetstream} }}\n'
        )
        process = subprocess.Popen(
            [str(find_server()), "-c", str(config), "-l", str(tmp_path / "server.log")]
        )
        processes.append(process)

        async def answers() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return False
            writer.close()
            await writer.wait_closed()
            return True

        await eventually(answers, what="the server's port")
        return f"127.0.0.1:{port}"

    yield start
    for process in processes:
        process.kill()
        process.wait()
