"""What people write about a group of failures: one note for each fingerprint, every version kept.

Notes are revisions in the bucket like all that must not be lost: who changed one, and when, stays
on record, and backup and restore take them along.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec
from msgspec import Struct

from store.port import Backend, Committed, Outgoing, Stored, Unreachable
from store.subjects import Names

NOTE_CHARS_MAX = 4000


class FailureNote(Struct, frozen=True, kw_only=True):
    """A note, who wrote it and when (UTC); an empty text is a note taken away."""

    fingerprint: str
    text: str
    by: str
    at: datetime
    v: int = 1


class FailureNotes:
    """Reads and writes notes; every method raises Unreachable when the broker does not answer."""

    def __init__(self, backend: Backend, names: Names) -> None:
        self._backend = backend
        self._names = names

    async def of(self, fingerprints: Iterable[str]) -> dict[str, FailureNote]:
        """The notes there are, by fingerprint."""
        subjects = [self._names.failure_note(one) for one in fingerprints]
        if not subjects:
            return {}
        found = await self._backend.log.load(subjects)
        notes = [_decode(stored) for stored in found.values()]
        return {note.fingerprint: note for note in notes if note.text}

    async def write(self, fingerprint: str, text: str, by: str, at: datetime) -> FailureNote:
        """Put a note in the place of the one before; the last writer wins, both stay stored."""
        note = FailureNote(fingerprint=fingerprint, text=text, by=by, at=at)
        record = Outgoing(self._names.failure_note(fingerprint), msgspec.json.encode(note))
        outcome = await self._backend.log.commit([record])
        if not isinstance(outcome, Committed):
            raise Unreachable(f"the note is not known to be stored ({outcome.reason}); look again")
        return note


def _decode(stored: Stored) -> FailureNote:
    return msgspec.json.decode(stored.data, type=FailureNote)
