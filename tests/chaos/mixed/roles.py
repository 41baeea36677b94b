"""One process of a mixed run: ``python -m tests.chaos.mixed.roles engine|jobs|api URL HOME PORT``.

Engines and workers are those of ``tests.chaos.runner``, the API is `snorri serve` with its data in
HOME on PORT. The broker's window for ids is a second here, so that it is ours to know an id again,
and engines and the live view remember a thousand instances, so that they forget and load them too.
On SIGUSR1 a process writes how many asyncio tasks and how many blocks of Python's memory it has
into a file named by its process id.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from pathlib import Path

from jobs.cache import BYTES_MAX, Cache
from sagas.definition import Registry
from server.cli import main as snorri
from server.live import changes
from store.jetstream import topology
from store.subjects import Names
from tests.chaos import runner
from tests.chaos.mixed import app

WINDOW_S = 1
CACHED = 1000
APP = "tests.chaos.mixed.app"


def counts_file(pid: int, home: Path) -> Path:
    """Where the process writes its number of tasks and of blocks of memory."""
    return home / f"{pid}.counts"


def forget_ids_soon() -> None:
    """Streams are made with, and are checked for, a window for ids of a second."""
    topology.DUPLICATE_WINDOW_S = WINDOW_S


def _remember_little() -> None:
    """What is remembered is full soon, so that its growth is not taken for a leak."""
    Cache.__init__.__defaults__ = (CACHED, BYTES_MAX)
    changes.KNOWN_MAX = CACHED


def _tell_counts_on_signal(home: Path) -> None:
    file = counts_file(os.getpid(), home)
    fresh = file.with_suffix(".new")

    def tell(*_: object) -> None:
        gc.collect()  # what nobody holds any more is no growth
        fresh.write_text(f"{len(asyncio.all_tasks())} {sys.getallocatedblocks()}")
        fresh.replace(file)

    signal.signal(signal.SIGUSR1, tell)


def main(role: str, url: str, home: str, port: str) -> int:
    """Run the role until a signal ends it."""
    forget_ids_soon()
    _remember_little()
    _tell_counts_on_signal(Path(home))
    names = Names()
    if role == "api":
        arguments = ["--app", APP, "--nats-url", url, "--data", f"{home}/api", "--port", port]
        sys.argv = ["snorri", "serve", *arguments, "--wait", "60"]
        snorri()
        return 0
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    return asyncio.run(
        runner.main(
            *(role, url, names.namespace, names.bucket),
            registry=Registry(app.sagas),
            jobs=app.job_registry(),
        )
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
