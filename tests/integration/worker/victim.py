"""A worker in a process of its own, to be killed: its job says that it has begun and never ends.

Run as ``python -m tests.integration.worker.victim URL NAMESPACE BUCKET ACK_WAIT_S``.
"""

from __future__ import annotations

import asyncio
import sys

from jobs import JobContext, JobRegistry, job
from jobs.worker import Worker
from store.jetstream import connect
from store.subjects import Names


@job("pay")
async def pay(ctx: JobContext[object]) -> None:
    """Say so and hang."""
    print(ctx.command_id, ctx.attempt, flush=True)
    await asyncio.Event().wait()


async def main(url: str, namespace: str, bucket: str, ack_wait_s: str) -> None:
    """Work until killed."""
    names = Names(namespace=namespace, bucket=bucket)
    backend = await connect(url, names)
    worker = Worker(backend, names, JobRegistry([pay]), ack_wait_s=float(ack_wait_s))
    await worker.start()
    await worker.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
