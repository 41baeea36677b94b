"""Moving history into the archive of an installation: ``store.archive`` on a real broker."""

from __future__ import annotations

import os
import socket
from importlib.metadata import version

from server.archives import archive_folder, open_archive, parquet_files
from server.connecting import open_remote
from server.settings import Settings
from store.archive.archiving import Archived, Archiving, Source
from store.archive.catalog import ArchivedSet, Catalog, check_names
from store.archive.choosing import rule_of
from store.archive.purging import Tell
from store.cards import saga_cards
from store.maintenance import maintenance
from store.subjects import Names


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
        archiving = Archiving(source, archive, parquet_files(), rule, tell)
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
