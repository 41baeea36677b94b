"""The SQL console on DuckDB: a fresh copy, a child process, an answer in a file.

The answer is complete before its first byte is sent, so a question that fails half-way is an error
and never half an answer; its file has no name once the child has written it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from store.duck.console_faults import memory_fault
from store.duck.console_pool import Pool
from store.duck.console_task import Fault, Report, Task
from store.projection.console import (
    BYTES_MAX,
    MEMORY_BYTES_MAX,
    PARAMETERS_MAX,
    QUERIES_MAX,
    ROWS_MAX,
    SQL_CHARACTERS_MAX,
    TIME_MAX_S,
    Answer,
    Freshness,
    Query,
    QueryError,
)

log = logging.getLogger("snorri.sql")

SPARES = 1
THREADS = 2
CPU_GRACE_S = 2


class Snapshot(Struct, frozen=True, kw_only=True):
    """A database file that stays as it is while it is in use."""

    path: Path
    freshness: Freshness


class Snapshots(Protocol):
    """Where the console gets what it reads from."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def take(self, log_seq: int) -> Snapshot:
        """A snapshot that is fresh enough and holds the log up to there; raises ReadError."""
        ...

    def give_back(self, snapshot: Snapshot) -> None: ...


class DuckConsole:
    """Answers questions over snapshots, ``queries_max`` at once; ``folder`` is its own.

    A service as ``jobs.service`` describes it.
    """

    name = "SQL console"

    def __init__(
        self, snapshots: Snapshots, folder: Path, *, queries_max: int = QUERIES_MAX
    ) -> None:
        self._snapshots = snapshots
        self._answers = folder.absolute() / "answers"
        self._queries_max = queries_max
        self._running = 0
        self._pool = Pool(SPARES)
        self._stopped = asyncio.Event()

    async def start(self) -> None:
        """Make its folders anew: a process that was killed may have left something in them."""
        await asyncio.to_thread(_renew, self._answers)
        await self._snapshots.open()

    async def stop(self) -> None:
        """End the children that wait; those at work end with the tasks that asked."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        await self._pool.close()
        await self._snapshots.close()
        await asyncio.to_thread(shutil.rmtree, self._answers, ignore_errors=True)

    async def wait(self) -> None:
        """Return after ``stop``."""
        await self._stopped.wait()

    @property
    def running(self) -> int:
        """Questions that are being answered."""
        return self._running

    async def ask(self, query: Query) -> Answer:
        """The answer; cancelling ends the child at once. Raises QueryError, ReadError."""
        _check(query)
        if self._running >= self._queries_max:
            raise QueryError(
                "busy",
                f"{self._queries_max} queries run already, which is as many as may at once.",
                "Try again in a second.",
            )
        self._running += 1
        try:
            snapshot = await self._snapshots.take(query.log_seq)
            try:
                return await self._answer(query, snapshot)
            finally:
                self._snapshots.give_back(snapshot)
        finally:
            self._running -= 1

    async def _answer(self, query: Query, snapshot: Snapshot) -> Answer:
        handle, name = tempfile.mkstemp(dir=self._answers)
        file = os.fdopen(handle, "rb")
        try:
            started_s = time.monotonic()
            report = await self._run(query, _task(query, snapshot.path, Path(name)))
            if report.fault is not None:
                raise _error(report.fault)
            return Answer(
                format=query.format,
                columns=report.columns,
                rows=report.rows,
                bytes=os.fstat(file.fileno()).st_size,
                truncated=report.truncated,
                elapsed_ms=(time.monotonic() - started_s) * 1000,
                freshness=snapshot.freshness,
                file=file,
            )
        except BaseException:
            file.close()
            raise
        finally:
            os.unlink(name)

    async def _run(self, query: Query, task: Task) -> Report:
        child = await self._pool.take()
        try:
            report = await asyncio.wait_for(child.ask(task), query.time_max_s)
        except TimeoutError:
            return Report(fault=_time_fault(query))
        finally:
            code = await child.end()
        if report is None or report.defect:
            return Report(fault=_end_fault(query, child.pid, code, report))
        return report


def _renew(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)


def _task(query: Query, database: Path, output: Path) -> Task:
    return Task(
        sql=query.sql,
        parameters=query.parameters or None,
        format=query.format,
        rows_max=query.rows_max,
        bytes_max=BYTES_MAX,
        memory_bytes=MEMORY_BYTES_MAX,
        threads=THREADS,
        cpu_s=math.ceil(query.time_max_s * THREADS) + CPU_GRACE_S,
        database=str(database),
        output=str(output),
    )


def _check(query: Query) -> None:
    """Raises QueryError when the question is out of bounds before anybody looks at it."""
    next = "Send less, or in several questions."
    if len(query.sql) > SQL_CHARACTERS_MAX:
        raise QueryError("refused", f"The SQL is over {SQL_CHARACTERS_MAX} characters.", next)
    if query.parameters is not None and len(query.parameters) > PARAMETERS_MAX:
        raise QueryError("refused", f"There are over {PARAMETERS_MAX} parameters.", next)
    assert 1 <= query.rows_max <= ROWS_MAX
    assert 0 < query.time_max_s <= TIME_MAX_S


def _error(fault: Fault) -> QueryError:
    return QueryError(fault.code, fault.message, fault.next, fault.place)


def _time_fault(query: Query) -> Fault:
    most = f" up to {TIME_MAX_S:g} s" if query.time_max_s < TIME_MAX_S else ""
    raised = f"ask for more time{most}, or " if most else ""
    return Fault(
        code="time_limit",
        message=f"The query was not done within {query.time_max_s:g} s and was ended.",
        next=f"To have it done, {raised}add a condition on saga, key or a time.",
    )


def _end_fault(query: Query, pid: int, code: int, report: Report | None) -> Fault:
    """What it means that the process ended without an answer."""
    if code == -signal.SIGXCPU:
        return _time_fault(query)
    defect = report.defect if report else ""
    log.warning("process %d of a query ended, code %d: %s\n%s", pid, code, query.sql, defect)
    if code in (-signal.SIGKILL, -signal.SIGABRT):
        return memory_fault()
    return Fault(
        code="error",
        message="The engine gave up on this query; its process has ended and took nothing along.",
        next="Write the query in another way.",
    )
