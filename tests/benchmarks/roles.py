"""A process of a benchmark: ``python -m tests.benchmarks.roles engine|jobs URL NAMESPACE BUCKET``.

Prints one line when it is ready, then works until SIGTERM, as ``snorri engine`` and ``jobs`` do.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from jobs.engine import Engine
from jobs.worker import Worker
from server.tuning import tune
from store.jetstream.backend import connect
from store.subjects import Names
from tests.benchmarks import app


async def main(role: str, url: str, namespace: str, bucket: str) -> None:
    """Run one role until told to stop."""
    names = Names(namespace=namespace, bucket=bucket)
    backend = await connect(url, names, name=f"bench-{role}")
    service = (
        Engine(backend, names, app.registry(), engine_id="bench")
        if role == "engine"
        else Worker(backend, names, app.jobs())
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await service.start()
    print("ready", flush=True)
    await stop.wait()
    await service.stop()
    await backend.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    tune()
    asyncio.run(main(*sys.argv[1:]))
