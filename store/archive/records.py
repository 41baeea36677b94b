"""What the log says of its archive: which sets there are, and which messages an instance has had.

The last version of an instance stays in the log and knows the ids of the last messages that changed
it; where there were more, a record holds all of them, so that engines need no files.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import Struct

from store.archive.catalog import ArchivedSet
from store.port import Log
from store.subjects import Names


class SetRecord(Struct, frozen=True, kw_only=True):
    """What the log says of a set: hashes of its files, so that nobody takes others for them."""

    id: str
    at: datetime
    instances: int
    messages: int
    first: int
    last: int
    messages_sha256: str
    subjects_sha256: str
    v: int = 1


class HandledIds(Struct, frozen=True, kw_only=True):
    """The ids of all messages that changed an instance up to a version."""

    version: int
    ids: tuple[str, ...]
    v: int = 1


def record_of(one: ArchivedSet) -> SetRecord:
    """The record of a set."""
    return SetRecord(
        id=one.id,
        at=one.made,
        instances=one.instances,
        messages=one.messages,
        first=one.first,
        last=one.last,
        messages_sha256=one.messages_file.sha256,
        subjects_sha256=one.subjects_file.sha256,
    )


async def archived_ids(log: Log, names: Names, subject: str) -> tuple[str, ...]:
    """The ids of messages that changed the instance of a subject in versions that are archived, as
    far as its last version does not know them; raises Unreachable.
    """
    stored = await log.read(names.handled_ids(*names.parse_instance(subject)))
    if stored is None or not stored.data:
        return ()
    return msgspec.json.decode(stored.data, type=HandledIds).ids
