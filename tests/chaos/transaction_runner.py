"""Engine and worker for a list with a transaction in it, in one process that kills itself.

Run as ``python -m tests.chaos.transaction_runner URL NAMESPACE BUCKET HOW``. The process dies by
SIGKILL once for each run that is told so: with the transaction open, in the middle of its commit,
or after it, before anybody could hear of it. Rows and outcomes are in ``data.sqlite`` beside it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Integer, MetaData, String, Table, event
from sqlalchemy.ext.asyncio import create_async_engine

from jobs import Database, JobRegistry, PermanentFailure, Providers, StepContext
from jobs.data import create, update
from jobs.engine import Engine as SagaEngine
from jobs.inline import InlineSteps, inline_targets
from jobs.service import Supervisor
from jobs.sql_database import SqlDatabase, SqlTransaction
from jobs.steps import all_step_jobs
from jobs.worker import Worker
from sagas import sequence, step, steps
from sagas.definition import Registry
from server.running import run_until_signal
from store.jetstream import connect
from store.subjects import Names

ACK_WAIT_S = 2.0
POINTS = ("open", "commit", "committed", "")
TABLES = MetaData()
ACCOUNT = Table(
    "account",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("run", String(40), nullable=False),
    Column("state", String(10), nullable=False),
)

_at_work: ContextVar[StepContext[Any] | None] = ContextVar("_at_work", default=None)


def point(number: int) -> str:
    """Where the process dies for a run, the first time that it comes there."""
    return POINTS[number % len(POINTS)]


def fails(number: int) -> bool:
    """Whether a run fails after its transaction was committed."""
    return number % 3 == 0


def _die(where: str) -> None:
    ctx = _at_work.get()
    if ctx is None or point(ctx.get("number")) != where:
        return
    what = "undo" if ctx.payload.undo else "run"
    try:
        Path(f"died-{where}-{what}-{ctx.key}").touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


class Dying(SqlDatabase):
    """A database whose process may die around a commit."""

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[SqlTransaction]:
        async with super().transaction() as made:
            yield made
            _die("open")
        _die("committed")


async def _mark(ctx: StepContext[Any]) -> dict[str, Any]:
    _at_work.set(ctx)
    return {"run": ctx.key, "state": "new"}


async def _open(ctx: StepContext[Any]) -> dict[str, Any]:
    return {"state": "open"}


async def _end(ctx: StepContext[Any]) -> None:
    if fails(ctx.get("number")):
        raise PermanentFailure("no")


async def _close(ctx: StepContext[Any]) -> None:
    _at_work.set(ctx)
    await ctx.transaction.insert("account", {"run": f"-{ctx.key}", "state": "closed"})


async def _note(ctx: StepContext[Any]) -> None:
    await ctx.transaction.insert("account", {"run": f"+{ctx.key}", "state": "noted"})


booking = steps(
    "Booking",
    [
        sequence(
            "book",
            [
                create("make", "account", _mark, store_as="account"),
                update("open", "account", lambda ctx: ctx.get("account"), _open),
                step("note", _note, _close),
            ],
            transactional=True,
        ),
        step("end", _end),
    ],
)


async def main(url: str, namespace: str, bucket: str, how: str) -> int:
    """Run until told to stop, and say when it runs."""
    names = Names(namespace=namespace, bucket=bucket)
    data = create_async_engine("sqlite+aiosqlite:///data.sqlite")
    event.listen(data.sync_engine, "commit", lambda connection: _die("commit"))
    async with data.begin() as connection:
        await connection.run_sync(TABLES.create_all)
    database = Dying(data, TABLES)
    await database.prepare()
    providers = Providers()
    providers.value(Database, database)
    first, second = await connect(url, names), await connect(url, names)
    registry, jobs = Registry([booking]), JobRegistry(all_step_jobs([booking]))
    inline = InlineSteps(names, inline_targets(registry, jobs)) if how == "inline" else None
    engine = SagaEngine(first, names, registry, inline=inline)
    worker = Worker(second, names, jobs, ack_wait_s=ACK_WAIT_S, inline=inline, providers=providers)
    try:
        supervisor = Supervisor([engine, worker], "transactions")
        return await run_until_signal(supervisor, lambda: print("ready", flush=True))
    finally:
        await first.close()
        await second.close()
        await data.dispose()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    sys.exit(asyncio.run(main(*sys.argv[1:])))
