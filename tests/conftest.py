"""Fixtures that every folder shares: one real nats-server a session, fresh names for each test.

With pytest-xdist each worker has a session, and so a server, of its own. Folders add their own
fixtures in their own conftest.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from server.embedded import EmbeddedServer
from store.subjects import Names

# How long an example takes depends on what else the machine does; it proves nothing.
settings.register_profile("snorri", deadline=None)
settings.load_profile("snorri")

_numbers = itertools.count(1)

# SNORRI_TEST_LONG=1 tries more: more generated requests, more kills.
LONG = bool(os.environ.get("SNORRI_TEST_LONG"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--seed N`` repeats a run of the tests that choose at random."""
    parser.addoption("--seed", type=int, default=None, help="seed of the tests that use chance")


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of this test; printed, so that a failed run can be repeated."""
    given: int | None = request.config.getoption("--seed")
    chosen = random.randrange(2**32) if given is None else given
    print(f"--seed {chosen}")
    return chosen


class NatsServer:
    """The session's server for tests: addresses, and crashes on demand. Methods block."""

    def __init__(self, data_dir: Path, *, sync_always: bool = False) -> None:
        self._server = EmbeddedServer(data_dir, port=0, sync_always=sync_always)

    @property
    def url(self) -> str:
        """Where clients connect; stays the same over `restart`."""
        return self._server.url

    @property
    def monitor_url(self) -> str:
        """Root of the monitoring pages; changes with each start."""
        return self._server.monitor_url

    @property
    def pid(self) -> int:
        """The process id of nats-server itself, for SIGSTOP and the like."""
        return self._server.pid

    def start(self) -> None:
        """Start, or start again after `kill`, and wait until it is ready."""
        _run(self._server.restart())

    def restart(self) -> None:
        """Stop in order when running, and start on the same port."""
        _run(self._server.restart())

    def kill(self) -> None:
        """kill -9; whoever does this calls `restart` before the test ends."""
        _run(self._server.kill())

    def stop(self) -> None:
        """End it and give its directory back."""
        _run(self._server.stop())


def _run(work: Coroutine[Any, Any, object]) -> None:
    """Run to the end in a thread of its own: the caller's may have a loop that runs already."""
    failures: list[BaseException] = []

    def body() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


@pytest.fixture(scope="session")
def quick_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A real nats-server for the session; fast, so without an fsync before each ack."""
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def durable_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """One that keeps over a kill what it has acknowledged; the quick one may lose the tail."""
    server = NatsServer(tmp_path_factory.mktemp("durable"), sync_always=True)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def nats_server(request: pytest.FixtureRequest) -> NatsServer:
    """The session's server: the durable one for tests marked with ``chaos``."""
    kills = request.node.get_closest_marker("chaos") is not None
    return request.getfixturevalue("durable_nats" if kills else "quick_nats")


@pytest.fixture
def fresh_names() -> Callable[[], Names]:
    """Makes a namespace and a bucket that no other test has."""

    def make() -> Names:
        tail = f"{os.getpid()}x{next(_numbers)}"
        return Names(namespace=f"t{tail}", bucket=f"T{tail}")

    return make
