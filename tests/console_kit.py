"""What tests of the SQL console share: a small database as the projections have it, and a console.

The database is made by the DDL of the projections and filled by SQL, so that a test of what a query
may do needs neither a broker nor a projector.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import duckdb

from store.duck.console import DuckConsole, Snapshot
from store.duck.tables import ddl
from store.projection.console import Answer, Freshness, Query
from tests.waiting import eventually

ROWS = 1000
FILL = f"""
INSERT INTO base.instances BY NAME
SELECT 'CheckoutSaga' AS saga, 'o-' || i AS key, 3 AS version,
    CASE i % 4 WHEN 0 THEN 'running' ELSE 'completed' END AS status,
    json_object('orderId', 'o-' || i, 'total', i, 'note', '=1+1') AS state,
    TIMESTAMPTZ '2026-01-01 00:00:00+00' + INTERVAL (i) SECOND AS started_at, i AS seq
FROM range({ROWS}) AS t(i)
"""


class FixedSnapshots:
    """One database that nobody writes; counts who reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.taken = 0

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    async def take(self, log_seq: int) -> Snapshot:
        """The database."""
        self.taken += 1
        freshness = Freshness(log_seq=42, events_seq=7, lag=0, age_s=0.5)
        return Snapshot(path=self.path, freshness=freshness)

    def give_back(self, snapshot: Snapshot) -> None:
        """One reader less."""
        self.taken -= 1


def make_database(folder: Path) -> Path:
    """A database with some instances."""
    path = folder / "snorri.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(ddl())
        connection.execute(FILL)
    return path


@asynccontextmanager
async def open_console(folder: Path, *, queries_max: int = 4) -> AsyncGenerator[DuckConsole]:
    """A console over a small database of its own; at the end nothing of it may be left."""
    snapshots = FixedSnapshots(make_database(folder))
    console = DuckConsole(snapshots, folder / "console", queries_max=queries_max)
    await console.start()
    try:
        yield console
    finally:
        await console.stop()
    assert snapshots.taken == 0
    assert console.running == 0
    await eventually(lambda: not children_of(os.getpid()), 5.0, "every child being reaped")
    assert not (folder / "console" / "answers").exists()


async def answered(console: DuckConsole, sql: str, **more: object) -> bytes:
    """The body of an answer."""
    found = await console.ask(Query(sql=sql, **more))  # type: ignore[arg-type]
    return content(found)


def content(answer: Answer) -> bytes:
    """All of an answer's file."""
    with answer.file as file:
        return file.read()


def children_of(pid: int) -> list[int]:
    """Processes that a process has started and that were not reaped yet, of the console only."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            command = Path(f"/proc/{child}/cmdline")
            if (
                not command.exists()
                or b"console_child" in (data := command.read_bytes())
                or not data
            ):
                found.append(int(child))
    return found
