"""The judge of a mixed run: the operation log and the ledger against both streams.

Nothing that the system says of itself is believed: what was asked is in the client's file, what was
done outside in the ledger of the jobs, what was decided in the log, read message by message.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from sagas.instance import Instance, decode
from store.codec import Notes
from store.port import Backend
from store.proof.findings import Findings
from store.proof.streams import prove_streams
from store.subjects import Names
from tests.chaos.app import DECLINED, ENDS, GOOD, OUT_OF_STOCK, fate
from tests.chaos.mixed import oplog
from tests.chaos.step_runner import fails
from tests.projector_kit import rows_from_nothing

Fault: TypeAlias = Literal[
    "lost", "double", "stuck", "wrong", "phantom", "torn", "early", "backwards", "dead letter",
    "projection",
]  # fmt: skip

STEPS = ["pack", "seal", "send"]
UNDONE = [*STEPS, "-seal", "-pack"]
CLOCK_S = 0.001


class Complaint(Struct, frozen=True):
    """Something that did not hold."""

    fault: Fault
    what: str


class Decided(Struct, frozen=True):
    """A transition: the document, and when the broker stored it (nanoseconds since 1970)."""

    instance: Instance
    at_ns: int


class Evidence(Struct, kw_only=True):
    """All there is to judge by.

    ``decided`` has each instance's transitions in order, ``noted`` the events that changed
    nothing, by saga and id, but duplicates; ``ledger`` for each run of jobs what
    was done under which command ids, in the order it was first done.
    """

    entries: list[oplog.Entry]
    decided: dict[tuple[str, str], list[Decided]]
    noted: Counter[tuple[str, str]]
    ledger: dict[str, dict[str, set[str]]]
    letters: list[str]
    complaints: list[Complaint] = []


async def gather(backend: Backend, names: Names, log: Path, ledger: Path) -> Evidence:
    """Read everything; what is torn in the log itself is a complaint at once."""
    decided: dict[tuple[str, str], list[Decided]] = defaultdict(list)
    async for stored in backend.log.history(names.instances()):
        instance = decode(stored.data)
        decided[instance.saga, instance.key].append(Decided(instance, stored.at_ns))
    noted: Counter[tuple[str, str]] = Counter()
    async for stored in backend.log.history(names.notes_all()):
        for note in msgspec.json.decode(stored.data, type=Notes).items:
            if note.id and note.code != "duplicate":
                noted[note.saga, note.id] += 1
    letters = [m.data.decode() async for m in backend.log.latest(names.dead_letters())]
    findings = Findings()
    await prove_streams(backend, names, findings, lambda what, done, of: None)
    return Evidence(
        entries=list(oplog.read(log)),
        decided=dict(decided),
        noted=noted,
        ledger=read_ledger(ledger.read_text().splitlines()),
        letters=letters,
        complaints=[Complaint("torn", fault) for one in findings.list() for fault in one.shown],
    )


def read_ledger(lines: Iterable[str]) -> dict[str, dict[str, set[str]]]:
    """For each saga's key what was done, in the order it was first done, under which ids."""
    found: dict[str, dict[str, set[str]]] = defaultdict(dict)
    for line in lines:
        what, run, id = line.split(" ")
        found[run].setdefault(what, set()).add(id)
    return found


async def projection_complaints(backend: Backend, names: Names, home: Path) -> list[Complaint]:
    """Whether the rows that the killed API has kept equal those made from nothing."""
    kept = await rows_from_nothing(backend, names, home / "api" / "projections")
    whole = await rows_from_nothing(backend, names, home / "from-nothing")
    return [
        Complaint("projection", f"the rows of {table} differ from those made from nothing")
        for table in whole
        if kept[table] != whole[table]
    ]


def judge(evidence: Evidence) -> list[Complaint]:
    """All that did not hold; nothing when all is well."""
    asked: dict[tuple[str, str], set[str]] = defaultdict(set)
    acknowledged: set[tuple[str, str]] = set()
    for entry in evidence.entries:
        if entry.did == "ask":
            asked[entry.saga, entry.key].add(entry.id)
        elif entry.did == "ok":
            acknowledged.add((entry.saga, entry.id))
    found = [*evidence.complaints, *_backwards(evidence.entries)]
    found += [Complaint("dead letter", letter) for letter in evidence.letters]
    for (saga, key), ids in asked.items():
        history = [one.instance for one in evidence.decided.get((saga, key), [])]
        found += _messages(saga, history, ids, acknowledged, evidence.noted)
        if history:
            found += _end(saga, key, history)
            found += _effects(saga, key, history[-1], evidence.ledger)
    unasked = set(evidence.decided) - set(asked)
    found += [Complaint("phantom", f"nobody asked for {saga}/{key}") for saga, key in unasked]
    return found


