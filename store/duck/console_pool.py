"""Child processes of the console: started ahead, used once, always reaped.

A child that was cancelled, ran out of time or went mad is killed with its whole session, and nobody
gets on before the system has taken it back: no child outlives the call that used it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec

from store.duck.console_task import Report, Task
from store.projection.console import QueryError

log = logging.getLogger("snorri.sql")

ROOT = Path(__file__).resolve().parents[2]
MAIN = (
    "import sys; sys.path.insert(0, sys.argv.pop(2)); "
    "from store.duck.console_child import main; main()"
)
REPORT_BYTES_MAX = 4 * 1024 * 1024
END_S = 1.0  # from the end of its output to the end of a process


class Child:
    """One process; ``ask`` may be called once."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls) -> Child:
        """Start one; it gets ready while nobody waits. Raises QueryError."""
        command = (sys.executable, "-I", "-c", MAIN, str(os.getpid()), str(ROOT))
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={},
                cwd="/",
                limit=REPORT_BYTES_MAX,
                start_new_session=True,
            )
        except OSError as error:
            raise QueryError(
                "unavailable",
                f"No process can be started for the query: {error.strerror}.",
                "Try again; if it stays, look at the limits of processes and memory here.",
            ) from error
        return cls(process)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.returncode is None

    async def ask(self, task: Task) -> Report | None:
        """The report on the task, None when the process ended without one."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(msgspec.json.encode(task) + b"\n")
            await self._process.stdin.drain()
            line = await self._process.stdout.readline()
            if not line:
                await asyncio.wait_for(self._process.wait(), END_S)
                return None
            return msgspec.json.decode(line, type=Report)
        except (ConnectionError, TimeoutError, ValueError, msgspec.DecodeError):
            return None

    async def end(self) -> int:
        """Kill it if it still runs, and return its exit code once the system has taken it back."""
        with contextlib.suppress(ProcessLookupError):
            if self.alive:
                os.killpg(self.pid, signal.SIGKILL)
        code = await _shielded(self._process.wait())
        if self._process.stdin is not None:
            self._process.stdin.close()
        return code


class Pool:
    """Keeps ``spares`` children waiting, once somebody has asked for the first."""

    def __init__(self, spares: int) -> None:
        self._spares_wanted = spares
        self._spares: deque[Child] = deque()
        self._filling: asyncio.Task[None] | None = None
        self._closed = False

    async def take(self) -> Child:
        """A child for one task; raises QueryError."""
        while self._spares:
            child = self._spares.popleft()
            if child.alive:
                break
            await child.end()
        else:
            child = await Child.start()
        self._fill()
        return child

    def _fill(self) -> None:
        if not self._closed and (self._filling is None or self._filling.done()):
            self._filling = asyncio.create_task(self._start_spares())

    async def _start_spares(self) -> None:
        try:
            while len(self._spares) < self._spares_wanted:
                self._spares.append(await Child.start())
        except QueryError as error:
            log.warning("%s %s", error, error.next)

    async def close(self) -> None:
        """End all spares."""
        self._closed = True
        if self._filling is not None:
            await self._filling
        while self._spares:
            await self._spares.popleft().end()


async def _shielded(work: Coroutine[Any, Any, int]) -> int:
    """Wait to the end also when cancelled meanwhile, then say so."""
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return task.result()
