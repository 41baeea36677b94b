"""Disks that fail: a nats-server whose files can't be synced from some moment on, and a file system
of its own that is really full.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec import Struct

from server.embedded import find_server
from tests.fault_tools import strace_path

FAULT = "fsync,fdatasync"


class FailedSync(Struct, frozen=True):
    """A sync that failed, at ``at_s`` seconds since 1970."""

    at_s: float
    path: str


class UnsyncedServer:
    """A program to be named in SNORRI_NATS_SERVER: nats-server, in which each thread's syncs of the
    files ``paths`` fail with EIO after the first ``good`` ones.
    """

    def __init__(self, home: Path, paths: list[Path], good: int) -> None:
        strace = strace_path()
        assert strace is not None, "say: python -m tests.fault_tools"
        self._home = home
        # As a grandchild, so that nats-server keeps its process id and may be traced by anybody.
        command = [strace, "-D", "-f", "-qq", "--seccomp-bpf", "-y", "-ttt", "-e", "signal=none"]
        command += ["-e", f"trace={FAULT}", "-e", f"inject={FAULT}:error=EIO:when={good + 1}+"]
        for path in paths:
            command += ["-P", str(path)]
        self.program = home / "nats-server-without-sync"
        words = " ".join(f"'{word}'" for word in command)
        self.program.write_text(
            f"#!/bin/sh\nexec {words} -o '{home}'/syncs.$$ '{find_server()}' \"$@\"\n"
        )
        self.program.chmod(0o755)

    def failed(self) -> list[FailedSync]:
        """The syncs that have failed so far."""
        found: list[FailedSync] = []
        for file in self._home.glob("syncs.*"):
            for line in file.read_text(errors="replace").splitlines():
                if "(INJECTED)" in line:
                    at_s = re.search(r"\d{9,}\.\d+", line)
                    path = re.search(r"<(.+?)>", line)
                    assert at_s, line
                    found.append(FailedSync(float(at_s[0]), path[1] if path else ""))
        return sorted(found, key=lambda one: one.at_s)


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """A file system of ``size_bytes`` in ``folder``; skips the test where none may be mounted."""
    folder.mkdir(parents=True)
    if sys.platform != "linux":
        pytest.skip("a small file system is mounted with Linux's tmpfs")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "snorri-test", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"a file system of its own needs the right to mount: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        # Lazily: a process that was killed may hold files for a moment longer.
        subprocess.run(["umount", "-l", str(folder)], check=True)


class Filler:
    """A file that takes the room of a disk."""

    def __init__(self, disk: Path) -> None:
        self._path = disk / "filler"
        self._disk = disk

    def leave(self, free_bytes: int) -> None:
        """Take all but so many bytes; what is left may be less, when others take some meanwhile."""
        room = os.statvfs(self._disk)
        self._append(max(0, room.f_bavail * room.f_frsize - free_bytes))

    def take_all(self) -> None:
        """Take what there is, to the last byte."""
        with contextlib.suppress(OSError):
            while True:
                self._append(1 << 20)

    def free(self) -> None:
        """Give all of it back."""
        self._path.unlink(missing_ok=True)

    def _append(self, size: int) -> None:
        with self._path.open("ab", buffering=0) as file:
            while size > 0:
                size -= file.write(bytes(min(size, 1 << 20)))
