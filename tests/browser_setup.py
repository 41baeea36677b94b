"""Makes sure that a Chromium for the browser tests is on this machine, and says where.

`make test` runs it. It owns the search order (Playwright's own, then one on PATH) and the ways to
get one (Playwright's download, then the package manager of Debian and Ubuntu when root). It knows
nothing of the tests themselves.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
DOWNLOAD_S_MAX = 300
APT_S_MAX = 600
HELP = (
    "No Chromium was found, and none could be fetched. Install one and run make test again:\n"
    "  .venv/bin/python -m playwright install --with-deps chromium\n"
    "  apt-get install chromium      (Debian, as root; on Ubuntu: google-chrome-stable)\n"
    "  brew install --cask chromium  (macOS)\n"
    "or name an executable in SNORRI_CHROMIUM."
)


def chromium_path() -> str | None:
    """The executable the browser tests start, or None when there is none on this machine."""
    named = os.environ.get("SNORRI_CHROMIUM")
    if named:
        return shutil.which(named)
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    if Path(own).exists():
        return own
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def _run(command: list[str], timeout_s: float) -> bool:
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


def fetch() -> None:
    """Tries every way to get a Chromium until one works; `chromium_path` tells the outcome."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    own = [sys.executable, "-m", "playwright", "install", "chromium"]
    if root and shutil.which("apt-get"):
        own.insert(-1, "--with-deps")
    if _run(own, DOWNLOAD_S_MAX) or not root or not shutil.which("apt-get"):
        return
    _run(["apt-get", "update", "-q"], APT_S_MAX)
    _run(["apt-get", "install", "-y", "-q", "--no-install-recommends", "chromium"], APT_S_MAX)


def main() -> int:
    """Exit code 0 when a Chromium is there in the end, 1 with a word on what to do otherwise."""
    if chromium_path() is None:
        fetch()
    path = chromium_path()
    print(f"browser: {path}" if path else HELP, file=sys.stdout if path else sys.stderr)
    return 0 if path else 1


if __name__ == "__main__":
    sys.exit(main())
