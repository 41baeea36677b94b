"""A bar for what takes long, on stderr, for people only."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from server.commands.output import console

Tell = Callable[[str, int, int], None]  # what is at work, how much is done, of how much


@contextmanager
def progress_bar(verb: str) -> Generator[Tell]:
    """A bar for each thing told of; without a terminal nothing is printed."""
    screen = console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
    ) as progress:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(f"{verb} {what}", total=of)
            progress.update(tasks[what], completed=done, total=of)

        yield tell
