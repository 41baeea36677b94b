"""Goal: one embedded server a directory, never an orphan, clear words when it can't start.

Method: real nats-servers on free ports in temporary folders; the launcher that gets kill -9 is a
process of its own, and what must follow is waited for with a deadline.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nats
import pytest

from server.datadir import command_line
from server.embedded import EmbeddedServer
from server.errors import DataDirBusy, LayoutUnknown, PortTaken, ServerMissing, StartFailed
from store.broker_version import BrokerTooOld
from tests.conftest import NatsServer
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = """
import asyncio, sys
from server.embedded import EmbeddedServer

async def main():
    async with EmbeddedServer(sys.argv[1], port=0) as server:
        print(server.pid, server.port, flush=True)
        await server.wait()

asyncio.run(main())
"""


class Launcher:
    """Another Snorri process that holds an embedded server, to be killed at will."""

    def __init__(self, data_dir: Path) -> None:
        command = [sys.executable, "-c", LAUNCH, str(data_dir)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        words = self.process.stdout.readline().split()
        self.server_pid, self.port = int(words[0]), int(words[1])

    def kill(self) -> None:
        """kill -9; nothing of it gets to clean up."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    """A launcher on the test's own data directory."""
    launcher = Launcher(tmp_path / "data")
    yield launcher
    launcher.close()


def _ended(pid: int) -> bool:
    return "nats-server" not in command_line(pid)


def _script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.asyncio
async def test_starts_ready_and_stops_without_a_trace(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path / "a b$c", port=0) as server:
        assert server.running
        assert await server.healthy()
        assert server.version.startswith("2.")
        client = await nats.connect(server.url)
        info = await client.jetstream().account_info()
        await client.close()
        assert info.streams == 0
        pid = server.pid
    assert _ended(pid)
    assert not server.running
    assert not await server.healthy()
    await server.stop()


@pytest.mark.asyncio
async def test_every_acknowledged_write_is_synced_unless_told_otherwise(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path / "safe", port=0) as safe:
        assert "sync_interval: always" in (safe.data_dir / "nats/server.conf").read_text()
    async with EmbeddedServer(tmp_path / "fast", port=0, sync_always=False) as fast:
        assert "sync_interval: 2m" in (fast.data_dir / "nats/server.conf").read_text()


@pytest.mark.asyncio
async def test_kill_and_restart_keep_port_and_data(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path, port=0) as server:
        url = server.url
        client = await nats.connect(url)
        await client.jetstream().add_stream(name="S", subjects=["s"])
        await client.jetstream().publish("s", b"kept")
        await client.close()
        await server.kill()
        assert not server.running
        await server.restart()
        assert server.url == url
        client = await nats.connect(url)
        message = await client.jetstream().get_msg("S", 1)
        await client.close()
        assert message.data == b"kept"


@pytest.mark.asyncio
async def test_wait_tells_when_the_server_died_by_itself(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path, port=0) as server:
        os.kill(server.pid, signal.SIGKILL)
        assert await server.wait() != 0
        assert not server.running


@pytest.mark.asyncio
async def test_the_server_dies_with_a_launcher_that_got_kill_9(launcher: Launcher) -> None:
    assert not _ended(launcher.server_pid)
    launcher.kill()
    await eventually(lambda: _ended(launcher.server_pid), 15, "the end of the orphan")


@pytest.mark.asyncio
async def test_a_killed_watchdog_leaves_no_server_behind(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path, port=0) as server:
        pid = server.pid
        assert server._watchdog is not None
        server._watchdog.kill()
        await server.wait()
        await server.restart()
        assert _ended(pid)
        assert await server.healthy()


@pytest.mark.asyncio
async def test_a_second_start_is_refused_and_names_the_owner(
    launcher: Launcher, tmp_path: Path
) -> None:
    with pytest.raises(DataDirBusy) as refused:
        await EmbeddedServer(tmp_path / "data", port=0).start()
    words = str(refused.value)
    assert f"pid {launcher.process.pid}" in words
    assert f"port {launcher.port}" in words
    assert "--data" in words
    assert not _ended(launcher.server_pid)


