"""Who holds a directory of projections: one process, since DuckDB lets only one open a file.

The lock is the kernel's and vanishes with its holder; the number inside only tells people who that
is.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from store.projection.port import WriteError


class Holding:
    """A locked directory, made when missing; raises WriteError when another process has it."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(
                folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise WriteError(
                f"the directory of the projections can't be used: {error.strerror}; "
                "make it writable, or choose another with --data DIR"
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._descriptor)
            raise WriteError(
                f"the projections are in use by another process (pid {holder}); each serving "
                "process keeps its own: stop that one, or choose another directory with --data DIR"
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Give the directory back; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.ftruncate(descriptor, 0)
            os.close(descriptor)
