"""One at a time: backups and the archive, which removes what a backup may be reading.

The claim is a key of the meta bucket with a time to live, renewed while the work lasts; whoever
dies with it holds it for ``TTL_S`` seconds at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from store.port import Meta, StoreError, Unreachable

KEY = "maintenance"
TTL_S = 30
RENEW_S = 8.0


class InMaintenance(StoreError):
    """Something else is at work that must not be disturbed; nothing was done."""


@asynccontextmanager
async def maintenance(meta: Meta, what: str) -> AsyncGenerator[None]:
    """Hold the claim; ``what`` tells others what is done and by whom.

    Raises InMaintenance and Unreachable.
    """
    revision = await meta.put(KEY, what.encode(), ttl_s=TTL_S, expect=0)
    if revision is None:
        holder = await meta.get(KEY)
        who = holder.data.decode(errors="replace") if holder and holder.data else "another process"
        raise InMaintenance(
            f"{who} is at work here; wait for its end and try again (a process that died with it "
            f"holds it for {TTL_S} seconds)"
        )
    renewing = asyncio.create_task(_renew(meta, what, revision))
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        try:
            await meta.delete(KEY)
        except Unreachable:
            pass  # it runs out by itself


async def _renew(meta: Meta, what: str, revision: int) -> None:
    held: int | None = revision
    while held is not None:
        await asyncio.sleep(RENEW_S)
        try:
            held = await meta.put(KEY, what.encode(), ttl_s=TTL_S, expect=held)
        except Unreachable:
            continue
