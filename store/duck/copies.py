"""Copies of the projections that questions read: seconds old at most, never in the writer's way.

Only one process may open a file that is written, so questions read copies. A copy is duplicated
once as a file and from then on brought up to date: every row bears the ``tick`` of the batch that
wrote it last, and what has a higher one than the copy replaces what is there. A copy that somebody
reads stays as it is; another one is renewed then. After a rebuild the copies start anew.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import duckdb
import msgspec
from msgspec import Struct

from store.duck import duplicate
from store.duck.console import Snapshot
from store.projection.checkpoint import Checkpoint
from store.projection.console import Freshness
from store.projection.port import Progress, ReadError

log = logging.getLogger("snorri.sql")

RENEW_S = 2.0  # a copy of that age is renewed before it is read
OPEN_S = 5.0  # a question waits so long for projections that open or are still built anew
OPEN_LOOK_S = 0.05
IDLE_S = 300.0  # a copy nobody reads for so long gives its room back
BEHIND_MAX = 200_000  # messages; a copy further behind is duplicated anew, which costs less
ATTEMPTS = 3
NAME = "snorri"  # how people may call the database

# Where rows change: the column by which they are found. Rows with the same value (hashes may meet)
# are replaced together.
KEYS = {
    "instances": "ident",
    "commands": "hash",
    "events": "seq",
    "timers": "place",
    "dead_letters": "id",
    "operator_actions": "seq",
}
TABLES = (*KEYS, "transitions", "effects", "outcomes", "executions", "failures", "unreadable")


class Live(Protocol):
    """The file that is written."""

    @property
    def path(self) -> Path: ...

    @property
    def checkpoint(self) -> Checkpoint | None: ...

    def cursor(self) -> duckdb.DuckDBPyConnection: ...


class Source(Protocol):
    """Where copies come from."""

    @property
    def progress(self) -> Progress: ...

    def live(self) -> Live:
        """The file that is read now; raises ReadError."""
        ...

    def at_rest(self) -> AbstractAsyncContextManager[Live]:
        """The same with all it holds in the file itself, which does not change on the disk while
        this lasts; raises ReadError.
        """
        ...


class _Copy(Struct, kw_only=True, eq=False):
    """One copy; ``of`` is the file it was made of, ``users`` are questions that read it."""

    path: Path
    of: Path
    checkpoint: Checkpoint = Checkpoint(schema=0, code="")
    lag: int = 0
    lag_s: float = 0.0
    read_s: float = 0.0
    used_s: float = 0.0
    users: int = 0


class Copies:
    """Hands out the newest copy; ``folder`` is theirs alone. All in one event loop."""

    def __init__(
        self, source: Source, folder: Path, *, renew_s: float = RENEW_S, open_s: float = OPEN_S
    ) -> None:
        self._source = source
        self._folder = folder.absolute()  # others work in other directories
        self._renew_s = renew_s
        self._open_s = open_s
        self._copies: list[_Copy] = []
        self._newest: _Copy | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._made = 0
        self._thread = ThreadPoolExecutor(1, "projection-copy")

    async def open(self) -> None:
        """Remove what a process that was killed has left."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, mode=0o700)

    async def close(self) -> None:
        """Remove all copies."""
        if self._renewing is not None:
            await asyncio.wait({self._renewing})
        self._thread.shutdown()
        self._copies.clear()
        self._newest = None
        shutil.rmtree(self._folder, ignore_errors=True)

    async def take(self, log_seq: int = 0) -> Snapshot:
        """A copy that is fresh enough and stays as it is until given back; raises ReadError.

        It holds the log up to ``log_seq``, if the projections do. Right after a start it waits a
        while for them to open.
        """
        await self._opened()
        while (copy := self._newest) is None or not self._is_fresh(copy, log_seq):
            if self._renewing is None:
                self._renewing = asyncio.create_task(self._renew())
                self._renewing.add_done_callback(self._renewed)
            await asyncio.shield(self._renewing)
        copy.users += 1
        return Snapshot(path=copy.path, freshness=self._freshness(copy))

    async def _opened(self) -> None:
        end_s = time.monotonic() + self._open_s
        while True:
            try:
                self._source.live()
                return
            except ReadError:
                if time.monotonic() >= end_s:
                    raise
            await asyncio.sleep(OPEN_LOOK_S)

    def give_back(self, snapshot: Snapshot) -> None:
        """Whoever took it has read it."""
        for copy in self._copies:
            if copy.path == snapshot.path:
                copy.users -= 1
                copy.used_s = time.monotonic()

    def _is_fresh(self, copy: _Copy, log_seq: int) -> bool:
        live = self._source.live()
        if copy.of != live.path:
            return False
        young = time.monotonic() - copy.read_s < self._renew_s
        complete = copy.checkpoint.log.applied >= log_seq
        return (young and complete) or _tick(live) == copy.checkpoint.tick

    def _freshness(self, copy: _Copy) -> Freshness:
        current = _tick(self._source.live()) == copy.checkpoint.tick
        since_s = 0.0 if current else time.monotonic() - copy.read_s
        return Freshness(
            log_seq=copy.checkpoint.log.applied,
            events_seq=copy.checkpoint.events.applied,
            lag=copy.lag,
            age_s=copy.lag_s + since_s,
        )

    def _renewed(self, task: asyncio.Task[None]) -> None:
        self._renewing = None
        if not task.cancelled():
            task.exception()  # whoever waited has it; nobody may have

    async def _renew(self) -> None:
        """Bring a copy nobody reads up to date, or make one; raises ReadError."""
        for attempt in range(1, ATTEMPTS + 1):
            live = self._source.live()
            copy = self._spare(live)
            self._newest = None
            try:
                if copy is None:
                    copy = await self._duplicate()
                await self._update(live, copy)
            except (duckdb.Error, OSError, msgspec.DecodeError) as error:
                # The file may have been replaced by a rebuilt one meanwhile.
                if copy is not None:
                    self._drop(copy)
                if attempt == ATTEMPTS:
                    raise ReadError(
                        f"the copy for questions can't be renewed: {str(error).splitlines()[0]}; "
                        "try again, and look at the disk of the data directory when it stays so"
                    ) from error
                log.info("the copy for questions is made anew: %s", error)
            else:
                self._newest = copy
                return

    def _spare(self, live: Live) -> _Copy | None:
        """The copy to bring up to date, None when there is none; drops those of no more use."""
        now = time.monotonic()
        free = [copy for copy in self._copies if copy.users == 0]
        for copy in free:
            behind = _tick(live) - copy.checkpoint.tick
            idle = now - copy.used_s > IDLE_S and copy is not self._newest
            if copy.of != live.path or not 0 <= behind <= BEHIND_MAX or idle:
                self._drop(copy)
        free = [copy for copy in free if copy in self._copies]
        return max(free, key=lambda copy: copy.checkpoint.tick, default=None)

    async def _duplicate(self) -> _Copy:
        """A new copy as the file stood at its last checkpoint."""
        async with self._source.at_rest() as live:
            self._made += 1
            path = self._folder / str(self._made) / f"{NAME}.duckdb"
            path.parent.mkdir()
            copy = _Copy(path=path, of=live.path, used_s=time.monotonic())
            self._copies.append(copy)
            command = (sys.executable, "-I", "-S", duplicate.__file__, str(live.path), str(path))
            process = await asyncio.create_subprocess_exec(*command, env={})
            code = await process.wait()
        if code:
            self._drop(copy)
            raise OSError(f"duplicating the projections ended with code {code}")
        return copy

    async def _update(self, live: Live, copy: _Copy) -> None:
        progress = self._source.progress
        read_s = time.monotonic()
        loop = asyncio.get_running_loop()
        copy.checkpoint = await loop.run_in_executor(self._thread, update, live, copy.path)
        copy.lag, copy.lag_s, copy.read_s = progress.lag, progress.lag_s, read_s

    def _drop(self, copy: _Copy) -> None:
        self._copies.remove(copy)
        shutil.rmtree(copy.path.parent, ignore_errors=True)


