"""``view``: look at a backup, read-only, with everything that a running installation shows."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import rich_click as click

from server.commands.common import USAGE, Failed, run, settings_options
from server.commands.output import say
from server.loading import app_of
from server.logs import configure_logs
from server.settings import Settings, is_loopback
from store.backup.manifest import Manifest


@click.command(name="view")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@click.option(
    "--at",
    metavar="TIME",
    default=None,
    help="As it was at this time, e.g. 2026-11-21T16:13:16Z; UTC when it names no time zone.",
)
@settings_options("host", "port", "app", "log_format", "log_level", "store_bytes_max")
def view_command(settings: Settings, folder: Path, at: str | None) -> int:
    """Look at the backup DIR: dashboard, API and SQL, read-only, until Ctrl-C.

    It works on a private copy in a temporary directory; the backup itself is only read.
    """
    from server.viewing import view  # what it imports takes a moment

    if not is_loopback(settings.host):
        raise Failed("a backup is shown to this machine only; leave --host at 127.0.0.1", USAGE)
    configure_logs(settings.log_format, settings.log_level)
    until = _moment(at) if at is not None else None

    def ready(address: str, manifest: Manifest) -> None:
        shown = until or manifest.cut.at
        say(f"backup of {shown:%Y-%m-%d %H:%M:%S} UTC, read only")
        say(f"  dashboard  {address}")
        say(f"  API        {address}/api/v1, its routes: {address}/schema")
        say("Ctrl-C stops")

    return run(view(settings, app_of(settings), folder, until, ready))


def _moment(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Failed(f"--at {text!r} is no time; write it as 2026-11-21T16:13:16Z", USAGE) from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
