"""How much of which data a set of tables holds: written with the rows, believed only when checked.

A sequence alone proves nothing: a broker may have been replaced, or have lost its last writes and
given their sequences out again. So a checkpoint names the streams by when they were made and holds,
for each, the hash of a message that is still there as long as its stream is the same one. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from store.port import Extent, Stored
from store.subjects import Names


class Mark(Struct, frozen=True, kw_only=True):
    """One stream: ``applied`` is the last sequence whose rows are in, ``anchor`` the sequence of
    the last lasting message among them (0: none yet) and ``digest`` its hash.
    """

    created: datetime | None = None
    applied: int = 0
    anchor: int = 0
    digest: str = ""


class Streams(Struct, frozen=True, kw_only=True):
    """Which streams: when each was made."""

    events: datetime
    log: datetime


class Checkpoint(Struct, frozen=True, kw_only=True):
    """What a set of tables holds; ``code`` is the hash of what makes rows of messages, ``mask``
    tells with which secret names they were masked.

    ``complete`` once they have caught up with their streams; before that they show a part only.
    """

    schema: int
    code: str
    mask: str = ""
    complete: bool = False
    events: Mark = Mark()
    log: Mark = Mark()

    @property
    def tick(self) -> int:
        """A number for the batch that led here; it rises from batch to batch."""
        return self.events.applied + self.log.applied


def digest_of(stored: Stored) -> str:
    """The hash that tells a message from any other with its sequence."""
    digest = hashlib.sha256(f"{stored.subject}\0{stored.at_ns}\0".encode("utf-8", "replace"))
    digest.update(stored.data)
    return digest.hexdigest()


def advance(mark: Mark, names: Names, messages: Sequence[Stored]) -> Mark:
    """The mark after ``messages``, which follow it in order."""
    if not messages:
        return mark
    fleeting = (f"$KV.{names.bucket}.p.", f"{names.namespace}.timers.")
    anchor, digest = mark.anchor, mark.digest
    for stored in reversed(messages):
        # Positions are rolled up, and schedules vanish when they fire.
        if not stored.subject.startswith(fleeting):
            anchor, digest = stored.seq, digest_of(stored)
            break
    applied = max(mark.applied, messages[-1].seq)  # what follows the anchor may be read again
    return Mark(created=mark.created, applied=applied, anchor=anchor, digest=digest)


def mismatch(mark: Mark, extent: Extent, anchor: Stored | None) -> str:
    """Why a stream is not the one of the mark, in words; empty when it is.

    ``anchor`` is the message the stream has at the mark's anchor now.
    """
    if mark.created != extent.created:
        return f"it was made at {extent.created:%F %T} UTC and is another one than before"
    if mark.anchor == 0:
        return ""
    if anchor is None:
        return f"its message {mark.anchor}, which was applied, is gone (it ends at {extent.last})"
    if digest_of(anchor) != mark.digest:
        return f"its message {mark.anchor} is another one than was applied"
    return ""
