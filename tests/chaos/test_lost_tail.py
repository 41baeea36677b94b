"""Goal: a server that lost its last writes is found out, and goes on without skipping (R05).

Method: what an unsynced crash does is made by hand: stop the server, cut a third off the newest
block of a stream, remove its index. Then `snorri doctor` must name what is missing, and the engine
must handle every event that is published afterwards, although old sequences are given out again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import signal

import pytest

from store.jetstream import JetStreamBackend
from tests.chaos.app import GOOD
from tests.chaos.checks import check_commands, commands, histories
from tests.chaos.inside import engine_inside
from tests.chaos.processes import World
from tests.waiting import eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(90)]

ORDERS = 40


async def _order(world: World, backend: JetStreamBackend, numbers: range) -> None:
    for number in numbers:
        body = json.dumps({"order": f"o-{number}", "fate": GOOD}).encode()
        subject = world.names.event("OrderCreated", f"o-{number}")
        await backend.door.publish(subject, body, {}, f"create-{number}")


async def _all_placed(world: World, backend: JetStreamBackend, numbers: range) -> None:
    async def look() -> bool:
        found = await histories(backend, world.names)
        return {f"o-{number}" for number in numbers} <= {key for _, key in found}

    await eventually(look, 20, "all orders being placed")


async def _lose_tail(world: World, stream: str) -> None:
    """Stop the broker and take the end of a stream away, as if it had never been synced."""
    await world.server._end(signal.SIGTERM)  # keeps the directory, unlike stop
    folder = next(path for path in world.home.rglob("msgs") if path.parent.name == stream)
    block = max(folder.glob("*.blk"), key=lambda path: int(path.stem))
    data = block.read_bytes()
    block.write_bytes(data[: len(data) * 2 // 3])
    for index in folder.rglob("index.db"):
        index.unlink()
    await world.server.restart()


async def _doctor(world: World) -> tuple[int, str]:
    process = world.process("-m", "server", "doctor", "--nats-url", world.server.url, name="doctor")
    await process.start(ready="")
    assert process._process is not None
    out, _ = await asyncio.wait_for(process._process.communicate(), 60)
    return process._process.returncode or 0, " ".join(out.decode().split())


async def test_lost_events_are_named_and_new_ones_are_handled(
    home: World, caplog: pytest.LogCaptureFixture
) -> None:
    async with engine_inside(home) as engine:
        await _order(home, engine, range(ORDERS))
        await _all_placed(home, engine, range(ORDERS))
    await _lose_tail(home, home.names.events_stream)
    code, told = await _doctor(home)
    assert code == 1
    assert "ends of the streams" in told
    assert "which is gone" in told
    backend = await home.backend()
    await _order(home, backend, range(100, 100 + ORDERS))  # they take the lost sequences
    with caplog.at_level(logging.ERROR, "snorri.engine"):
        async with engine_inside(home, id="after") as engine:
            await _all_placed(home, engine, range(100, 100 + ORDERS))
    assert "the server has lost its last writes" in caplog.text
    found = await histories(backend, home.names)
    assert len(found) == 2 * ORDERS
    assert {len(history) for history in found.values()} == {1}
    await check_commands(backend, home.names, found)


async def test_a_lost_end_of_the_log_is_decided_again(home: World) -> None:
    """Transitions and their positions are lost together, so their events are read again.

    The cut can go through a commit: then doctor names the revision whose end is gone, and only its
    commands may be missing.
    """
    async with engine_inside(home) as engine:
        await _order(home, engine, range(ORDERS))
        await _all_placed(home, engine, range(ORDERS))
    before = await histories(await home.backend(), home.names)
    await _lose_tail(home, home.names.log_stream)
    code, told = await _doctor(home)
    torn = set(re.findall(r"of ChaosOrder/(\S+) has lost the end of its commit", told))
    assert bool(torn) == (code == 1), told
    async with engine_inside(home, id="after") as engine:
        await _all_placed(home, engine, range(ORDERS))
        found = await histories(engine, home.names)
        assert set(found) == set(before)
        assert {len(history) for history in found.values()} == {1}
        sent = {id.split(".")[1] for id in await commands(engine, home.names)}
        missing = {f"o-{number}" for number in range(ORDERS)} - sent
        assert missing <= torn