def ended(saga: str, last: Instance) -> bool:
    """Whether an instance has come to rest as far as this run is concerned."""
    if saga == "Bell":
        state = msgspec.json.decode(last.state)
        return not last.timers and (state["rang"] == 1 or "stopped_after" in state)
    return last.status in ("completed", "failed", "compensated")


def _messages(
    saga: str,
    history: list[Instance],
    asked: set[str],
    acknowledged: set[tuple[str, str]],
    noted: Counter[tuple[str, str]],
) -> Iterator[Complaint]:
    """Each acknowledged event is in the history once, or a note says why not; no other is."""
    seen = Counter(
        one.cause.id for one in history if one.cause.kind == "event" and not one.cause.answers
    )
    for id in asked:
        if not seen[id] and not noted[saga, id] and (saga, id) in acknowledged:
            yield Complaint("lost", f"{id} was acknowledged and is in no history of {saga}")
        if seen[id] > 1:
            yield Complaint("double", f"{id} changed {saga} {seen[id]} times")
    for id in set(seen) - asked:
        yield Complaint("phantom", f"{saga} was changed by {id!r}, which nobody sent")


def _end(saga: str, key: str, history: list[Instance]) -> Iterator[Complaint]:
    """Each instance ends as its number decides, and a timer rings once or was stopped."""
    last = history[-1]
    if not ended(saga, last):
        yield Complaint("stuck", f"{saga}/{key} is {last.status} at version {last.version}")
        return
    if saga == "Bell":
        yield from _rings(key, history)
        return
    wanted = ENDS[fate(_number(key))] if saga == "ChaosOrder" else _run_end(key)
    if last.status != wanted:
        yield Complaint("wrong", f"{saga}/{key} ended {last.status} and not {wanted}")


def _rings(key: str, history: list[Instance]) -> Iterator[Complaint]:
    state = msgspec.json.decode(history[-1].state)
    if state["rang"] > 1 or state["rang"] != state.get("stopped_after", 1):
        yield Complaint("double", f"the timer of {key} rang and was stopped: {state}")
    rang = [one for one in history if one.cause.kind == "timer"]
    begun = next((one for one in history if one.cause.type == "BellSet"), None)
    if begun is None or not rang:
        return
    due_s = msgspec.json.decode(begun.cause.payload)["after_s"]
    took_s = (rang[0].cause.at - begun.cause.at).total_seconds()
    if took_s < due_s - CLOCK_S:
        yield Complaint("early", f"the timer of {key} rang after {took_s} s, not {due_s}")


def _effects(
    saga: str, key: str, last: Instance, ledger: dict[str, dict[str, set[str]]]
) -> Iterator[Complaint]:
    """What an ended instance wants done was done, under one id each, and undone in reverse."""
    if saga == "Bell" or not ended(saga, last):
        return
    done = ledger.get(key if saga == "ChaosOrder" else f"{saga}/{key}", {})
    wanted = _wanted(saga, key)
    for what in wanted:
        if what not in done:
            yield Complaint("lost", f"{what} was never done for {saga}/{key}")
    for what, ids in done.items():
        if len(ids) > 1:
            yield Complaint("double", f"{what} was done for {saga}/{key} under {len(ids)} ids")
        if what not in wanted:
            yield Complaint("phantom", f"{what} was done for {saga}/{key}, which asks for none")
    if set(done) == set(wanted) and list(done) != wanted:
        yield Complaint("wrong", f"{saga}/{key} was done in the order {list(done)}")


def _wanted(saga: str, key: str) -> list[str]:
    """What must be done for an instance, in order."""
    number = _number(key)
    if saga != "ChaosOrder":
        return UNDONE if fails(number) else STEPS
    ends = {GOOD: ["charge"], OUT_OF_STOCK: [], DECLINED: ["charge", "release"]}
    return ["reserve", *ends[fate(number)]]


def _backwards(entries: Iterable[oplog.Entry]) -> Iterator[Complaint]:
    """Whoever reads never sees an instance go back."""
    versions: dict[tuple[str, str], int] = {}
    for entry in entries:
        if entry.did != "read":
            continue
        before = versions.get((entry.saga, entry.key), 0)
        if entry.version < before:
            yield Complaint(
                "backwards", f"{entry.saga}/{entry.key} was {before} and then {entry.version}"
            )
        versions[entry.saga, entry.key] = max(before, entry.version)


def _run_end(key: str) -> str:
    return "compensated" if fails(_number(key)) else "completed"


def _number(key: str) -> int:
    return int(key.rsplit("-", 1)[1])
