"""``check``: a gate for deployments, with an exit code for CI."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from server.checking import Checked, check, opened
from server.commands.common import (
    CONNECTION,
    DONE,
    FAILED,
    PANEL_CONNECTION,
    json_option,
    run,
    settings_options,
)
from server.commands.output import emit, note, say, table
from server.commands.progress import progress_bar
from server.loading import app_of
from server.settings import Settings
from store.replay_jobs import ReplayTally


@click.command(name="check")
@click.option(
    "--backup",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    default=None,
    help="Look at this backup instead of an installation that runs.",
)
@click.option("--no-replay", is_flag=True, help="Only running instances, no history.")
@settings_options(*CONNECTION, "archive", "app", panel=PANEL_CONNECTION)
@json_option
def check_command(settings: Settings, folder: Path | None, no_replay: bool, as_json: bool) -> int:
    """What would this code strand, and what would it decide differently?

    Gives the app each running instance and each recorded message; nothing is sent or stored. Exit
    code 1 when instances could not go on or a history would be different.
    """
    app = app_of(settings)

    async def work() -> Checked:
        async with opened(settings, folder) as runtime:
            with progress_bar("checking") as tell:
                return await check(settings, runtime, app, replays=not no_replay, tell=tell)

    found = run(work())
    if as_json:
        emit(_document(found))
    else:
        _tell(found)
    return DONE if found.passed else FAILED


def _tell(found: Checked) -> None:
    looked = found.survey
    if looked.stranded:
        rows = [(s.saga, s.reason, str(s.instances), s.example) for s in looked.stranded]
        table(("saga", "could not go on", "instances", "for example"), rows)
        note(f"{looked.instances} of {looked.looked} instances would be stranded")
    for target, count in looked.jobs.items():
        note(f"{count} commands wait for the job {target}, which nobody serves")
    differing = [
        (saga, kind.message, ", ".join(kind.differs), str(kind.count), kind.key)
        for saga, tally in found.replays.items()
        for kind in tally.by_count
    ]
    if differing:
        table(("saga", "first differs at", "in", "instances", "for example"), differing)
    for saga, tally in found.replays.items():
        for fault in tally.faults:
            note(f"{saga}/{fault.key} can't be replayed: {fault.why}")
    replayed = sum(tally.done for tally in found.replays.values())
    versions = sum(tally.versions for tally in found.replays.values())
    say(
        f"{looked.looked} instances looked at, {looked.instances} would be stranded;"
        f" {replayed} replayed ({versions} versions), {found.differ} would differ"
    )


def _document(found: Checked) -> dict[str, object]:
    """JSON of a check."""
    looked = found.survey
    return {
        "passed": found.passed,
        "sagas": looked.sagas,
        "instances": looked.looked,
        "stranded": looked.stranded,
        "jobs": dict(looked.jobs),
        "replays": {saga: _replays(tally) for saga, tally in found.replays.items()},
    }


def _replays(tally: ReplayTally) -> dict[str, object]:
    return {
        "instances": tally.done,
        "versions": tally.versions,
        "differ": tally.differ,
        "unreadable": tally.unreadable,
        "kinds": tally.by_count,
        "faults": tally.faults,
    }
