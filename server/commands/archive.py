"""``archive``: history of ended instances out of the log, into files that are still read."""

from __future__ import annotations

import sys

import msgspec
import rich_click as click

from server.archives import archive_folder
from server.archiving import archive_instances, list_sets
from server.commands.common import (
    CONNECTION,
    PANEL_CONNECTION,
    USAGE,
    Failed,
    json_option,
    run,
    settings_options,
)
from server.commands.output import emit, note, say, table, time_text
from server.commands.progress import progress_bar
from server.connecting import names_of
from server.settings import Settings
from store.archive.archiving import Archived


@click.command()
@click.option(
    "--before",
    default="",
    metavar="AGE",
    help="Only what last changed so long ago (30d). Default: the retention of each definition.",
)
@click.option("--saga", default="", help="Only instances of this saga.")
@click.option("--dry-run", is_flag=True, help="Only say what would go, and what stays and why.")
@click.option("--list", "listing", is_flag=True, help="List what is in the archive instead.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@settings_options("archive", *CONNECTION, panel=PANEL_CONNECTION)
@json_option
def archive(
    settings: Settings,
    before: str,
    saga: str,
    dry_run: bool,
    listing: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Move the history of ended instances to Parquet files, and make room in the log.

    Nothing is removed before it was written, read back and compared. Of each instance the last
    version stays in the log, and everything that shows histories reads the files, too. A run that
    was cut off goes on when it is said again.
    """
    if listing:
        _list(settings, as_json)
        return
    if not dry_run and not yes:
        _ask(settings, before, saga)
    with progress_bar("archive:") as tell:
        done = run(archive_instances(settings, before, saga, tell, dry_run=dry_run))
    if as_json:
        emit({"folder": str(archive_folder(settings)), **msgspec.structs.asdict(done)})
    else:
        _show(settings, done, dry_run=dry_run)


def _ask(settings: Settings, before: str, saga: str) -> None:
    """Have a person say yes to what would go; raises Failed where there is none."""
    if not sys.stdin.isatty():
        raise Failed(
            "this removes history from the log once it is in files; look with --dry-run, and say "
            "--yes where nobody can be asked",
            USAGE,
        )
    with progress_bar("archive:") as tell:
        planned = run(archive_instances(settings, before, saga, tell, dry_run=True))
    _show(settings, planned, dry_run=True)
    if planned.instances and not click.confirm("Archive them?"):
        raise Failed("nothing was done")


def _show(settings: Settings, done: Archived, *, dry_run: bool) -> None:
    verb = "would go" if dry_run else "archived"
    if done.resumed:
        say(f"ended what {done.resumed} earlier runs had begun: {done.removed} messages removed")
    if done.by_saga:
        table((f"saga ({verb})", "instances"), [(k, str(v)) for k, v in done.by_saga.items()])
    size = f"{done.bytes / 1e6:.1f} MB"
    if dry_run:
        say(f"{done.instances} instances, {done.messages} messages, {size}")
    else:
        say(
            f"{done.instances} instances archived to {archive_folder(settings)}: {done.messages} "
            f"messages of {size} in {done.stored / 1e6:.1f} MB of files"
        )
    for why, count in done.left.items():
        note(f"{count} stay: {why}")
    if not done.instances and not done.left:
        note("nothing is old enough; `--before 30d` says it for all, `.retention` for a saga")


def _list(settings: Settings, as_json: bool) -> None:
    found = list_sets(settings, names_of(settings))
    if as_json:
        emit([{**msgspec.structs.asdict(one), "purged": purged} for one, purged in found])
        return
    if not found:
        note(f"there is no archive in {archive_folder(settings)}")
        return
    table(
        ("set", "made", "instances", "messages", "from", "to", "MB", "in the log"),
        [
            (
                *(one.id, time_text(one.made), str(one.instances), str(one.messages)),
                *(str(one.first), str(one.last)),
                f"{(one.messages_file.bytes + one.subjects_file.bytes) / 1e6:.1f}",
                "last versions" if purged else "still; say `snorri archive` again",
            )
            for one, purged in found
        ],
    )
