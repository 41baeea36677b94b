"""The data directory of one installation: who holds it, and whether its layout is ours.

Two nats-servers on one directory both run and diverge silently, so a lock of our own stands before
everything else. The lock is the kernel's (it vanishes with its holder); the JSON inside only tells
people, and the next start, who that was. Knows processes and files, nothing of NATS but its name.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from server.errors import DataDirBusy, LayoutUnknown

LAYOUT = 1
NODE = "node"
CLUSTER = "cluster "
STOP_GRACE_S = 10.0
POLL_S = 0.05


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds the directory: its pid, since when (UTC), its nats-server's pid and port.

    Of a cluster, ``ports`` are those of all servers; each one's own directory says the rest.
    """

    pid: int
    started: str
    server_pid: int | None = None
    port: int | None = None
    ports: tuple[int, ...] = ()


class DataDir:
    """A locked data directory; make one with `hold`, give it back with `release`."""

    def __init__(self, path: Path, descriptor: int, orphan: int | None) -> None:
        self.path = path
        #: pid recorded by the holder before us, should its nats-server still be alive
        self.orphan = orphan
        self._descriptor: int | None = descriptor
        self._started = datetime.now(UTC).isoformat(timespec="seconds")

    @classmethod
    def hold(cls, path: Path, kind: str = "") -> DataDir:
        """Lock ``path``, made when missing, and check its layout; raises DataDirError.

        ``kind`` is what it is for: one server (empty), a ``NODE`` of a cluster, or `cluster_kind`.
        """
        path = path.resolve()
        path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DataDirBusy(_busy(path, _read(descriptor))) from None
            before = _read(descriptor)
            _check_layout(path, kind)
            held = cls(path, descriptor, before.server_pid if before else None)
            held.record()
        except BaseException:
            os.close(descriptor)
            raise
        return held

    def record(
        self,
        *,
        server_pid: int | None = None,
        port: int | None = None,
        ports: tuple[int, ...] = (),
    ) -> None:
        """Write down who holds the directory, for whoever finds it taken or finds us dead."""
        if self._descriptor is None:
            return
        server_pid = server_pid or self.orphan
        holder = Holder(
            pid=os.getpid(), started=self._started, server_pid=server_pid, port=port, ports=ports
        )
        _write(self._descriptor, msgspec.json.encode(holder))

    def stop_orphan(self, marker: str) -> bool:
        """End the nats-server that a dead holder left behind; True when there was one.

        ``marker`` is a piece of its command line, so that a pid given anew is left alone. Blocks
        for up to twice STOP_GRACE_S; raises DataDirBusy when the process can't be ended.
        """
        pid, self.orphan = self.orphan, None
        if pid is None or marker not in command_line(pid):
            return False
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                return True
            except PermissionError:
                break
            if _wait(lambda: marker not in command_line(pid), STOP_GRACE_S):
                return True
        raise DataDirBusy(
            f"an old nats-server (pid {pid}) still writes to {self.path} and can't be stopped; "
            f"end it with: kill {pid}"
        )

    def release(self) -> None:
        """Give the directory back; a second call does nothing."""
        if self._descriptor is not None:
            _write(self._descriptor, b"")
            os.close(self._descriptor)
            self._descriptor = None


def holder_of(path: Path) -> Holder | None:
    """Who holds a data directory now, None when nobody does (any more); changes nothing."""
    try:
        holder = msgspec.json.decode((path / "lock").read_bytes(), type=Holder)
        os.kill(holder.pid, 0)
    except (OSError, msgspec.MsgspecError):  # none, a dead one, or another user's
        return None
    return holder


def cluster_kind(nodes: int) -> str:
    """The kind of a directory that holds so many servers of one cluster."""
    return f"{CLUSTER}{nodes}"


def command_line(pid: int) -> str:
    """The command line of a live process, empty when there is none (any more)."""
    try:
        return (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        )
    except OSError:
        if Path("/proc/self").exists():
            return ""
    command = ["ps", "-ww", "-p", str(pid), "-o", "command="]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip()


def _busy(path: Path, holder: Holder | None) -> str:
    who = "another process"
    stop = "stop it"
    if holder is not None:
        port = f", NATS on port {holder.port}" if holder.port else ""
        who = f"another Snorri (pid {holder.pid}, since {holder.started}{port})"
        stop = f"stop it (kill {holder.pid})"
    return f"{path} is in use by {who}; {stop}, or choose another directory with --data DIR"


def _check_layout(path: Path, kind: str) -> None:
    file = path / "layout"
    text = file.read_text(encoding="utf-8").strip() if file.exists() else None
    wanted = f"{LAYOUT} {kind}".strip()
    if text is None and not (path / "nats" / "js").exists():
        file.write_text(f"{wanted}\n", encoding="utf-8")
    elif text != wanted:
        version, _, other = (text or "").partition(" ")
        if version == str(LAYOUT):
            raise LayoutUnknown(_mixed(path, other))
        found = f"layout {text!r}" if text is not None else "no layout file"
        raise LayoutUnknown(
            f"{path} has {found}, this version of Snorri writes layout {LAYOUT}. "
            "Use the version that wrote it to make a backup (snorri backup), restore that into a "
            "new directory, or start empty with --data DIR."
        )


def _mixed(path: Path, kind: str) -> str:
    """Why a directory that was made for something else is refused."""
    if kind == NODE:
        return f"{path} belongs to one server of a cluster; use the directory that holds them all"
    nodes = kind.removeprefix(CLUSTER)
    holds = f"a cluster of {nodes} servers" if kind else "a single server"
    move = "make a backup (snorri backup) and restore it, or start empty with --data DIR"
    return (
        f"{path} was made for {holds}; start it with `snorri dev --cluster {nodes or 1}`, or set "
        f"SNORRI_CLUSTER={nodes or 1}. To go over to another number of servers, {move}"
    )


def _read(descriptor: int) -> Holder | None:
    try:
        return msgspec.json.decode(os.pread(descriptor, 4096, 0), type=Holder)
    except msgspec.MsgspecError:
        return None  # empty after a clean stop, or torn by a crash while it was written


def _write(descriptor: int, content: bytes) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, content, 0)


def _wait(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
