"""A real nats-server that knows the users of `snorri nats-users`, for tests of who may do what."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from server.embedded import find_server
from server.nats_users import CONF, write_users
from store.jetstream.login import Login
from store.jetstream.permissions import User
from store.subjects import Names
from tests.waiting import eventually, eventually_sync


class ConfiguredNats:
    """A nats-server with some configuration, from ``start`` to ``close``."""

    def __init__(self, folder: Path, lines: str, jetstream: str = "sync_interval: always") -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.config = folder / "nats.conf"
        self.config.write_text(
            f"listen: 0.0.0.0:{self.port}\nhttp: 127.0.0.1:-1\nports_file_dir: {folder}\n"
            f'jetstream {{ store_dir: "{folder}/js", {jetstream} }}\n{lines}\n'
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    def monitor_address(self) -> str:
        """Root of the monitoring pages, empty while the server has not told it."""
        for file in self.folder.glob("*.ports"):
            with contextlib.suppress(ValueError):
                return json.loads(file.read_text())["monitoring"][0]
        return ""

    def start(self) -> None:
        """Start, and wait for its port."""
        command = [find_server(), "-c", self.config, "-l", self.folder / "server.log"]
        self._process = subprocess.Popen([str(part) for part in command])

        def answers() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, (self.folder / "server.log").read_text()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        eventually_sync(answers, what="the server's port")

    def pause(self) -> None:
        """Stop it in the middle of whatever it does, until ``close``."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class GuardedNats(ConfiguredNats):
    """One that lets in the users of ``names`` only; ``more`` are further lines."""

    def __init__(
        self, folder: Path, names: Names, targets: Sequence[str] = (), more: str = ""
    ) -> None:
        super().__init__(folder, f"include ./{CONF}\n{more}")
        self.names = names
        self.users = {
            one.user: one for one in write_users(folder, names, targets, account="SNORRI")
        }

    def login(self, user: User) -> Login:
        """How that user logs in."""
        return Login(creds=str(self.users[user].file))

    def rotate(self, user: User) -> None:
        """Make a new key for a user, which holds once the server was ``reloaded``."""
        fresh = write_users(self.folder, self.names, (), account="SNORRI", rotate=[user])
        self.users = {one.user: one for one in fresh}

    async def reloaded(self) -> None:
        """Have the server read its configuration again, and wait until it has."""
        assert self._process is not None
        log = self.folder / "server.log"
        before = log.read_text().count("Reloaded server configuration")
        self._process.send_signal(signal.SIGHUP)
        await eventually(
            lambda: log.read_text().count("Reloaded server configuration") > before,
            what="the reload",
        )
