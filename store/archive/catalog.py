"""What an archive's folder holds: sets of files, each with a manifest that makes it one.

A set is two Parquet files, of messages and of the subjects they stood under, and a manifest that is
written last and in one step. Whatever has no manifest is a remainder of a run that was cut off and
is written anew. A mark beside the manifest says that the log has let these messages go.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from store.durable import file_hash, sync_folder, write_json
from store.port import StoreError
from store.subjects import Names

FORMAT = 1
MANIFEST = ".json"
PURGED = ".purged"
OURS = re.compile(r"([0-9]{6}-[0-9a-f]{8})\.")


class ArchiveError(StoreError):
    """An archive can't be made, read or trusted; the message says why and what to do."""


class ArchivedFile(Struct, frozen=True, kw_only=True):
    """One file of a set."""

    file: str
    bytes: int
    sha256: str


class ArchivedSet(Struct, frozen=True, kw_only=True):
    """One set: ``first`` and ``last`` are the sequences of its messages in the log, ``payload``
    is their bytes there, ``digest`` their hash in order (``store.backup.segments.Digest``).
    """

    id: str
    made: datetime
    program: str
    namespace: str
    bucket: str
    first: int
    last: int
    instances: int
    messages: int
    payload: int
    digest: str
    messages_file: ArchivedFile
    subjects_file: ArchivedFile
    format: int = FORMAT


class Catalog:
    """The sets of one folder, which need not exist."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names: tuple[str, ...] = ()
        self._sets: tuple[ArchivedSet, ...] = ()
        self._left_out: set[str] = set()

    def names(self) -> tuple[str, ...]:
        """The ids of the sets that are there now, in the order they were made."""
        try:
            found = [path.name for path in self.folder.iterdir() if path.name.endswith(MANIFEST)]
        except (FileNotFoundError, NotADirectoryError):
            return ()
        ids = {name.removesuffix(MANIFEST) for name in found}
        return tuple(sorted(ids - self._left_out))

    def leave_out(self, id: str) -> None:
        """Read a set no more, since it can't be."""
        self._left_out.add(id)

    def sets(self) -> tuple[ArchivedSet, ...]:
        """All sets, in the order they were made; raises ArchiveError for one that can't be read."""
        names = self.names()
        if names != self._names:
            self._sets = tuple(self._read(name) for name in names)
            self._names = names
        return self._sets

    def next_id(self, stem: str) -> str:
        """The id of another set; ids sort by when they were made."""
        numbers = [int(name.partition("-")[0]) for name in self.names() if name[:6].isdigit()]
        return f"{max(numbers, default=0) + 1:06}-{stem}"

    def add(self, one: ArchivedSet) -> None:
        """Make the files of a set one, in one step that lasts."""
        write_json(self.folder / f"{one.id}{MANIFEST}", one)

    def copy(self, one: ArchivedSet, target: Path) -> None:
        """Copy a set into another folder, where it lasts; raises OSError."""
        target.mkdir(parents=True, exist_ok=True)
        for file in (one.messages_file.file, one.subjects_file.file):
            part = target / f"{file}.part"
            shutil.copyfile(self.folder / file, part)
            with part.open("rb+") as copied:
                os.fsync(copied.fileno())
            part.replace(target / file)
        sync_folder(target)
        Catalog(target).add(one)

    def sweep(self) -> None:
        """Remove what a run that was cut off has left: files of ours without a manifest."""
        if not self.folder.is_dir():
            return
        known = set(self.names())
        for path in self.folder.iterdir():
            found = OURS.match(path.name)
            if found is not None and found[1] not in known:
                path.unlink()

    def is_purged(self, one: ArchivedSet) -> bool:
        """Whether the log was told to let its messages go, all of them."""
        return (self.folder / f"{one.id}{PURGED}").exists()

    def mark_purged(self, one: ArchivedSet) -> None:
        """Say so."""
        (self.folder / f"{one.id}{PURGED}").touch()
        sync_folder(self.folder)

    def damages(self, one: ArchivedSet) -> Iterator[str]:
        """Which files of a set are not what was written, in words."""
        for file in (one.messages_file, one.subjects_file):
            path = self.folder / file.file
            try:
                if file_hash(path) != file.sha256:
                    yield f"{path}: its bytes are not those that were written"
            except OSError as error:
                yield f"{path}: {error.strerror}"

    def _read(self, name: str) -> ArchivedSet:
        path = self.folder / f"{name}{MANIFEST}"
        try:
            one = msgspec.json.decode(path.read_bytes(), type=ArchivedSet)
        except (OSError, msgspec.MsgspecError) as error:
            raise ArchiveError(
                f"{path} can't be read ({error}); take it from a backup, nothing else holds what"
                " it speaks of"
            ) from None
        if one.format != FORMAT:
            raise ArchiveError(
                f"{path} has format {one.format}, this program reads {FORMAT}; use the version "
                f"that made it ({one.program})"
            )
        return one


def check_names(one: ArchivedSet, names: Names, folder: Path) -> None:
    """Raise ArchiveError when a set is of another installation."""
    if (one.namespace, one.bucket) != (names.namespace, names.bucket):
        raise ArchiveError(
            f"{folder} is the archive of the bucket {one.bucket} ({one.namespace}), not of "
            f"{names.bucket} ({names.namespace}); name another folder with --archive"
        )
