"""Goal: the page on the command line is complete: every command and every option is on it.

Method: walk the commands as click knows them and look for each name in the page; and the other way
round, each `snorri …` on the page must be a command.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from server.cli import cli

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
COMMANDS = {name: cli.load(name) for name in sorted(cli.commands)}


def _leaves(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _leaves(inner, f"{path} {name}")
    else:
        yield path, command


LEAVES = [leaf for name, command in COMMANDS.items() for leaf in _leaves(command, name)]


@pytest.mark.parametrize("path", [path for path, _ in LEAVES])
def test_every_command_is_on_the_page(path: str) -> None:
    assert f"`snorri {path}" in PAGE


@pytest.mark.parametrize(("path", "command"), LEAVES, ids=[path for path, _ in LEAVES])
def test_every_option_is_on_the_page_and_has_help(path: str, command: click.Command) -> None:
    for parameter in command.params:
        if not isinstance(parameter, click.Option):
            continue
        assert parameter.help, f"{path} {parameter.opts} has no help"
        for option in (*parameter.opts, *parameter.secondary_opts):
            assert option in ("--help", "-h") or option in PAGE, f"{path} {option}"


def test_what_the_page_names_exists() -> None:
    for words in re.findall(r"`snorri ([a-z][a-z-]*)", PAGE):
        assert words in COMMANDS, words
    known = {option for _, command in LEAVES for p in command.params for option in p.opts}
    known |= {
        option for _, command in LEAVES for p in command.params for option in p.secondary_opts
    }
    for option in re.findall(r"`(--[a-z-]+)", PAGE):
        assert option in known | {"--help"}, option
