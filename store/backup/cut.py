"""Finding the moment that a backup shows: an end of the log between two commits.

The log first, then the events. Positions and revisions speak of events, never the other way round,
so events that were stored after the end of the log are only events that nobody has read yet, and an
engine reads them after a restore. The other order could give positions of events that are missing.
Before both comes what consumers have acknowledged: a worker acknowledges a command after its result
was stored, so every command that counts as done has its result among the events.

A commit ends with the positions it moved. The end is right when the positions are the same before
and after it was looked at and the last message is not one from the middle of a commit: then what is
stored up to there is what a crash at that moment would have left, and engines go on from that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime

from msgspec import Raw

from store.backup.manifest import BackupError, Cut
from store.port import Backend, Stored
from store.subjects import Names

BATCH_ID = "Nats-Batch-Id"
BATCH_COMMIT = "Nats-Batch-Commit"
PATIENCE_S = 30.0
PAUSE_S = 0.002


async def find_cut(backend: Backend, names: Names, patience_s: float = PATIENCE_S) -> Cut:
    """A cut of now; raises BackupError when commits leave no gap for so long or the last one has
    lost its end, and Unreachable.
    """
    deadline_s = asyncio.get_running_loop().time() + patience_s
    begun = await backend.log.extent("log")
    while True:
        cut = await _try(backend, names)
        if cut is not None:
            return cut
        if asyncio.get_running_loop().time() > deadline_s:
            if begun.last == (await backend.log.extent("log")).last:
                raise BackupError(
                    "the log ends in the middle of a commit and nothing is added to it: the server "
                    "has lost its last writes. `snorri doctor` names what is missing; start an "
                    "engine, which goes on from there, and try again"
                )
            raise BackupError(
                f"the log had no moment between two commits within {patience_s:g} s; try again "
                "when there is less to do"
            )
        await asyncio.sleep(PAUSE_S)


async def _try(backend: Backend, names: Names) -> Cut | None:
    log = backend.log
    before = await _positions(backend, names)
    end = await log.extent("log")
    last = await log.at("log", end.last) if end.last else None
    at = datetime.now(UTC)
    events = await log.extent("events")
    after = await _positions(backend, names)
    if _sequences(before) != _sequences(after) or (end.last and last is None):
        return None
    if last is not None and BATCH_ID in last.headers and BATCH_COMMIT not in last.headers:
        return None
    positions = {str(number): Raw(stored.data) for number, stored in after.items()}
    return Cut(at=at, log=end.last, events=events.last, positions=positions)


async def _positions(backend: Backend, names: Names) -> dict[int, Stored]:
    """From the leader, all at once: a replica may be behind."""
    numbers = range(backend.partitions)
    found = await asyncio.gather(*(backend.log.read(names.position(n)) for n in numbers))
    return {n: stored for n, stored in zip(numbers, found, strict=True) if stored is not None}


def _sequences(positions: Mapping[int, Stored]) -> dict[int, int]:
    return {number: stored.seq for number, stored in positions.items()}
