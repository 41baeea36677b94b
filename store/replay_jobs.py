"""Replays of a whole saga as they are kept: what came out, and how far one that runs has come.

The record stands in the meta bucket for some days. Only who runs a replay writes it, every second;
one that says running and was not written for a while has lost its process, and is begun anew by
hand: it changes nothing, so nothing has to be resumed.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct, structs

from sagas.instance import encode
from sagas.replay import Step
from store.port import Meta
from store.replaying import Replayed

KEPT_S = 7 * 24 * 3600
SILENT = timedelta(seconds=15)  # a running one is written more often
FIRST_KEPT = 100
FAULTS_KEPT = 20
KINDS_KEPT = 50

Hide: TypeAlias = Callable[[str, bytes], str]
ReplayStatus: TypeAlias = Literal["running", "done", "cancelled", "failed", "interrupted"]


class Difference(Struct, frozen=True, kw_only=True):
    """An instance that would not be as it was, and the first version where.

    ``differs`` names what (status, state …); ``refused`` says why the message would change nothing.
    """

    key: str
    versions: int
    changed: int
    version: int
    message: str
    differs: tuple[str, ...]
    refused: str


class Kind(Struct, kw_only=True):
    """Instances that first differ at the same message in the same way; ``key`` is one of them."""

    message: str
    differs: tuple[str, ...]
    count: int
    key: str
    version: int


class Fault(Struct, frozen=True, kw_only=True):
    """A history that could not be replayed to its end."""

    key: str
    why: str


class ReplayTally(Struct, kw_only=True, omit_defaults=True):
    """What came out: counts of all, and the first of what there is to see.

    ``more_kinds`` counts the instances whose kind is not among ``kinds``.
    """

    same: int = 0
    differ: int = 0
    unreadable: int = 0
    versions: int = 0
    kinds: dict[str, Kind] = {}
    more_kinds: int = 0
    first: list[Difference] = []
    faults: list[Fault] = []

    @property
    def done(self) -> int:
        """Instances that were replayed."""
        return self.same + self.differ + self.unreadable

    @property
    def by_count(self) -> list[Kind]:
        """The kinds, the most frequent first."""
        return sorted(self.kinds.values(), key=lambda kind: -kind.count)

    def add(self, found: Replayed, hide: Hide = lambda text, source: text) -> None:
        """Count one more; ``hide`` takes secrets of a document out of a text."""
        self.versions += found.versions
        if found.first is not None:
            self.differ += 1
            self._note(found, found.first, hide)
        elif found.fault:
            self.unreadable += 1
        else:
            self.same += 1
        if found.fault and len(self.faults) < FAULTS_KEPT:
            self.faults.append(Fault(key=found.key, why=found.fault))

    def _note(self, found: Replayed, step: Step, hide: Hide) -> None:
        recorded = step.recorded
        message = recorded.cause.type or recorded.cause.kind
        differs = step.differs or ("no change",)
        if len(self.first) < FIRST_KEPT:
            refused = hide(step.refused, encode(recorded)) if step.refused else ""
            self.first.append(
                Difference(
                    key=found.key,
                    versions=found.versions,
                    changed=found.changed,
                    version=recorded.version,
                    message=message,
                    differs=differs,
                    refused=refused,
                )
            )
        name = f"{message}: {', '.join(differs)}"
        if name in self.kinds:
            self.kinds[name].count += 1
        elif len(self.kinds) < KINDS_KEPT:
            self.kinds[name] = Kind(
                message=message,
                differs=differs,
                count=1,
                key=found.key,
                version=recorded.version,
            )
        else:
            self.more_kinds += 1


class ReplayJob(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A replay of all instances of a saga through the definition with the hash ``definition``.

    ``total`` is how many there were when it began; ``note`` says why it failed.
    """

    id: str
    saga: str
    definition: str
    by: str
    total: int
    created: datetime
    updated: datetime
    status: ReplayStatus = "running"
    tally: ReplayTally = msgspec.field(default_factory=ReplayTally)
    ended: datetime | None = None
    note: str = ""
    v: int = 1


class ReplayJobs:
    """Keeps replays in the meta bucket; every method raises Unreachable."""

    def __init__(self, meta: Meta, now: Callable[[], datetime]) -> None:
        self._meta = meta
        self._now = now

    async def save(self, job: ReplayJob) -> None:
        """Write how far one is."""
        await self._meta.put(f"replay.{job.id}", msgspec.json.encode(job), ttl_s=KEPT_S)

    async def get(self, id: str) -> ReplayJob | None:
        """One by its id as it stands, or None."""
        if not (id.isalnum() and id.isascii()):
            return None
        entry = await self._meta.get(f"replay.{id}")
        return None if entry is None or entry.data is None else self._read(entry.data)

    async def list(self, saga: str | None = None) -> list[ReplayJob]:
        """All that are kept, or those of a saga, the newest first."""
        entries = await self._meta.entries("replay.")
        jobs = [self._read(entry.data) for entry in entries if entry.data is not None]
        wanted = [job for job in jobs if saga is None or job.saga == saga]
        return sorted(wanted, key=lambda job: job.created, reverse=True)

    async def ask_to_end(self, id: str) -> None:
        """Have whoever runs it end it soon."""
        await self._meta.put(f"replay-end.{id}", b"1", ttl_s=KEPT_S)

    async def shall_end(self, id: str) -> bool:
        """Whether that was asked for."""
        return await self._meta.get(f"replay-end.{id}") is not None

    def _read(self, data: bytes) -> ReplayJob:
        job = msgspec.json.decode(data, type=ReplayJob)
        lost = job.status == "running" and self._now() - job.updated > SILENT
        return structs.replace(job, status="interrupted") if lost else job
