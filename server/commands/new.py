"""``init`` an app, and ``new`` sagas, step lists, workflows and jobs in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def _adds(kind: str, make: Callable[[Path, Sequence[str], str], list[Piece]], about: str) -> None:
    @new.command(kind, help=about)
    @click.argument("name")
    @settings_options("app")
    def add(settings: Settings, name: str) -> None:
        _written(Path("."), make(Path("."), settings.app, name))


_adds("saga", make_saga, "Add a saga: NAME is its id, e.g. order-refund.")
_adds(
    "step-list",
    make_step_list,
    "Add a list of steps with their undos: NAME is its id, e.g. create-order.",
)
_adds(
    "workflow", make_workflow, "Add a workflow function with a step: NAME is its id, e.g. Checkout."
)
_adds("job", make_job, "Add a job: NAME is its target, e.g. send-invoice.")


def _written(root: Path, pieces: list[Piece]) -> None:
    for piece in pieces:
        say(f"  wrote {root / piece.path}")
