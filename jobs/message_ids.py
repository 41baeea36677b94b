"""All message ids that changed an instance, where its last version does not know them."""

from __future__ import annotations

from jobs.cache import ids_in
from store.archive.records import archived_ids
from store.port import Log
from store.subjects import Names


async def ids_of(log: Log, names: Names, subject: str) -> set[str]:
    """The ids of its whole history, also of what was archived; raises Unreachable."""
    ids = set(await archived_ids(log, names, subject))
    async for stored in log.history(subject):
        ids.update(ids_in(stored))
    return ids
