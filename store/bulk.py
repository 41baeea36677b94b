"""Bulk jobs as they are kept: one action on a frozen list of instances, and how far it has come.

The record and the list stand in the meta bucket for some days, so that a job whose process died is
shown for what it is and can go on. A lease says which process works on it. Only the holder of the
lease writes the record; that a job shall end is asked for beside it. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec
from msgspec import Raw, Struct, structs

from sagas.actions import ActionRequest, InstanceAction
from sagas.messages import NULL, Address
from store.port import Meta

KEPT_S = 7 * 24 * 3600
CHUNK_TARGETS = 500
LEASE_S = 10
REFUSALS_KEPT = 100
REASONS_KEPT = 50

# ``interrupted`` is never written: a job says running and nobody holds its lease.
LetterAction: TypeAlias = Literal["redrive", "discard"]
BulkAction: TypeAlias = InstanceAction | LetterAction

BulkStatus: TypeAlias = Literal["running", "done", "cancelled", "stopped", "interrupted"]


class BulkRefusal(Struct, frozen=True, kw_only=True):
    """An instance that took no action, and why."""

    saga: str
    key: str
    reason: str


class Tally(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of some targets; ``reasons`` counts refusals by what they say, without names."""

    done: int = 0
    refused: int = 0
    refusals: tuple[BulkRefusal, ...] = ()
    reasons: dict[str, int] = {}

    def plus(self, other: Tally) -> Tally:
        """Both together; of single refusals only the first are kept."""
        reasons = dict(self.reasons)
        for reason, count in other.reasons.items():
            if reason in reasons or len(reasons) < REASONS_KEPT:
                reasons[reason] = reasons.get(reason, 0) + count
        return Tally(
            done=self.done + other.done,
            refused=self.refused + other.refused,
            refusals=(*self.refusals, *other.refusals)[:REFUSALS_KEPT],
            reasons=reasons,
        )


class BulkJob(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A bulk job: what is done to how many, by whom and why, and how far it has come.

    The chunks before ``chunk`` are settled, with ``settled`` as their outcome; ``partial`` is that
    of the chunk in work, which is done again after an interruption: the ids of its actions are
    made from the job and the place in the list, so nothing happens twice. It stops when
    ``stop_at`` have refused, which is ``stop_after`` more than had when it last began (0: never).
    ``note`` says why it does not go on.

    The targets of ``redrive`` and ``discard`` are dead letters: addresses without a saga whose key
    is the letter's id. With ``watch_s`` each step waits up to so many seconds for what becomes of
    it, and one that fails again counts as refused: what keeps failing stops the job.
    """

    id: str
    action: BulkAction
    request: ActionRequest
    by: str
    total: int
    created: datetime
    updated: datetime
    reason: str = ""
    origin: str = ""
    filter: Raw = NULL
    stop_after: int = 0
    stop_at: int = 0
    watch_s: float = 0.0
    status: BulkStatus = "running"
    chunk: int = 0
    settled: Tally = Tally()
    partial: Tally = Tally()
    ended: datetime | None = None
    note: str = ""
    v: int = 1

    @property
    def tally(self) -> Tally:
        """All outcomes so far."""
        return self.settled.plus(self.partial)

    @property
    def chunks(self) -> int:
        """How many chunks its list has."""
        return -(-self.total // CHUNK_TARGETS)

    def action_id(self, index: int) -> str:
        """The id of the action on the target at a place of the list."""
        return f"bulk-{self.id}-{index}"


class BulkJobs:
    """Keeps bulk jobs in the meta bucket; every method raises Unreachable."""

    def __init__(self, meta: Meta) -> None:
        self._meta = meta

    async def create(self, job: BulkJob, targets: Sequence[Address]) -> bool:
        """Keep a new job and its list; False when there is a job of that id already."""
        for number in range(job.chunks):
            chunk = targets[number * CHUNK_TARGETS : (number + 1) * CHUNK_TARGETS]
            await self._meta.put(_list(job.id, number), msgspec.json.encode(chunk), ttl_s=KEPT_S)
        document = msgspec.json.encode(job)
        return await self._meta.put(_job(job.id), document, ttl_s=KEPT_S, expect=0) is not None

    async def save(self, job: BulkJob) -> None:
        """Write how far a job is; only its holder may."""
        await self._meta.put(_job(job.id), msgspec.json.encode(job), ttl_s=KEPT_S)

    async def get(self, id: str) -> BulkJob | None:
        """A job with its status as it is, or None."""
        entry = await self._meta.get(_job(id))
        if entry is None or entry.data is None:
            return None
        job = msgspec.json.decode(entry.data, type=BulkJob)
        held = job.status != "running" or await self.is_held(id)
        return job if held else structs.replace(job, status="interrupted")

    async def list(self) -> list[BulkJob]:
        """All jobs that are kept, the newest first."""
        entries = await self._meta.entries("bulk.")
        jobs = [msgspec.json.decode(e.data, type=BulkJob) for e in entries if e.data is not None]
        leases = {entry.key for entry in await self._meta.entries("bulk-lease.")}
        jobs = [
            structs.replace(job, status="interrupted")
            if job.status == "running" and _lease(job.id) not in leases
            else job
            for job in jobs
        ]
        return sorted(jobs, key=lambda job: job.created, reverse=True)

    async def targets(self, job: BulkJob, number: int) -> list[Address]:
        """A chunk of a job's list; raises LookupError when it has expired."""
        entry = await self._meta.get(_list(job.id, number))
        if entry is None or entry.data is None:
            raise LookupError(f"the list of bulk job {job.id} is not kept any more; make a new job")
        return msgspec.json.decode(entry.data, type=list[Address])

    # --- who works on it

    async def hold(self, id: str, owner: str) -> int | None:
        """Take the lease; its revision, or None when somebody has it."""
        return await self._meta.put(_lease(id), owner.encode(), ttl_s=LEASE_S, expect=0)

    async def renew(self, id: str, owner: str, revision: int) -> int | None:
        """Keep the lease; the new revision, or None when it is lost."""
        return await self._meta.put(_lease(id), owner.encode(), ttl_s=LEASE_S, expect=revision)

    async def let_go(self, id: str, revision: int) -> None:
        """Give the lease back."""
        await self._meta.delete(_lease(id), expect=revision)

    async def is_held(self, id: str) -> bool:
        """Whether a process works on the job."""
        return await self._meta.get(_lease(id)) is not None

    # --- asking whoever works on it to end

    async def ask_to_end(self, id: str) -> None:
        """Have the holder cancel the job soon."""
        await self._meta.put(_end(id), b"1", ttl_s=KEPT_S)

    async def shall_end(self, id: str) -> bool:
        """Whether that was asked for."""
        return await self._meta.get(_end(id)) is not None

    async def forget_end(self, id: str) -> None:
        """Take that back, before the job goes on."""
        await self._meta.delete(_end(id))


def _job(id: str) -> str:
    return f"bulk.{id}"


def _list(id: str, number: int) -> str:
    return f"bulk-list.{id}.{number}"


def _lease(id: str) -> str:
    return f"bulk-lease.{id}"


def _end(id: str) -> str:
    return f"bulk-end.{id}"
