"""A projector in a process of its own, to be killed while it writes in bulk.

Run as ``python -m tests.chaos.projecting URL NAMESPACE BUCKET FOLDER``. It differs from a serving
process in its sizes: small batches, kept on the disk often, so that a kill finds it in every state.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from jobs import following
from jobs.projector import Projector
from jobs.service import Supervisor
from server.running import run_until_signal
from store.duck import projection
from store.duck.projection import DuckProjections
from store.jetstream import connect
from store.live_mask import LiveMask
from store.subjects import Names

BATCH = 60
FLUSH = 300


async def main(url: str, namespace: str, bucket: str, folder: str) -> int:
    """Follow until a signal comes; says when it has begun."""
    following.BATCH_MAX, following.MANY, projection.FLUSH_MESSAGES = BATCH, 1, FLUSH
    names = Names(namespace=namespace, bucket=bucket)
    backend = await connect(url, names, name="projector")
    try:
        projections = DuckProjections(Path(folder), names, LiveMask())
        supervisor = Supervisor([Projector(backend, projections)], "projecting")
        return await run_until_signal(supervisor, lambda: print("ready", flush=True))
    finally:
        await backend.close()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
