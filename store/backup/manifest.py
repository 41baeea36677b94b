"""The manifest of a backup: what is in the folder, of which streams, up to where.

It is written last and in one step, so a folder without one is no backup, whatever else it holds. A
backup made ``since`` another one names it and has only what came after.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw, Struct

from store.archive.catalog import ArchivedSet
from store.port import StoreError, StreamName
from store.projection.checkpoint import Mark

MANIFEST = "manifest.json"
UNFINISHED = "unfinished.json"
ARCHIVE = "archive"  # the folder of archived sets in that of a backup
FORMAT = 1


class BackupError(StoreError):
    """A backup can't be made, read or trusted; the message says why and what to do."""


class ConsumerPlace(Struct, frozen=True, kw_only=True):
    """A durable consumer: its configuration, and up to where everything was acknowledged.

    ``delivered`` and ``stream`` are the consumer's own count and the stream's sequence there.
    """

    name: str
    config: dict[str, Any]  # as the server gives and takes it
    delivered: int
    stream: int


class Segment(Struct, frozen=True, kw_only=True):
    """One file of messages: which, how many, its bytes, and two hashes.

    ``sha256`` is of the file; ``digest`` is of the messages, so that they can be proved to be in a
    stream as well.
    """

    file: str
    stream: StreamName
    first: int
    last: int
    messages: int
    bytes: int
    sha256: str
    digest: str


class Cut(Struct, frozen=True, kw_only=True):
    """The moment that a backup shows: the last sequence of each stream and the positions there.

    ``at`` is when it was found (UTC). The log ends between two commits, the events not before
    anything that the log speaks of.
    """

    at: datetime
    log: int
    events: int
    positions: dict[str, Raw]  # by partition


class Since(Struct, frozen=True, kw_only=True):
    """The backup before: its id and where it was, as seen from this one."""

    id: str
    folder: str


class Manifest(Struct, frozen=True, kw_only=True):
    """Everything about one backup."""

    id: str
    made: datetime
    program: str
    server: str
    namespace: str
    bucket: str
    partitions: int
    cut: Cut
    events: Mark
    log: Mark
    consumers: tuple[ConsumerPlace, ...]
    segments: tuple[Segment, ...]
    since: Since | None = None
    cards: dict[str, Raw] = {}  # of sagas and jobs, by their keys in the meta bucket
    archive: tuple[ArchivedSet, ...] = ()  # each in the first backup of the chain that names it
    archive: tuple[ArchivedSet, ...] = ()  # the files of a set are where it was first backed up
    format: int = FORMAT


class Unfinished(Struct, frozen=True, kw_only=True):
    """A backup that was cut off: the segments that are whole, of which streams."""

    id: str
    events: Mark
    log: Mark
    segments: tuple[Segment, ...]
    since: Since | None = None


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a backup; raises BackupError when the folder is none."""
    try:
        data = (folder / MANIFEST).read_bytes()
        manifest = msgspec.json.decode(data, type=Manifest)
    except FileNotFoundError:
        cut_off = (folder / UNFINISHED).exists()
        why = (
            "was cut off before it was whole; run the same `snorri backup` again, which goes on"
            if cut_off
            else "is no backup (it has no manifest.json); name the folder that `snorri backup` made"
        )
        raise BackupError(f"{folder} {why}") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise BackupError(
            f"the manifest in {folder} can't be read ({error}); use another backup"
        ) from None
    if manifest.format != FORMAT:
        raise BackupError(
            f"{folder} has format {manifest.format}, this program reads {FORMAT}; use the version "
            f"that made it ({manifest.program})"
        )
    return manifest


def read_unfinished(folder: Path) -> Unfinished | None:
    """What an earlier run has left, None when there is nothing to go on with."""
    try:
        return msgspec.json.decode((folder / UNFINISHED).read_bytes(), type=Unfinished)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def chain_of(folder: Path) -> list[tuple[Path, Manifest]]:
    """A backup and all that it was made since, the first one first; raises BackupError."""
    chain = [(folder, read_manifest(folder))]
    while (since := chain[0][1].since) is not None:
        child = chain[0][0]
        chain.insert(0, _parent(child, since))
        if len({manifest.id for _, manifest in chain}) < len(chain):
            raise BackupError(f"the backup {folder} names itself as what it was made since")
    return chain


def _parent(child: Path, since: Since) -> tuple[Path, Manifest]:
    """Where it was when the child was made, else beside the child."""
    beside = sorted(path.parent for path in child.resolve().parent.glob(f"*/{MANIFEST}"))
    for folder in (child / since.folder, *beside):
        try:
            manifest = read_manifest(folder)
        except BackupError:
            continue
        if manifest.id == since.id:
            return folder, manifest
    raise BackupError(
        f"{child} has only what came after another backup ({since.id}), which is neither at "
        f"{since.folder} nor beside it; put that one's folder beside it"
    )
