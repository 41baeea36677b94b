"""Makes sure that a Chromium for the browser tests is on this machine, and says where.

`make test` runs it. It owns the search order (Playwright's own, then one on PATH) and the ways to
get one (Debian's package when root, then Playwright's download). A headless shell goes before a
whole Chromium: it is the same engine without windows, extensions and profiles, and opens a page of
a fresh context in a third of the processor time. It knows nothing of the tests themselves.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Playwright, sync_playwright

from tests.attempt import apt_get, attempt, may_apt_get

SHELLS = ("chromium-headless-shell", "chrome-headless-shell", "headless_shell")
NAMES = (
    *SHELLS,
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
)
DOWNLOAD_S_MAX = 300
HELP = (
    "No Chromium was found, and none could be fetched. Install one and run make test again:\n"
    "  .venv/bin/python -m playwright install --with-deps --only-shell chromium\n"
    "  apt-get install chromium-headless-shell  (Debian, as root)\n"
    "  brew install --cask chromium             (macOS)\n"
    "or name an executable in SNORRI_CHROMIUM."
)


def chromium_path(playwright: Playwright | None = None) -> str | None:
    """The executable the browser tests start, or None when there is none on this machine. Without
    a ``playwright`` that runs already, one is started to ask it for its own, which takes a second.
    """
    named = os.environ.get("SNORRI_CHROMIUM")
    if named:
        return shutil.which(named)
    if playwright is None:
        with sync_playwright() as started:
            return chromium_path(started)
    own = Path(playwright.chromium.executable_path)
    found = _own_shell(own) or (str(own) if own.exists() else None)
    return found or next((path for name in NAMES if (path := shutil.which(name))), None)


def _own_shell(chromium: Path) -> str | None:
    """The headless shell of Playwright's own: its folder is beside that of the Chromium which
    Playwright names, ``chromium_headless_shell-1255`` beside ``chromium-1255``.
    """
    for folder in chromium.parents:
        if folder.name.startswith("chromium-"):
            shell = folder.with_name(folder.name.replace("chromium-", "chromium_headless_shell-"))
            return next((str(path) for name in SHELLS for path in shell.glob(f"*/{name}")), None)
    return None


def fetch() -> None:
    """Tries every way to get a Chromium until one works; `chromium_path` tells the outcome."""
    apt = may_apt_get()
    own = [sys.executable, "-m", "playwright", "install", "--only-shell", "chromium"]
    if apt:
        own.insert(-1, "--with-deps")
    # Debian has both packages; Ubuntu has no such shell, and its Chromium is a snap.
    if (apt and apt_get("chromium-headless-shell")) or attempt(own, DOWNLOAD_S_MAX):
        return
    if apt:
        apt_get("chromium")


def main() -> int:
    """Exit code 0 when a Chromium is there in the end, 1 with a word on what to do otherwise."""
    path = chromium_path()
    if path is None:
        fetch()
        path = chromium_path()
    print(f"browser: {path}" if path else HELP, file=sys.stdout if path else sys.stderr)
    return 0 if path else 1


if __name__ == "__main__":
    sys.exit(main())