@pytest.mark.asyncio
async def test_an_orphan_is_stopped_before_a_new_start(tmp_path: Path) -> None:
    """What a crash of launcher and watchdog together leaves where the system doesn't help."""
    first = await EmbeddedServer(tmp_path, port=0).start()
    await first.stop()
    conf = tmp_path / "nats" / "server.conf"
    executable = Path(sys.executable).with_name("nats-server")
    orphan = subprocess.Popen([executable, "-c", conf])
    record = {"pid": 1, "started": "then", "server_pid": orphan.pid, "port": 1}
    (tmp_path / "lock").write_text(json.dumps(record))
    await eventually(lambda: list(conf.parent.glob(f"*_{orphan.pid}.ports")), 15, "the orphan")
    async with EmbeddedServer(tmp_path, port=0) as server:
        assert orphan.wait(timeout=1) is not None
        assert await server.healthy()


@pytest.mark.asyncio
async def test_a_pid_given_anew_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        record = {"pid": 1, "started": "then", "server_pid": stranger.pid, "port": 1}
        (tmp_path / "lock").write_text(json.dumps(record))
        async with EmbeddedServer(tmp_path, port=0):
            assert stranger.poll() is None
        stranger.kill()


@pytest.mark.asyncio
async def test_a_taken_port_is_named_with_a_way_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {port} is taken.*--nats-port 0"):
            await EmbeddedServer(tmp_path, port=port).start()
    async with EmbeddedServer(tmp_path, port=port) as server:
        assert server.port == port


@pytest.mark.asyncio
async def test_an_unknown_layout_is_refused(tmp_path: Path) -> None:
    (tmp_path / "layout").write_text("99\n")
    with pytest.raises(LayoutUnknown, match=r"'99'.*layout 1"):
        await EmbeddedServer(tmp_path, port=0).start()
    (tmp_path / "layout").unlink()
    (tmp_path / "nats" / "js").mkdir(parents=True)
    with pytest.raises(LayoutUnknown, match="no layout file"):
        await EmbeddedServer(tmp_path, port=0).start()


@pytest.mark.asyncio
async def test_a_wrong_server_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNORRI_NATS_SERVER", str(tmp_path / "absent"))
    with pytest.raises(ServerMissing, match="absent"):
        await EmbeddedServer(tmp_path, port=0).start()
    other = _script(tmp_path / "other", "echo hello")
    monkeypatch.setenv("SNORRI_NATS_SERVER", other)
    with pytest.raises(ServerMissing, match="does not answer like a nats-server"):
        await EmbeddedServer(tmp_path, port=0).start()
    old = _script(tmp_path / "old", "echo nats-server: v2.12.0")
    monkeypatch.setenv("SNORRI_NATS_SERVER", old)
    with pytest.raises(BrokerTooOld, match=r"2\.15\.1"):
        await EmbeddedServer(tmp_path, port=0).start()
    broken = _script(
        tmp_path / "broken", '[ "$1" = --version ] && echo v2.15.1 && exit 0; echo "no luck" >&2'
    )
    monkeypatch.setenv("SNORRI_NATS_SERVER", broken)
    with pytest.raises(StartFailed, match="no luck"):
        await EmbeddedServer(tmp_path / "data", port=0).start()
    deaf = _script(
        tmp_path / "deaf", '[ "$1" = --version ] && echo v2.15.1 && exit 0; exec tail -f /dev/null'
    )
    monkeypatch.setenv("SNORRI_NATS_SERVER", deaf)
    with pytest.raises(StartFailed, match=r"not ready within 0\.5 s"):
        await EmbeddedServer(tmp_path / "data", port=0, ready_s_max=0.5).start()
    monkeypatch.delenv("SNORRI_NATS_SERVER")
    async with EmbeddedServer(tmp_path / "data", port=0) as server:
        assert server.running


@pytest.mark.asyncio
async def test_the_session_fixture_survives_a_crash(nats_server: NatsServer) -> None:
    url = nats_server.url
    nats_server.kill()
    nats_server.restart()
    client = await nats.connect(nats_server.url)
    assert nats_server.url == url
    await client.close()
