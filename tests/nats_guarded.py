"""A real nats-server that knows the users of `snorri nats-users`, for tests of who may do what."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from server.embedded import find_server
from server.nats_users import CONF, write_users
from store.jetstream.login import Login
from store.jetstream.permissions import User
from store.subjects import Names
from tests.waiting import eventually_sync


class GuardedNats:
    """Runs from ``start`` to ``close``; ``more`` are further lines of its configuration."""

    def __init__(
        self, folder: Path, names: Names, targets: Sequence[str] = (), more: str = ""
    ) -> None:
        self.folder = folder
        self.names = names
        self.users = {
            one.user: one for one in write_users(folder, names, targets, account="SNORRI")
        }
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.config = folder / "nats.conf"
        self.config.write_text(
            f"listen: 127.0.0.1:{self.port}\n"
            f'jetstream {{ store_dir: "{folder}/js", sync_interval: always }}\n'
            f"include ./{CONF}\n{more}\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    def login(self, user: User) -> Login:
        """How that user logs in."""
        return Login(creds=str(self.users[user].file))

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

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