def _tick(live: Live) -> int:
    return live.checkpoint.tick if live.checkpoint is not None else 0


def update(live: Live, path: Path) -> Checkpoint:
    """Bring the copy at ``path`` up to date; blocks. Raises duckdb.Error."""
    with live.cursor() as cursor:
        cursor.execute(f"ATTACH '{_quoted(path)}' AS copy (RECOVERY_MODE no_wal_writes)")
        try:
            made = _checkpoint(cursor, "copy.base.checkpoint")
            cursor.execute("BEGIN")
            try:
                for sql in statements(made.tick):
                    cursor.execute(sql)
                now = _checkpoint(cursor, "base.checkpoint")
                cursor.execute("COMMIT")
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
            cursor.execute("CHECKPOINT copy")
        finally:
            cursor.execute("DETACH copy")
    return now


def statements(tick: int) -> Sequence[str]:
    """What makes a copy of that tick equal to the tables of now."""
    made: list[str] = []
    for table in TABLES:
        new = f"tick > {tick}"
        if key := KEYS.get(table):
            found = f"{key} IN (SELECT {key} FROM base.{table} WHERE {new})"  # noqa: S608
            made.append(f"DELETE FROM copy.base.{table} WHERE {found}")  # noqa: S608
            # By way of rowid only the rows that are found are read in all their columns.
            new = f"rowid IN (SELECT rowid FROM base.{table} WHERE {found})"  # noqa: S608
        made.append(f"INSERT INTO copy.base.{table} BY NAME FROM base.{table} WHERE {new}")
    made.append("UPDATE copy.base.checkpoint SET record = (SELECT record FROM base.checkpoint)")
    return made


def _checkpoint(cursor: duckdb.DuckDBPyConnection, table: str) -> Checkpoint:
    found: Any = cursor.execute(f"SELECT record FROM {table}").fetchone()  # noqa: S608
    return msgspec.json.decode(found[0], type=Checkpoint)


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
