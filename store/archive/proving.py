"""Proving an archive: the files are what was written, and all that the log speaks of are there.

That its histories continue into the log is proved with the log (``store.proof``), which is read
together with them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from store.archive.catalog import ArchivedSet, check_names
from store.archive.reading import Archive
from store.archive.records import SetRecord
from store.port import Log
from store.proof.findings import Findings
from store.subjects import Names

Tell = Callable[[str, int, int], None]  # what is at work, how much is done, of how much


async def prove_archive(
    archive: Archive, log: Log, names: Names, findings: Findings, tell: Tell
) -> tuple[ArchivedSet, ...]:
    """Compare files with manifests and with the log's records; the sets that can be read. What
    can't be is left out from now on. Raises ArchiveError, Unreachable.
    """
    catalog = archive.catalog
    sets = {one.id: one for one in catalog.sets()}
    for number, one in enumerate(sets.values(), 1):
        check_names(one, names, catalog.folder)
        for damage in await asyncio.to_thread(list, catalog.damages(one)):
            findings.add("archive", damage)
            catalog.leave_out(one.id)
        tell("archive", number, len(sets))
    async for stored in log.latest(names.archived_sets()):
        try:
            record = msgspec.json.decode(stored.data, type=SetRecord)
        except msgspec.MsgspecError as error:
            findings.add("unreadable", f"record {stored.seq} ({stored.subject}): {error}")
            continue
        here = sets.get(record.id)
        if here is None:
            findings.add(
                "archive",
                f"the set {record.id} ({record.instances} instances) is not in {catalog.folder};"
                " if it is elsewhere, name that folder with --archive",
            )
        elif (here.messages_file.sha256, here.subjects_file.sha256) != (
            record.messages_sha256,
            record.subjects_sha256,
        ):
            findings.add("archive", f"the set {record.id} is another one than the log speaks of")
    return catalog.sets()
