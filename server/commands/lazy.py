"""Commands that are loaded when they are asked for.

Click's documentation has the pattern (lazily loaded subcommands) and warns that help loads them
all. So a line of help stands beside each name here, and only a command that runs, or whose own help
is asked for, is loaded.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import rich_click as click

from server.commands.common import Commands


class Entry(NamedTuple):
    """A command before it is loaded; ``source`` is ``module:attribute`` in server.commands."""

    name: str
    source: str
    summary: str


class LazyCommands(Commands):
    """A group of commands by panel of its help; ``commands`` has what stands in for each."""

    def __init__(self, *args: Any, entries: Mapping[str, Sequence[Entry]], **options: Any) -> None:
        panels: list[click.RichPanel[Any, Any]] = [
            click.RichCommandPanel(title, commands=[entry.name for entry in group])
            for title, group in entries.items()
        ]
        super().__init__(*args, panels=panels, **options)
        self._sources = {entry.name: entry.source for group in entries.values() for entry in group}
        for group in entries.values():
            for entry in group:
                self.add_command(click.RichCommand(name=entry.name, help=entry.summary))

    def load(self, name: str) -> click.Command:
        """The command itself."""
        return pkgutil.resolve_name(f"server.commands.{self._sources[name]}")

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See Group; gives the command itself, to be run or completed."""
        name, found, rest = super().resolve_command(ctx, args)
        return name, self.load(name) if name is not None else found, rest
