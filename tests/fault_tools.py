"""Makes sure that the tools are on this machine that make faults below our programs.

`make test` runs it. strace lets system calls of nats-server fail, libfaketime moves the clock of a
process. Both are for Linux; on other systems the tests that need them are skipped and say so.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.attempt import apt_get, may_apt_get

LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/local/lib")
NAMES = ("faketime/libfaketime.so.1", "*/faketime/libfaketime.so.1", "libfaketime.so.1")
HELP = (
    "Missing for the tests that make faults: {missing}. Install them and run make test again:\n"
    "  apt-get install strace libfaketime     (Debian and Ubuntu, as root)\n"
    "  dnf install strace libfaketime         (Fedora)"
)

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the fault needs Linux")


def strace_path() -> str | None:
    """The executable strace, None when it is not here."""
    return shutil.which("strace")


def faketime_path() -> str | None:
    """The library libfaketime, None when it is not here."""
    found = (path for folder in LIBRARIES for name in NAMES for path in Path(folder).glob(name))
    return next(map(str, found), None)


def missing() -> list[str]:
    """The packages that would have to be installed."""
    tools = {"strace": strace_path(), "libfaketime": faketime_path()}
    return [name for name, path in tools.items() if path is None]


def main() -> int:
    """Exit code 0 when all is there in the end or not needed, 1 with a word on what to do."""
    if sys.platform != "linux":
        print("failed syncs and moved clocks are not tested here: that needs Linux")
        return 0
    if missing() and may_apt_get():
        apt_get(*missing())
    if lacks := missing():
        print(HELP.format(missing=", ".join(lacks)), file=sys.stderr)
        return 1
    print(f"tools for faults: {strace_path()}, {faketime_path()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
