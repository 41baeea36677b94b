"""Makes files of a new app, or of one more saga, step list, workflow or job in it.

Never overwrites: when one file exists, nothing is written. What it writes is ordinary user code
that runs as it is, with a test that needs no broker.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from sagas.names import BadName, check_name
from server.errors import SetupError
from server.loading import OURS
from server.templates import (
    CONFTEST,
    GITIGNORE,
    JOB,
    JOB_TEST,
    PACKAGE,
    PART,
    PYPROJECT,
    README,
    SAGA,
    SAGA_TEST,
    SETTINGS,
)
from server.templates_runs import STEP_LIST, STEP_LIST_TEST, WORKFLOW, WORKFLOW_TEST


class ScaffoldError(SetupError):
    """The files can't be made; the message says why and what to do."""


class Piece(Struct, frozen=True):
    """One file: its path below the root, and its text."""

    path: Path
    text: str


class _Words(Struct, frozen=True):
    """A name in the forms that code needs: order-refund, order_refund, OrderRefund."""

    id: str
    snake: str
    pascal: str


def make_app(root: Path, name: str | None = None) -> tuple[str, list[Piece]]:
    """Write an app package into ``root``: its name, and what was written. Raises ScaffoldError."""
    package = _words(name or root.resolve().name).snake
    if package in OURS:
        raise ScaffoldError(f"{package!r} is one of Snorri's own packages; choose another --name")
    saga, job = _words("order"), _words("charge-customer")
    places = {"package": package, "distribution": package.replace("_", "-")}
    pieces = [
        Piece(Path("pyproject.toml"), _fill(PYPROJECT, **places)),
        Piece(Path("snorri.toml"), _fill(SETTINGS, **places)),
        Piece(Path("README.md"), _fill(README, **places)),
        Piece(Path(".gitignore"), GITIGNORE),
        Piece(Path(package, "__init__.py"), _fill(PACKAGE, **places)),
        Piece(Path(package, "sagas", "__init__.py"), _fill(PART, part="Sagas", **places)),
        Piece(Path(package, "jobs", "__init__.py"), _fill(PART, part="Jobs", **places)),
        Piece(Path("tests", "conftest.py"), CONFTEST),
        *_saga_pieces(package, saga, job),
        *_job_pieces(package, job),
    ]
    return package, _write(root, pieces)


def make_saga(root: Path, app: Sequence[str], name: str) -> list[Piece]:
    """Add a saga to the app package in ``root``; raises ScaffoldError."""
    words = _words(re.sub(r"[-_ ]?saga$", "", name, flags=re.IGNORECASE) or name)
    return _write(root, _saga_pieces(_package(root, app, "sagas"), words, _words(f"do-{words.id}")))


def make_step_list(root: Path, app: Sequence[str], name: str) -> list[Piece]:
    """Add a step list to the app package in ``root``; raises ScaffoldError."""
    package, words = _package(root, app, "sagas"), _words(name)
    return _write(root, _run_pieces(package, words, "steps", STEP_LIST, STEP_LIST_TEST))


def make_workflow(root: Path, app: Sequence[str], name: str) -> list[Piece]:
    """Add a workflow to the app package in ``root``; raises ScaffoldError."""
    package, words = _package(root, app, "sagas"), _words(name)
    return _write(root, _run_pieces(package, words, "workflow", WORKFLOW, WORKFLOW_TEST))


def make_job(root: Path, app: Sequence[str], name: str) -> list[Piece]:
    """Add a job to the app package in ``root``; raises ScaffoldError."""
    return _write(root, _job_pieces(_package(root, app, "jobs"), _words(name)))


def _saga_pieces(package: str, saga: _Words, job: _Words) -> list[Piece]:
    fields = {
        "package": package,
        "id": saga.id,
        "snake": saga.snake,
        "Pascal": saga.pascal,
        "target": job.id,
        "Job": job.pascal,
    }
    return [
        Piece(Path(package, "sagas", f"{saga.snake}.py"), _fill(SAGA, **fields)),
        Piece(Path("tests", f"test_{saga.snake}_saga.py"), _fill(SAGA_TEST, **fields)),
    ]


def _run_pieces(package: str, words: _Words, kind: str, code: str, test: str) -> list[Piece]:
    fields = {"package": package, "id": words.id, "snake": words.snake, "Pascal": words.pascal}
    return [
        Piece(Path(package, "sagas", f"{words.snake}.py"), _fill(code, **fields)),
        Piece(Path("tests", f"test_{words.snake}_{kind}.py"), _fill(test, **fields)),
    ]


def _job_pieces(package: str, job: _Words) -> list[Piece]:
    fields = {"package": package, "target": job.id, "snake": job.snake, "Pascal": job.pascal}
    return [
        Piece(Path(package, "jobs", f"{job.snake}.py"), _fill(JOB, **fields)),
        Piece(Path("tests", f"test_{job.snake}_job.py"), _fill(JOB_TEST, **fields)),
    ]


def _package(root: Path, app: Sequence[str], part: str) -> str:
    """The package to add to: the only one the settings name, with a package ``part`` inside."""
    if len(app) != 1:
        raise ScaffoldError(
            "name the one package to add to with --app NAME or `app` in snorri.toml; "
            "`snorri init DIR` makes a new one"
        )
    package = app[0]
    home = root / Path(*package.split("."))
    if not (home / part / "__init__.py").is_file():
        raise ScaffoldError(
            f"{package} has no package {part!r} here ({home / part}); go to the directory of the "
            "app, make that directory with an empty __init__.py, and try again"
        )
    return package


def _words(name: str) -> _Words:
    try:
        check_name(name, "name")
    except BadName as error:
        raise ScaffoldError(str(error)) from None
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name)
    parts = [part for part in re.split(r"[^A-Za-z0-9]+", spaced) if part]
    snake = "_".join(part.lower() for part in parts)
    if not snake.isidentifier() or keyword.iskeyword(snake):
        raise ScaffoldError(
            f"{name!r} can't be the name of a module; use letters and digits, a letter first"
        )
    return _Words(
        id="-".join(part.lower() for part in parts),
        snake=snake,
        pascal="".join(part[0].upper() + part[1:] for part in parts),
    )


def _fill(template: str, **fields: str) -> str:
    """``<<name>>`` in a template becomes the field's text."""
    return re.sub(r"<<(\w+)>>", lambda found: fields[found.group(1)], template)


def _write(root: Path, pieces: list[Piece]) -> list[Piece]:
    taken = [str(root / piece.path) for piece in pieces if (root / piece.path).exists()]
    if taken:
        raise ScaffoldError(
            f"nothing was written, since there is already {', '.join(taken)}; "
            "choose another name or directory"
        )
    for piece in pieces:
        path = root / piece.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(piece.text, encoding="utf-8")
    return pieces
