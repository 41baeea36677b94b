"""Archives of an installation: the parts of ``store.archive`` put on a real broker and Parquet."""

from __future__ import annotations

import os
import socket
from importlib.metadata import version
from pathlib import Path

from server.connecting import open_remote
from server.settings import Settings
from store.archive.archiving import Archived, Archiving, Source
from store.archive.catalog import ArchivedSet, Catalog, check_names
from store.archive.choosing import rule_of
from store.archive.port import SetFiles
from store.archive.purging import Tell
from store.archive.reading import Archive
from store.archive.spanning import Spanning
from store.cards import saga_cards
from store.maintenance import maintenance
from store.port import Backend
from store.subjects import Names

ARCHIVE = "archive"


def archive_folder(settings: Settings) -> Path:
    """Where the archive of these settings is; it need not exist."""
    return Path(settings.archive) if settings.archive else Path(settings.data) / ARCHIVE


def open_archive(settings: Settings) -> Archive:
    """The archive of these settings, for reading."""
    return Archive(Catalog(archive_folder(settings)), _parquet_files)


def with_archive(settings: Settings, backend: Backend, names: Names) -> Spanning:
    """The log with its archive, as one."""
    return Spanning(backend, open_archive(settings), names)


async def archive_instances(
    settings: Settings, before: str, only: str, tell: Tell, *, dry_run: bool = False
) -> Archived:
    """Move ended instances of ``only`` (empty: all sagas) that last changed before ``before`` (a
    duration, empty: as each definition says) to the archive; with ``dry_run`` only say what would
    go. Raises ArchiveError, StoreError, BadDelay, OSError.
    """
    async with open_remote(settings, make=False) as runtime:
        backend, names = runtime.backend, runtime.names
        rule = rule_of(await saga_cards(backend.meta), before, only)
        source = Source(
            backend=backend, names=names, places=backend.queues, program=version("snorri")
        )
        archive = open_archive(settings)
        archiving = Archiving(source, archive, _parquet_files(), rule, tell)
        if dry_run:
            return await archiving.preview()
        who = f"snorri archive ({socket.gethostname()} {os.getpid()})"
        async with maintenance(backend.meta, who):
            return await archiving.run()


def list_sets(settings: Settings, names: Names) -> list[tuple[ArchivedSet, bool]]:
    """The sets there are, each with whether the log has let it go; raises ArchiveError."""
    catalog = Catalog(archive_folder(settings))
    found = catalog.sets()
    for one in found:
        check_names(one, names, catalog.folder)
    return [(one, catalog.is_purged(one)) for one in found]


def _parquet_files() -> SetFiles:
    # Not at the top: DuckDB is slow to load, and most commands have no archive to read.
    from store.duck.archive import ParquetSets

    return ParquetSets()
