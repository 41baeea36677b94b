"""Databases for tests: a SQLite file, and a PostgreSQL server of the tests' own.

The server runs from the programs that are installed, in a folder that is removed afterwards, and
listens on a socket there alone.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

USER = "postgres"  # PostgreSQL refuses to run as root
FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")


class NoPostgres(Exception):
    """No server can be started here; the text says why and what to install."""


def sqlite_url(folder: Path) -> str:
    """A new database file."""
    return f"sqlite+aiosqlite:///{folder / 'data.sqlite'}"


@contextmanager
def postgres_url() -> Iterator[str]:
    """A new server for the block; raises NoPostgres."""
    programs = _programs()
    owner = _owner()
    home = Path(tempfile.mkdtemp(prefix="snorri-pg-", dir="/tmp"))
    try:
        if owner is not None:
            shutil.chown(home, owner)
        data = home / "data"
        _run(owner, programs / "initdb", "-D", data, "-U", "snorri", "-A", "trust", "--no-sync")
        options = f"-c listen_addresses='' -k {home} -c max_connections=50"
        control = (programs / "pg_ctl", "-D", data, "-w", "-l", home / "log")
        _run(owner, *control, "-o", options, "start")
        try:
            yield f"postgresql+asyncpg://snorri@/postgres?host={home}"
        finally:
            _run(owner, *control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _programs() -> Path:
    found = [Path(path).parent for path in (shutil.which("initdb"),) if path]
    for pattern in FOLDERS:
        found += sorted(Path("/").glob(pattern[1:]), reverse=True)
    for folder in found:
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    raise NoPostgres("no initdb and pg_ctl are installed; apt-get install postgresql")


def _owner() -> str | None:
    """Who the server runs as: ourselves, unless that is root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(USER).pw_name
    except KeyError:
        raise NoPostgres(f"we are root and there is no user {USER!r} to run it as") from None


def _run(owner: str | None, *command: object) -> None:
    done = subprocess.run(
        [str(word) for word in command],
        user=owner,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if "initdb" in str(command[0]) else subprocess.DEVNULL,
        stderr=subprocess.STDOUT if "initdb" in str(command[0]) else subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise NoPostgres(f"{command[0]} ended with {done.returncode}: {done.stdout}")
