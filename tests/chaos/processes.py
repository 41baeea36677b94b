"""Processes to be killed, and one installation they work on.

A World is a nats-server of its own (synced writes), names, a ledger, and the engines and workers
that were started; closing it ends them all. What a process said is printed when a test fails.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from server.embedded import EmbeddedServer
from store.jetstream import JetStreamBackend, connect
from store.subjects import Names
from tests.chaos.app import LEDGER

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 90.0


class Process:
    """A child process with its output in a file; ``kill`` is -9."""

    def __init__(self, arguments: list[str], log: Path, environ: dict[str, str]) -> None:
        self._arguments = arguments
        self._environ = {**os.environ, **environ, "PYTHONPATH": str(ROOT)}
        self._environ["PYTHONFAULTHANDLER"] = "1"
        self._process: asyncio.subprocess.Process | None = None
        self.log = log
        self.starts = 0

    async def start(self, ready: str = "ready") -> Process:
        """Start it and wait until it prints ``ready`` (empty: don't wait)."""
        self.starts += 1
        with self.log.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, *self._arguments),
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env=self._environ,
                cwd=self.log.parent,
            )
        if ready:
            await asyncio.wait_for(self.says(ready), START_TIMEOUT_S)
        return self

    async def says(self, word: str) -> str:
        """The first line of output that contains ``word``; fails when the process ends before."""
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            if word in line.decode():
                return line.decode()
        raise AssertionError(f"it ended without saying {word!r}:\n{self.words()}")

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.returncode is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    async def end(self, number: signal.Signals = signal.SIGKILL, timeout_s: float = 30.0) -> int:
        """Send a signal and wait for the end; the exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            self.send(number)  # a stopped process takes SIGKILL as well
        return await self.ended(timeout_s)

    async def ended(self, timeout_s: float = 30.0) -> int:
        """Wait for the end; the exit code."""
        assert self._process is not None
        process = self._process
        # communicate() drains and closes the pipe, which wait() alone would leave open.
        try:
            await asyncio.wait_for(
                asyncio.shield(asyncio.ensure_future(process.communicate())), timeout_s
            )
        except TimeoutError:
            self.send(signal.SIGABRT)  # faulthandler writes where it stands
            await process.wait()
            raise AssertionError(
                f"it did not end within {timeout_s:g} s:\n{self.words(6000)}"
            ) from None
        assert process.returncode is not None
        return process.returncode

    def words(self, bytes_max: int = 3000) -> str:
        """The end of what it wrote to its log."""
        return self.log.read_bytes()[-bytes_max:].decode(errors="replace")


class Installation:
    """Processes that are ended together, on brokers that somebody else ends."""

    def __init__(self, home: Path, names: Names, replicas: int = 1) -> None:
        self.home = home
        self.names = names
        self.replicas = replicas
        self.ledger = home / "ledger"
        self.processes: list[Process] = []
        self._backends: list[JetStreamBackend] = []

    @property
    def url(self) -> str:
        """Where the brokers are."""
        raise NotImplementedError

    async def backend(self, partitions: int = 4) -> JetStreamBackend:
        """A connection of the test's own."""
        backend = await connect(
            *(self.url, self.names), partitions=partitions, replicas=self.replicas, name="test"
        )
        self._backends.append(backend)
        return backend

    def process(self, *arguments: str, name: str = "", **environment: str) -> Process:
        """A process that is ended with the world; start it yourself."""
        log = self.home / f"{name or arguments[-1]}-{len(self.processes)}.log"
        environ = {LEDGER: str(self.ledger), "SNORRI_REPLICAS": str(self.replicas)}
        process = Process(list(arguments), log, {**environ, **environment})
        self.processes.append(process)
        return process

    def runner(self, role: str, url: str = "") -> Process:
        """An engine or a worker of the chaos app."""
        names = self.names
        return self.process(
            *("-m", "tests.chaos.runner", role),
            *(url or self.url, names.namespace, names.bucket),
            name=role,
        )

    async def close(self) -> None:
        """End what still runs, the processes first."""
        for process in self.processes:
            if process.alive:
                await process.end()
        await self._hang_up()

    async def _hang_up(self) -> None:
        for backend in self._backends:
            await backend.close()
        self._backends.clear()

    def tell(self) -> None:
        """Print what the processes wrote, for the report of a failed test."""
        for process in self.processes:
            if process.log.exists():
                print(f"--- {process.log.name} ({process.starts} starts)\n{process.words()}")


class World(Installation):
    """One installation with a nats-server of its own."""

    def __init__(self, home: Path, server: EmbeddedServer, names: Names) -> None:
        super().__init__(home, names)
        self.server = server

    @property
    def url(self) -> str:
        """Where its server is."""
        return self.server.url

    async def crash_broker(self) -> None:
        """kill -9 and start again on the same directory."""
        await self.server.kill()
        await self.server.restart()

    async def use(self, server: EmbeddedServer) -> None:
        """Go on with another server, which is started; the one before must have been stopped."""
        await self._hang_up()
        self.server = await server.start()

    async def close(self) -> None:
        """End what still runs, the server last."""
        await super().close()
        await self.server.stop()


@asynccontextmanager
async def world(home: Path, *, sync_always: bool = True) -> AsyncGenerator[World]:
    """A world in ``home``, closed at the end."""
    server = EmbeddedServer(home / "data", port=0, sync_always=sync_always)
    await server.start()
    made = World(home, server, Names())
    try:
        yield made
    except BaseException:
        made.tell()
        raise
    finally:
        await made.close()
