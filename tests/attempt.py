"""Installing what the tests need on this machine: one way after the other, each within its time."""

from __future__ import annotations

import os
import shutil
import subprocess

APT_S_MAX = 600


def attempt(command: list[str], timeout_s: float) -> bool:
    """True when the command ended well in time; its last words go to the screen when not."""
    print("trying:", " ".join(command), flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command,
            timeout=timeout_s,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"  {error}")
        return False
    if done.returncode != 0:
        print("  " + "\n  ".join(done.stdout.strip().splitlines()[-3:]))
    return done.returncode == 0


def may_apt_get() -> bool:
    """Whether the package manager of Debian and Ubuntu is here, and we may use it."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    return root and shutil.which("apt-get") is not None


def apt_get(*packages: str) -> bool:
    """Install packages of Debian and Ubuntu."""
    attempt(["apt-get", "update", "-q"], APT_S_MAX)
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    return attempt(install, APT_S_MAX)
