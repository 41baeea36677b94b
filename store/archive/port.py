"""What the archive asks of a file format; ``store.duck.archive`` has it in Parquet.

Everything here blocks; callers use a thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from msgspec import Struct

from store.archive.catalog import ArchivedFile, ArchivedSet
from store.port import Stored

Kind: TypeAlias = Literal["instance", "commands"]


class ArchivedSubject(Struct, frozen=True, kw_only=True):
    """One subject of a set: its messages ``first`` to ``last``, and the hash of the last one.

    Of an instance the last version stays in the log; ``version`` and ``status`` are its. Of
    commands saga and version are empty, since instances of several sagas may have sent them.
    ``ids`` when the last version does not hold all ids of messages that changed the instance.
    """

    subject: str
    kind: Kind
    saga: str
    key: str
    version: int
    status: str
    first: int
    last: int
    messages: int
    hash: str
    ids: bool = False


class SetWriter(Protocol):
    """Writes the files of one set."""

    def add(self, messages: Sequence[Stored]) -> None:
        """The next messages, in the order of the log; raises ArchiveError, OSError."""
        ...

    def close(self, subjects: Sequence[ArchivedSubject]) -> tuple[ArchivedFile, ArchivedFile]:
        """Sync both files and give them their names; those of messages and of subjects."""
        ...

    def drop(self) -> None:
        """Give up: remove what was written. Idempotent."""
        ...


class SetFiles(Protocol):
    """Writes and reads the files of sets; all of it raises ArchiveError."""

    def begin(self, folder: Path, id: str) -> SetWriter:
        """Begin a set in a folder."""
        ...

    def messages(
        self, folder: Path, one: ArchivedSet, after: int = 0
    ) -> Iterator[Sequence[Stored]]:
        """The messages of a set behind a sequence, in order, some at a time."""
        ...

    def subjects(self, folder: Path, one: ArchivedSet) -> Iterator[Sequence[ArchivedSubject]]:
        """The subjects of a set, some at a time."""
        ...

    def find(
        self, folder: Path, sets: Sequence[ArchivedSet], subjects: Sequence[str]
    ) -> list[tuple[str, ArchivedSubject]]:
        """What the sets have of these subjects, each with the id of its set."""
        ...

    def history(self, folder: Path, one: ArchivedSet, subject: ArchivedSubject) -> Sequence[Stored]:
        """The messages of one subject of a set, in order."""
        ...

    def at(self, folder: Path, one: ArchivedSet, seq: int) -> Stored | None:
        """The message of a sequence, None when the set has none."""
        ...
