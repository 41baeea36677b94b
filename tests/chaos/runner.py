"""An engine or a worker in a process of its own, to be killed; made of the same parts as the CLI's.

Run as ``python -m tests.chaos.runner engine|jobs URL NAMESPACE BUCKET``. It differs from `snorri
engine` and `snorri jobs` in one thing: commands of a dead worker come back after two seconds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from jobs import JobRegistry
from jobs.engine import Engine
from jobs.service import Service, Supervisor
from jobs.worker import Worker
from sagas.definition import Registry
from server.running import run_until_signal
from store.jetstream import JetStreamBackend, connect
from store.port import StoreError
from store.subjects import Names
from tests.chaos import app
from tests.waiting import eventually

ACK_WAIT_S = 2.0
PATIENCE_S = 60.0
REPLICAS = int(os.environ.get("SNORRI_REPLICAS", "1"))


async def main(
    role: str,
    url: str,
    namespace: str,
    bucket: str,
    *,
    registry: Registry | None = None,
    jobs: JobRegistry | None = None,
) -> int:
    """Connect, however long the broker is away, run, and say when it runs.

    ``registry`` and ``jobs`` are those of the chaos app when there are none.
    """
    names = Names(namespace=namespace, bucket=bucket)

    async def connected() -> JetStreamBackend | None:
        try:
            return await connect(url, names, replicas=REPLICAS, name=role)
        except StoreError:
            return None

    backend = await eventually(connected, PATIENCE_S, "a connection to the broker")
    assert backend is not None
    service: Service
    if role == "engine":
        service = Engine(backend, names, registry or Registry(app.sagas))
    else:
        jobs = jobs or JobRegistry([app.reserve, app.charge, app.give_back])
        service = Worker(backend, names, jobs, ack_wait_s=ACK_WAIT_S)
    try:
        supervisor = Supervisor([service], role)
        return await run_until_signal(supervisor, lambda: print("ready", flush=True))
    finally:
        await backend.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    sys.exit(asyncio.run(main(*sys.argv[1:])))
