"""A worker in a process of its own, to be killed while its step waits for the job that it called.

Run as ``python -m tests.integration.worker.calling URL NAMESPACE BUCKET ACK_WAIT_S``.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from jobs import JobRegistry, StepContext, step_jobs
from jobs.worker import Worker
from sagas import step, steps
from store.jetstream import connect
from store.subjects import Names


async def charge(ctx: StepContext[Any]) -> Any:
    """Have somebody else do it."""
    return await ctx.call("pay", "once")


order = steps("order", [step("charge", charge)])


async def main(url: str, namespace: str, bucket: str, ack_wait_s: str) -> None:
    """Work until killed."""
    names = Names(namespace=namespace, bucket=bucket)
    backend = await connect(url, names)
    jobs = JobRegistry(step_jobs(order))
    worker = Worker(backend, names, jobs, ack_wait_s=float(ack_wait_s))
    await worker.start()
    await worker.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
