"""Goal: a command loads what it uses, so that a script of many of them does not wait for imports.

Method: one process for each kind of command, which runs some of them against nothing; what it has
loaded then is compared with what it may not have loaded. By name and not by time, since a time on a
busy machine says little.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from server.cli import cli

ROOT = Path(__file__).resolve().parents[3]

# Libraries, and parts of ours, that take long to load or bring what does.
PAGES = {"litestar", "uvicorn", "jinja2", "argon2", "tomlkit", "ui"}
FILES = {"duckdb", "_duckdb", "nanoarrow", "pyarrow", "store.duck"}
KEYS = {"cryptography", "opentelemetry"}
HTTP = {"httpx"}
SERVICES = {"jobs", "structlog", "prometheus_client", "server.composition", "server.loading"}

NOWHERE = ("--nats-url", "nats://127.0.0.1:1")
LOOKS = (
    ("--help",),
    ("--version",),
    ("publish", "--help"),
    ("publish", "OrderPlaced", "{}", *NOWHERE),
    ("start", "Checkout", "{}", *NOWHERE),
    ("instances", "--json", *NOWHERE),
    ("show", "Checkout", "o-1", *NOWHERE),
    ("history", "Checkout", "o-1", *NOWHERE),
    ("dead-letters", *NOWHERE),
    ("retry", "Checkout", "o-1", *NOWHERE),
    ("no-such-command",),
)
RUNS = (
    ("engine", "--with-jobs", "--wait", "0", *NOWHERE),
    ("jobs", "--wait", "0", *NOWHERE),
)

PROGRAM = """
import json, sys
from server.cli import cli

for line in json.loads(sys.argv[1]):
    try:
        cli(line, prog_name="snorri")
    except SystemExit as ended:
        print(*line, "ended with", ended.code, file=sys.stderr)
        assert ended.code in (0, 2, 3)
print("loaded", json.dumps(sorted(sys.modules)))
"""


def _loaded(lines: tuple[tuple[str, ...], ...], folder: Path) -> set[str]:
    """The modules of a process that has run these commands."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(lines)],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    _, _, names = done.stdout.rpartition("loaded ")
    return set(json.loads(names))


def test_commands_that_look_and_send_load_no_services_and_no_pages(tmp_path: Path) -> None:
    loaded = _loaded(LOOKS, tmp_path)
    assert loaded & (PAGES | FILES | KEYS | HTTP | SERVICES) == set()
    assert {"nats", "server.commands.look"} <= loaded  # it has really run them


def test_engines_and_workers_load_no_pages_and_no_database(tmp_path: Path) -> None:
    loaded = _loaded(RUNS, tmp_path)
    assert loaded & (PAGES | FILES | KEYS | HTTP) == set()
    assert {"nats", "server.composition"} <= loaded


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_the_help_of_all_says_what_the_command_says(name: str) -> None:
    """It is a copy: the group's help is shown without loading the commands."""
    command = cli.load(name)
    assert command.name == name
    assert command.help is not None
    first = command.help.split("\n\n")[0]
    shown = cli.get_command(click.Context(cli), name)
    assert shown is not None
    assert shown.help == " ".join(first.split())
