"""Goal: processes start once, stop in order under load, and leave no orphan (R07, R37, R38).

Method: the real command line in processes of its own: a second start on one data directory,
SIGTERM while orders pour in, SIGTERM twice, SIGTERM while the broker is away, kill -9 of `dev`.
"""

from __future__ import annotations

import os
import re
import signal
import time

import nats
import pytest

from tests.chaos.app import GOOD
from tests.chaos.checks import check_commands, histories
from tests.chaos.processes import Process, World
from tests.waiting import eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

GRACE_S = 20.0


def _engine(world: World) -> Process:
    return world.process(
        *("-m", "server", "engine", "--app", "tests.chaos.app"),
        *("--nats-url", world.server.url),
        name="engine",
    )


def _dev(world: World) -> Process:
    return world.process(
        *("-m", "server", "dev", "--app", "tests.chaos.app", "--nats-port", "0"),
        *("--port", "0", "--data", str(world.home / "dev")),
        name="dev",
    )


async def _pour(world: World, count: int) -> None:
    """Publish orders without waiting for anybody."""
    client = await nats.connect(world.server.url)
    for number in range(count):
        body = f'{{"order":"o-{number}","fate":"{GOOD}"}}'.encode()
        await client.publish(world.names.event("OrderCreated", f"o-{number}"), body)
    await client.flush()
    await client.close()


async def _check_all_placed(world: World, count: int) -> None:
    backend = await world.backend()

    async def placed() -> bool:
        found = [m async for m in backend.log.latest(world.names.instances("ChaosOrder"))]
        return len(found) == count

    await eventually(placed, 30, "all orders being placed")
    found = await histories(backend, world.names)
    assert {len(history) for history in found.values()} == {1}
    assert await check_commands(backend, world.names, found) == count


async def test_sigterm_under_load_loses_and_doubles_nothing(home: World) -> None:
    for start in range(3):
        engine = await _engine(home).start("Ctrl-C stops")
        if start == 0:
            await _pour(home, 3000)
        began_s = time.monotonic()
        assert await engine.end(signal.SIGTERM, GRACE_S) == 0, engine.words()
        assert time.monotonic() - began_s < GRACE_S
    await _engine(home).start("Ctrl-C stops")
    await _check_all_placed(home, 3000)


async def test_a_second_sigterm_ends_it_at_once_and_loses_nothing(home: World) -> None:
    engine = await _engine(home).start("Ctrl-C stops")
    await _pour(home, 500)
    os.kill(home.server.pid, signal.SIGSTOP)  # nobody answers: a stop in order takes its grace
    try:
        engine.send(signal.SIGTERM)
        await eventually(lambda: "once more to stop at once" in engine.words(), 10, "the first")
        began_s = time.monotonic()
        assert await engine.end(signal.SIGTERM) == 128 + signal.SIGTERM
        assert time.monotonic() - began_s < 3
    finally:
        os.kill(home.server.pid, signal.SIGCONT)
    await _engine(home).start("Ctrl-C stops")
    await _check_all_placed(home, 500)


async def test_sigterm_while_the_broker_is_away_ends_within_the_grace(home: World) -> None:
    engine = await _engine(home).start("Ctrl-C stops")
    await home.server.kill()
    assert await engine.end(signal.SIGTERM, GRACE_S) == 0, engine.words()
    await home.server.restart()


async def test_a_second_start_on_a_directory_is_refused_with_its_owner(home: World) -> None:
    first = await _dev(home).start("Ctrl-C stops")
    second = await _dev(home).start(ready="")
    assert await second.ended() != 0
    assert str(first.pid) in second.words()
    assert first.alive
    assert await first.end(signal.SIGTERM, GRACE_S) == 0


async def test_a_killed_launcher_leaves_no_server_and_its_directory_starts_again(
    home: World,
) -> None:
    first = await _dev(home).start("Ctrl-C stops")
    conf = str(home.home / "dev" / "nats" / "server.conf")
    (orphan,) = _servers_of(conf)
    await first.end()
    again = await _dev(home).start("Ctrl-C stops")
    await eventually(lambda: orphan not in _servers_of(conf), 20, "the orphan being gone")
    assert len(_servers_of(conf)) == 1
    assert await again.end(signal.SIGTERM, GRACE_S) == 0
    await eventually(lambda: not _servers_of(conf), 20, "no server being left")


def _servers_of(conf: str) -> list[int]:
    """The nats-servers that run with a configuration file."""
    found: list[int] = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().decode(errors="replace").split("\0")
        except OSError:
            continue
        if conf in words and re.search(r"nats-server[^/]*$", words[0]):
            found.append(int(pid))
    return found
