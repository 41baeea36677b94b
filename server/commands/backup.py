"""``backup`` and ``restore``: a safe copy of everything, and back."""

from __future__ import annotations

from pathlib import Path

import rich_click as click
from msgspec import structs

from server.backups import NotWhole, back_up, restore
from server.commands.common import (
    CONNECTION,
    PANEL_CONNECTION,
    Failed,
    json_option,
    run,
    settings_options,
)
from server.commands.output import address, emit, note, say
from server.commands.progress import progress_bar
from server.settings import Settings
from store.backup.manifest import Manifest

FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("folder", type=FOLDER, metavar="DIR")
@click.option(
    "--since",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="An earlier backup: copy only what came after it.",
)
@settings_options(*CONNECTION, "archive", panel=PANEL_CONNECTION)
@json_option
def backup(settings: Settings, folder: Path, since: Path | None, as_json: bool) -> None:
    """Copy everything into the new folder DIR while sagas run.

    Events, transitions, commands, timers and what workers have acknowledged, as of one moment. A
    run that was cut off goes on when it is said again. Lists and SQL are made of it, so they are
    not in it.
    """
    with progress_bar("copying") as tell:
        made = run(back_up(settings, folder, since, tell))
    manifest = made.manifest
    if as_json:
        emit(_shown(folder, manifest, resumed=made.resumed))
        return
    messages = sum(segment.messages for segment in manifest.segments)
    size = sum(segment.bytes for segment in manifest.segments) / 1e6
    gone_on = ", gone on from a run that was cut off" if made.resumed else ""
    say(
        f"{folder}: {messages} messages, {size:.1f} MB, as of "
        f"{manifest.cut.at:%Y-%m-%d %H:%M:%S} UTC{gone_on}"
    )
    note(f"prove it with: snorri verify --backup {folder}")


@click.command(name="restore")
@click.argument("folder", type=FOLDER, metavar="DIR")
@click.option(
    "--into",
    type=FOLDER,
    metavar="DIR",
    help="A new data directory, for `snorri dev --data`; the same as --data.",
)
@settings_options(*(*CONNECTION, "archive", "replicas", "sync_always"), panel=PANEL_CONNECTION)
@json_option
def restore_command(settings: Settings, folder: Path, into: Path | None, as_json: bool) -> None:
    """Bring the backup DIR back, into an empty data directory or NATS server.

    Sequences, times and ids stay what they were. It is proved before anybody can use it: each
    message is compared and each chain followed. Timers that fell due fire, and commands that were
    not acknowledged run again under their ids.
    """
    if into is not None:
        settings = structs.replace(settings, data=str(into), nats_url=None)
    with progress_bar("proving") as tell:
        try:
            manifest = run(restore(settings, folder, tell))
        except NotWhole as error:
            raise Failed(str(error)) from error
    if as_json:
        emit(_shown(folder, manifest))
        return
    say(
        f"restored as of {manifest.cut.at:%Y-%m-%d %H:%M:%S} UTC: {manifest.cut.events} events, "
        f"log up to {manifest.cut.log}; every message compared, every chain followed"
    )
    note(f"go on with: {_next(settings, manifest)}")


def _shown(folder: Path, manifest: Manifest, **more: object) -> dict[str, object]:
    return {
        "folder": str(folder),
        "id": manifest.id,
        "at": manifest.cut.at,
        "since": manifest.since.id if manifest.since else None,
        "messages": sum(segment.messages for segment in manifest.segments),
        "bytes": sum(segment.bytes for segment in manifest.segments),
        "events": str(manifest.cut.events),
        "log": str(manifest.cut.log),
        **more,
    }


def _next(settings: Settings, manifest: Manifest) -> str:
    """The command that goes on, with what is not as by default."""
    plain = Settings()
    words = ["snorri dev"]
    if settings.nats_url is not None:
        words = [f"snorri engine --nats-url {address(settings.nats_url)}"]
    elif settings.data != plain.data:
        words.append(f"--data {settings.data}")
    if manifest.bucket != plain.bucket:
        words.append(f"--bucket {manifest.bucket}")
    if manifest.namespace != plain.namespace:
        words.append(f"--namespace {manifest.namespace}")
    if manifest.partitions != plain.partitions:
        words.append(f"--partitions {manifest.partitions}")
    return " ".join(words)
