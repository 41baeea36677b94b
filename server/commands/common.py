"""What every command shares: settings as options, exit codes, one way to run and to fail.

Exit codes: 0 done, 1 the thing asked for failed or was refused, 2 wrong usage, 3 NATS could not be
reached, 130 Ctrl-C. Whatever goes wrong becomes one message on stderr that ends with the next step;
a traceback is a defect of ours.
"""

from __future__ import annotations

import asyncio
import functools
import getpass
import os
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args, get_origin

import msgspec
import rich_click as click
from msgspec import Raw

from sagas.errors import SagaError
from sagas.names import BadName
from server.commands.output import problem
from server.errors import ProcessEnded, SettingsError, SetupError
from server.settings import TOML_NAME, TYPES, help_of, load_settings
from store.broker_version import BrokerTooOld
from store.port import StoreError, Unreachable
from store.projection.port import WriteError

F = TypeVar("F", bound=Callable[..., Any])  # commands take whatever their options give
T = TypeVar("T")

DONE, FAILED, USAGE, UNREACHED, INTERRUPTED = 0, 1, 2, 3, 130

STDIN_BYTES_MAX = 64 * 1024 * 1024  # more than any NATS server can be told to take

CONNECTION = ("nats_url", "nats_creds", "nats_port", "data", "bucket", "namespace")
PANEL_CONNECTION = "Which installation"
API = ("host", "port")
PANEL_API = "Which API"


class Failed(Exception):
    """A command could not do what was asked; ``code`` is the exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


class Commands(click.RichGroup):
    """The group that turns everything that can go wrong into a message and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:  # whatever the command returns
        """Run the command asked for; a number it returns is the exit code."""
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            # Whoever read our output has gone; nothing is left to say, also not at the exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(FAILED)
        except BaseExceptionGroup as group:
            fail(ctx, first_of(group))
        except FAILURES as error:
            fail(ctx, error)
        ctx.exit(code if isinstance(code, int) else DONE)


class ListingGroup(click.RichGroup):
    """A group that lists when no command is named, with the options of its ``list``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put ``list`` before options that are not the group's own."""
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


FAILURES = (
    *(Failed, SetupError, BrokerTooOld, StoreError, WriteError),
    *(SagaError, ProcessEnded, BadName, OSError),
)


def fail(ctx: click.Context, error: BaseException) -> NoReturn:
    """End the command with the error's message and code; raises what is no failure of ours."""
    match error:
        case Failed():
            code = error.code
        case SettingsError():
            code = USAGE
        case Unreachable():
            code = UNREACHED
        case _ if isinstance(error, FAILURES):
            code = FAILED
        case _:
            raise error
    problem(_words(error))
    ctx.exit(code)


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return (
            f"{error.filename}: {error.strerror}; check that it exists, is of the right kind "
            "and may be used by you, or name another"
        )
    return str(error)


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first single error of a group."""
    first = group.exceptions[0]
    return first_of(first) if isinstance(first, BaseExceptionGroup) else first


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine, on uvloop when that is installed."""
    try:
        import uvloop  # type: ignore[import-not-found]  # the extra `fast`
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def settings_options(
    *names: str, panel: str | None = None, more: Mapping[str, Sequence[str]] | None = None
) -> Callable[[F], F]:
    """Give a command an option for each setting named, and ``settings`` made of all of them.

    ``panel`` is the heading they stand under in the help, ``more`` has further ones by heading.
    """
    placed = [(panel, name) for name in names]
    placed += [(heading, name) for heading, group in (more or {}).items() for name in group]

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def with_settings(**values: Any) -> object:
            flags = {name: _text(values.pop(name)) for _, name in placed}
            settings = load_settings(flags, os.environ, Path(TOML_NAME))
            return function(settings=settings, **values)

        command: Any = with_settings
        for heading, name in reversed(placed):
            command = _option(name, heading)(command)
        return command

    return decorate


def _option(name: str, panel: str | None) -> Callable[[F], F]:
    hint = get_args(TYPES[name])[0]
    flag = "--" + name.replace("_", "-")
    shown: dict[str, Any] = {"help": help_of(name), "default": None, "panel": panel}
    if hint is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", name, **shown)
    if get_origin(hint) is tuple:
        return click.option(flag, name, multiple=True, metavar="MODULE", **shown)
    allowed = [str(value) for value in get_args(hint) if value is not type(None)]
    if str(get_origin(hint)) == "typing.Literal":
        return click.option(flag, name, metavar="|".join(allowed), **shown)
    return click.option(flag, name, metavar=_metavar(name, hint), **shown)


def _metavar(name: str, hint: object) -> str:
    words = {
        "nats_url": "URL",
        "data": "DIR",
        "nats_creds": "FILE",
        "auth": "FILE",
        "archive": "DIR",
    }
    return words.get(name, "NUMBER" if "int" in str(hint) else "TEXT")


def _text(value: object) -> object:
    """An option's value as the settings read it: text, or None when it was not given."""
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or None
    return value


def json_option(function: F) -> F:
    """The option ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(
        function
    )


def by_options(function: F) -> F:
    """The options ``--by`` and ``--reason``: who does it, and why."""
    function = click.option("--reason", default="", help="Why; kept in the history.")(function)
    return click.option(
        "--by", default=None, help="Who does it; kept in the history. Default: your login name."
    )(function)


def actor(by: str | None) -> str:
    """Who acts: as said, or the login name."""
    if by:
        return by
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "cli"


def origin() -> str:
    """Where an action comes from when it is taken on the command line."""
    return f"cli {socket.gethostname()}"


def json_text(text: str | None, what: str) -> Raw | None:
    """JSON given on the command line, ``-`` being stdin; raises Failed with where it is wrong."""
    if text is None:
        return None
    if text == "-":
        data = sys.stdin.buffer.read(STDIN_BYTES_MAX + 1)
        if len(data) > STDIN_BYTES_MAX:
            raise Failed(f"{what} is over {STDIN_BYTES_MAX} bytes; send a reference to it", USAGE)
    else:
        data = text.encode("utf-8", "surrogateescape")
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failed(
            f"{what} is not JSON: {error}. Put single quotes around it: '{{\"a\": 1}}'", USAGE
        ) from None
    return Raw(data)
