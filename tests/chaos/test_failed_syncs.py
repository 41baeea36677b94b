"""Goal: when the disk can't sync any more, nothing is acknowledged that is not synced, it is said
what is the matter, nobody turns in a loop, and after a start without the fault all goes on (R09).

Method: `snorri dev` on a nats-server under strace, which lets the syncs of one stream fail from
some moment on, both drawn by the seed, while orders are published; of both streams with
SNORRI_TEST_LONG=1. The judge is the client's own log.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from pathlib import Path

import httpx
import nats
import nats.errors
import pytest
from msgspec import Struct

from store.jetstream import connect
from store.subjects import Names
from tests.chaos.app import LEDGER, fate
from tests.chaos.checks import check_commands, check_ledger, histories
from tests.chaos.failing_disk import UnsyncedServer
from tests.conftest import LONG
from tests.fault_tools import on_linux
from tests.integration.cli_kit import Process, dev, nats_url, port_when_ready
from tests.waiting import eventually, eventually_sync, until_moment

pytestmark = [on_linux, pytest.mark.timeout(240)]

APP = ("--app", "tests.chaos.mixed.app", "--sync-always")
ORDERS_MAX = 1000
EVERY_S = 0.01  # so that not all of them are decided in one commit
ANSWER_S = 1.0
WATCHED_S = 2.0
CPU_MAX = 0.6  # of a core, for a process that can do nothing but wait
LINES_MAX = 40  # of the server's log in a second
JOBS = {
    "good": ("reserve", "charge"),
    "declined": ("reserve", "charge", "release"),
    "out_of_stock": ("reserve",),
}


class _Told(Struct):
    """What the client knows: when it began to publish each order, and which were acknowledged."""

    begun: dict[int, float] = {}
    acked: set[int] = set()


def _blocks(home: Path, stream: str) -> list[Path]:
    folder = home / ".snorri" / "nats" / "js" / "jetstream" / "$G" / "streams" / stream / "msgs"
    return [folder / f"{number}.blk" for number in (1, 2, 3)]


async def _place_until(url: str, faulty: UnsyncedServer, told: _Told) -> None:
    """Order until a sync has failed, and then two times more."""
    client = await nats.connect(url)
    jetstream = client.jetstream(timeout=ANSWER_S)
    left = 3
    for number in range(ORDERS_MAX):
        body = f'{{"order":"o-{number}","fate":"{fate(number)}"}}'.encode()
        subject = Names().event("OrderCreated", f"o-{number}")
        told.begun[number] = time.time()
        try:
            await jetstream.publish(subject, body, headers={"Nats-Msg-Id": f"create-{number}"})
            told.acked.add(number)
        except (nats.errors.Error, TimeoutError):
            left -= 1
        await until_moment(time.monotonic() + EVERY_S)
        left -= bool(faulty.failed())
        if left <= 0:
            break
    await client.close()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _is_calm(process: Process, log: Path) -> None:
    """Nobody tries again and again without a pause."""
    begun_s, cpu_s = time.monotonic(), _cpu_s(process.process.pid)
    lines = log.read_text().count("\n")
    eventually_sync(lambda: time.monotonic() > begun_s + WATCHED_S, 60, "some seconds")
    passed_s = time.monotonic() - begun_s
    assert (_cpu_s(process.process.pid) - cpu_s) / passed_s < CPU_MAX
    assert (log.read_text().count("\n") - lines) / passed_s < LINES_MAX


async def _all_is_there(url: str, ledger: Path, told: _Told) -> None:
    """Every acknowledged order ends as it should, each effect under one id."""
    names = Names()
    backend = await connect(url, names)

    async def ended() -> bool:
        found = await histories(backend, names)
        return all(
            (history := found.get(("ChaosOrder", f"o-{number}")))
            and history[-1].status in ("completed", "failed", "compensated")
            for number in told.acked
        )

    await eventually(ended, 60, "all acknowledged orders having ended")

    async def at_rest() -> bool:
        found = await histories(backend, names)
        return all(history[-1].finished for history in found.values())

    await eventually(at_rest, 60, "the orders without an answer, too")
    found = await histories(backend, names)
    await check_commands(backend, names, found)
    keys = [key for saga, key in found if saga == "ChaosOrder"]
    fates = {key: fate(int(key.removeprefix("o-"))) for key in keys}
    check_ledger(ledger, {(job, key) for key in keys for job in JOBS[fates[key]]})
    await backend.close()


def test_nothing_is_acknowledged_that_can_not_be_synced(
    tmp_path: Path, chance: random.Random
) -> None:
    streams = ["SAGA_EVENTS", "KV_SAGA"]
    for stream in streams if LONG else [chance.choice(streams)]:
        print(f"syncs of {stream} fail")
        home = tmp_path / stream
        home.mkdir()
        _try(stream, home, chance)


def _try(stream: str, home: Path, chance: random.Random) -> None:
    ledger = home / "ledger"
    ledger.touch()
    # Each of some ten threads makes so many; a commit has many orders when all is slow.
    good = chance.randrange(8, 30) if stream == "SAGA_EVENTS" else chance.randrange(2, 6)
    faulty = UnsyncedServer(home, _blocks(home, stream), good)
    told = _Told()
    program = {"SNORRI_NATS_SERVER": str(faulty.program)}
    process = dev(home, *APP, **{LEDGER: str(ledger)}, **program)
    try:
        port = port_when_ready(process)
        asyncio.run(_place_until(nats_url(home / ".snorri"), faulty, told))
        failed = faulty.failed()
        assert failed, "no sync has failed; the fault was not made"
        late = {n for n in told.acked if told.begun[n] > failed[0].at_s}
        assert stream != "SAGA_EVENTS" or not late, "acknowledged, though it could not be synced"

        ready = eventually_sync(lambda: _unready(port), 20, "readiness telling of it")
        assert "store: nats-server says it is not healthy" in ready
        doctor = process.run("doctor", "--port", port, code=1).stdout
        assert "it calls itself unwell" in doctor
        assert "input/output error" in doctor
        assert httpx.get(f"http://127.0.0.1:{port}/health/live").status_code == 200
        _is_calm(process, home / ".snorri" / "nats" / "server.log")
        assert process.stop(signal.SIGTERM) == 0
    finally:
        process.close()

    process = dev(home, *APP, **{LEDGER: str(ledger)})
    try:
        port = port_when_ready(process)
        asyncio.run(_all_is_there(nats_url(home / ".snorri"), ledger, told))
        assert "whole: nothing is missing" in process.run("verify", "--port", port).stdout
    finally:
        process.close()


def _unready(port: str) -> str:
    """Why it is not ready, empty when it is."""
    answer = httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=20)
    return "" if answer.status_code == 200 else answer.text
