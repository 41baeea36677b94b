"""A tiny process between Snorri and nats-server, so that the server never outlives us.

Run as a script with the pid of its parent and a command. It owns one child: it prints the child's
pid, passes SIGTERM on, and ends with its exit code. When the parent is gone, however it went (our
stdin is closed, or we have been adopted by another process), the child is terminated, and killed
after a grace. Should this process itself be killed, Linux terminates the child; elsewhere the
next start finds the orphan by the record in the data directory. Imports nothing of Snorri.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

GRACE_S = 10.0
PARENT_CHECK_S = 1.0
PR_SET_PDEATHSIG = 1


def _die_with_parent() -> Callable[[], None] | None:
    """What the child runs before exec; prepared here, as a forked child must not load libraries."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _parent_gone(parent: int) -> None:
    """Returns once the parent has closed its end of stdin or is no longer our parent."""
    while os.getppid() == parent:
        readable, _, _ = select.select([0], [], [], PARENT_CHECK_S)
        if readable and not os.read(0, 64):
            return


def main(parent: int, command: list[str]) -> int:
    """Run ``command`` until it ends or ``parent`` does; its exit code, negative for a signal."""
    before_exec = _die_with_parent()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=before_exec)  # noqa: S603
    ended = threading.Event()

    def watch() -> None:
        _parent_gone(parent)
        child.terminate()
        if not ended.wait(GRACE_S):
            child.kill()

    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=watch, daemon=True).start()
    print(child.pid, flush=True)
    code = child.wait()
    ended.set()
    return code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
