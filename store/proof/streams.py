"""The proof of a running installation: both streams from the first message to a cut, as they come.

A cut is the moment between two commits that a backup would show, so what is on its way meanwhile is
no fault. Memory does not grow with the messages, see ``store.proof.log``.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from store.audit import lost_events, positions_of
from store.backup.cut import find_cut
from store.backup.manifest import Cut
from store.backup.reading import Reading
from store.codec import MSG_ID
from store.port import Backend
from store.proof.findings import Findings
from store.proof.log import LogProof
from store.proof.stretches import Stretches, event_text
from store.subjects import BadName, Names

Tell = Callable[[str, int, int], None]  # what is at work, how much is done, of how much


class Proof(Struct, frozen=True, kw_only=True):
    """What was gone through, and how much of it there is."""

    cut: Cut
    revisions: int
    instances: int
    commands: int
    events: int
    transition_stretches: Stretches
    event_stretches: Stretches


async def prove_streams(backend: Backend, names: Names, findings: Findings, tell: Tell) -> Proof:
    """Go through both streams; raises Unreachable, BackupError when there is no cut."""
    cut = await find_cut(backend, names)
    log = await _log(backend, names, cut, findings, tell)
    events, stretches = await _events(backend, names, cut, findings, tell)
    if log.events_referred > cut.events:
        findings.add(
            "missing_event",
            f"a transition was caused by event {log.events_referred}; they end at {cut.events}",
        )
    positions = await positions_of(backend.log, names, backend.partitions)
    for fault in await lost_events(backend.log, positions):
        findings.add("position", fault)
    return Proof(
        cut=cut,
        revisions=log.revisions,
        instances=log.instances,
        commands=log.commands,
        events=events,
        transition_stretches=log.stretches,
        event_stretches=stretches,
    )


async def _log(
    backend: Backend, names: Names, cut: Cut, findings: Findings, tell: Tell
) -> LogProof:
    proof = LogProof(names, findings)
    reading = Reading(backend.feeds, "log", 0, cut.log)
    try:
        while not reading.done:
            for stored in await reading.take():
                proof.take(stored)
            tell("log", reading.last, cut.log)
    finally:
        await reading.close()
    proof.end()
    return proof


async def _events(
    backend: Backend, names: Names, cut: Cut, findings: Findings, tell: Tell
) -> tuple[int, Stretches]:
    """Events are never removed, so their sequences have no gaps."""
    stretches = Stretches()
    count = last = 0
    reading = Reading(backend.feeds, "events", 0, cut.events)
    try:
        while not reading.done:
            for stored in await reading.take():
                if stored.seq != last + 1:
                    findings.add("missing_event", f"events {last + 1} to {stored.seq - 1} are gone")
                last = stored.seq
                count += 1
                id = stored.headers.get(MSG_ID, "")
                text = event_text(stored.seq, _type(names, stored.subject), id, len(stored.data))
                stretches.add(stored.seq, text)
            tell("events", reading.last, cut.events)
    finally:
        await reading.close()
    if last < cut.events:
        findings.add("missing_event", f"events {last + 1} to {cut.events} are gone")
    return count, stretches


def _type(names: Names, subject: str) -> str:
    """The type as the projections show it."""
    try:
        return names.parse_event(subject)[0]
    except (BadName, IndexError):
        return subject
