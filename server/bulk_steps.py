"""One step of a bulk job: its action on one target, and what became of that.

An instance that takes a retry may fail again a moment later, and so may a message that is sent
again. A job that watches waits for that, so that it stops by itself while the cause is still there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from sagas.messages import Address
from store.bulk import BulkJob
from store.client import SagaClient
from store.codec import dead_letter_id
from store.wording import first_line

OUTCOME_S = 30.0  # for one action; after that nobody reads what is stored
LETTER_WATCH_S = 2.0  # a message that can't be taken is given up at once
LOOK_EVERY_S = 0.2


async def take_step(client: SagaClient, job: BulkJob, index: int, target: Address) -> str | None:
    """Carry out the step of a place in the list: why it was refused or failed again, empty when it
    is done, None when no outcome can be had. Raises StoreError.
    """
    action = job.action
    if action == "redrive" or action == "discard":
        return await _letter(client, job, index, target.key)
    reply = await client.act(
        target.saga,
        target.key,
        action,
        by=job.by,
        reason=job.reason,
        request=job.request,
        timeout_s=OUTCOME_S,
        id=job.action_id(index),
        origin=job.origin,
    )
    if reply.pending:
        return None
    if not reply.done:
        return reply.reason
    return await _watched(job.watch_s, lambda: _parked(client, target, reply.version))


async def _letter(client: SagaClient, job: BulkJob, index: int, id: str) -> str:
    change = client.redrive if job.action == "redrive" else client.discard
    reply = await change(
        id, by=job.by, reason=job.reason, origin=job.origin, action=job.action_id(index)
    )
    if not reply.done:
        return reply.reason
    if job.action == "discard" or not job.watch_s:
        return ""
    found = await client.dead_letter(id)
    if found is None:
        return ""
    letter = found[0]
    if letter.command:
        target = Address(letter.saga, letter.key)
        instance = await client.get(*_pair(target))
        version = instance.version if instance else 0
        return await _watched(job.watch_s, lambda: _parked(client, target, version))
    again = dead_letter_id("events" if letter.stream == "events" else "log", reply.seq, letter.saga)
    return await _watched(min(job.watch_s, LETTER_WATCH_S), lambda: _given_up(client, again))


async def _watched(watch_s: float, look: Callable[[], Awaitable[str | None]]) -> str:
    """What ``look`` finds within a time; None from it means that nothing is known yet."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + watch_s
    while loop.time() < end_s:
        if (found := await look()) is not None:
            return found
        await asyncio.sleep(LOOK_EVERY_S)
    return ""


async def _parked(client: SagaClient, target: Address, version: int) -> str | None:
    """Why an instance is parked (again) since ``version``; None while it stands there."""
    instance = await client.get(*_pair(target))
    if instance is None:
        return ""
    if instance.status == "parked":
        why = first_line(instance.error.message) if instance.error else "no reason is on record"
        return f"{target} failed again: {why}"
    return "" if instance.version > version else None


async def _given_up(client: SagaClient, id: str) -> str | None:
    """Why a message that was sent again is a dead letter (again), None while it is none."""
    found = await client.dead_letter(id)
    return None if found is None else f"it was given up again: {first_line(found[0].reason)}"


def _pair(target: Address) -> tuple[str, str]:
    return target.saga, target.key
