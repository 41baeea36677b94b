"""Goal: a query lives in a process without rights that never outlives whoever asked.

Method: queries without end on a console of their own, cancelled, killed and refused; what the
system says of the process is read from /proc.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from store.duck import console_child
from store.duck.console import DuckConsole
from store.projection.console import Query, QueryError
from tests.console_kit import answered, children_of, open_console
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

ENDLESS = "SELECT count(*) FROM range(1000000) a, range(1000000) b"


@pytest_asyncio.fixture
async def console(tmp_path: Path) -> AsyncIterator[DuckConsole]:
    async with open_console(tmp_path, queries_max=2) as opened:
        yield opened


async def _running_child(console: DuckConsole, asked: asyncio.Task[Any]) -> int:
    """The child that works at a query which has begun."""

    def busy() -> int:
        assert not asked.done()
        for pid in children_of(os.getpid()):
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if int(stat[11]) + int(stat[12]) > 60:  # hundredths of a second of work
                return pid
        return 0

    return await eventually(busy, 10.0, "a child at work")


async def test_cancelling_kills_the_child(console: DuckConsole) -> None:
    asked = asyncio.create_task(console.ask(Query(sql=ENDLESS, time_max_s=30.0)))
    pid = await _running_child(console, asked)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert not Path(f"/proc/{pid}").exists()
    assert console.running == 0


async def test_a_child_that_is_killed_is_an_error_and_no_more(console: DuckConsole) -> None:
    asked = asyncio.create_task(console.ask(Query(sql=ENDLESS, time_max_s=30.0)))
    os.kill(await _running_child(console, asked), signal.SIGSEGV)
    with pytest.raises(QueryError, match="gave up"):
        await asked
    assert json.loads(await answered(console, "SELECT 1")) == [[1]]


async def test_no_more_than_so_many_at_once(console: DuckConsole) -> None:
    running = [
        asyncio.create_task(console.ask(Query(sql=ENDLESS, time_max_s=30.0))) for _ in range(2)
    ]
    await eventually(lambda: console.running == 2, 5.0, "two queries running")
    with pytest.raises(QueryError, match="2 queries run already") as refused:
        await console.ask(Query(sql="SELECT 1"))
    assert refused.value.code == "busy"
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert json.loads(await answered(console, "SELECT 1")) == [[1]]


async def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "console" / "answers" / "left"
    left.parent.mkdir(parents=True)
    left.write_text("x")
    async with open_console(tmp_path):
        assert not left.exists()


async def test_a_child_has_given_up_its_rights(console: DuckConsole) -> None:
    asked = asyncio.create_task(console.ask(Query(sql=ENDLESS, time_max_s=30.0)))
    pid = await _running_child(console, asked)
    limits = Path(f"/proc/{pid}/limits").read_text()
    status = Path(f"/proc/{pid}/status").read_text()
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    session = os.getsid(pid)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert environment == b""
    assert session == pid
    assert "NoNewPrivs:\t1" in status
    assert int(stat[16]) >= console_child.NICENESS
    for line in limits.splitlines()[1:]:
        if line.startswith(
            ("Max address space", "Max cpu time", "Max file size", "Max open files")
        ):
            assert "unlimited" not in line, line


OWNER = """
import asyncio, sys
from pathlib import Path
from store.projection.console import Query
from tests.console_kit import open_console

async def main():
    async with open_console(Path(sys.argv[1])) as console:
        await console.ask(Query(sql=sys.argv[2], time_max_s=60.0))

asyncio.run(main())
"""


async def test_children_die_with_their_parent(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path), ENDLESS], cwd=root)
    try:
        await eventually(lambda: len(children_of(owner.pid)) == 2, 20.0, "a child and a spare")
        children = children_of(owner.pid)
    finally:
        owner.kill()
        owner.wait()
    for pid in children:
        await eventually(lambda pid=pid: not Path(f"/proc/{pid}").exists(), 5.0, "the child's end")
