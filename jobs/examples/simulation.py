"""What the samples share: outcomes on demand, and ids that stay the same when a job is repeated."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from jobs import JobContext

SLOW_S = 3.0
FLAKY_ATTEMPTS = 2


async def simulated(ctx: JobContext[Any], simulate: str) -> None:
    """Be as slow, flaky or broken as the payload asks; raises RuntimeError for the last two."""
    if simulate == "slow":
        ctx.log.info("taking my time", seconds=SLOW_S)
        await asyncio.sleep(SLOW_S)
    if simulate == "flaky" and ctx.attempt <= FLAKY_ATTEMPTS:
        raise RuntimeError(f"the line went dead (attempt {ctx.attempt}); it works again soon")
    if simulate == "broken":
        raise RuntimeError('this never works; the payload asks for it with "simulate": "broken"')


def stable_id(prefix: str, ctx: JobContext[Any]) -> str:
    """An id made from the command: every attempt at it gives the same one."""
    digest = hashlib.sha256(ctx.idempotency_key.encode()).hexdigest()
    return f"{prefix}-{digest[:10]}"
