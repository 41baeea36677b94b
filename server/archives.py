"""The archive of an installation, for reading: ``store.archive`` on Parquet."""

from __future__ import annotations

from pathlib import Path

from server.settings import Settings
from store.archive.catalog import Catalog
from store.archive.port import SetFiles
from store.archive.reading import Archive
from store.archive.spanning import Spanning
from store.port import Backend
from store.subjects import Names

ARCHIVE = "archive"


def archive_folder(settings: Settings) -> Path:
    """Where the archive of these settings is; it need not exist."""
    return Path(settings.archive) if settings.archive else Path(settings.data) / ARCHIVE


def open_archive(settings: Settings) -> Archive:
    """The archive of these settings, for reading."""
    return Archive(Catalog(archive_folder(settings)), parquet_files)


def with_archive(settings: Settings, backend: Backend, names: Names) -> Spanning:
    """The log with its archive, as one."""
    return Spanning(backend, open_archive(settings), names)


def parquet_files() -> SetFiles:
    """What reads and writes the files of sets."""
    # Not at the top: DuckDB is slow to load, and most commands have no archive to read.
    from store.duck.archive import ParquetSets

    return ParquetSets()
