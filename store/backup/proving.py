"""Proving that streams hold what a backup has: each message, under its sequence and its time."""

from __future__ import annotations

from collections.abc import Callable

from store.archive.merging import Past
from store.backup.manifest import Segment
from store.backup.reading import Reading, is_fleeting
from store.backup.restored import Restored
from store.backup.segments import Digest
from store.port import Feeds, Stored
from store.proof.findings import Findings
from store.proof.log import LogProof
from store.subjects import Names

Tell = Callable[[str, int, int], None]  # which stream, up to where, of how many


async def prove(feeds: Feeds, restored: Restored, findings: Findings, tell: Tell) -> None:
    """Compare both streams with the segments, and prove the log with what was archived of it;
    raises Unreachable.
    """
    names, segments = restored.names, restored.segments
    proof = _Proof(LogProof(names, findings), restored.past())
    for stream in ("log", "events"):
        parts = [segment for segment in segments if segment.stream == stream]
        after = 0
        for segment in parts:
            await _compare(feeds, names, segment, after, findings, proof)
            after = segment.last
            tell(stream, after, parts[-1].last)
    proof.end()


class _Proof:
    """The proof of a log and of what was archived of it."""

    def __init__(self, proof: LogProof, past: Past) -> None:
        self._proof = proof
        self._past = past

    def take(self, stored: Stored) -> None:
        """The next message of the log."""
        for past in self._past.before(stored.seq):
            self._proof.take(past)
        self._proof.take(stored)

    def end(self) -> None:
        """No more messages."""
        for past in self._past.rest():
            self._proof.take(past)
        self._proof.end()


async def _compare(
    feeds: Feeds, names: Names, segment: Segment, after: int, findings: Findings, proof: _Proof
) -> None:
    digest = Digest()
    reading = Reading(feeds, segment.stream, after, segment.last)
    try:
        while not reading.done:
            for stored in await reading.take():
                if segment.stream == "events":
                    digest.add(stored)
                elif not is_fleeting(names, stored):
                    digest.add(stored)
                    proof.take(stored)
    finally:
        await reading.close()
    if digest.hex() != segment.digest:
        findings.add(
            "backup",
            f"{segment.stream} {segment.first} to {segment.last} is not what {segment.file} has",
        )
