"""``init`` an app, and ``new`` sagas, step lists, workflows and jobs in it."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from server.commands.common import settings_options
from server.commands.output import say
from server.scaffold import (
    Piece,
    make_app,
    make_job,
    make_saga,
    make_step_list,
    make_workflow,
)
from server.settings import Settings


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
    """Add a saga, step list, workflow or job to the app in this directory, with a test."""


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
