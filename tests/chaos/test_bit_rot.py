"""Goal: one bit that has turned on the disk is found and named, and nobody else suffers (R06).

Method: the server is stopped, a bit in the middle of a block is turned, once inside the revision of
one order and once among the events. nats-server says nothing of it; `snorri verify` must, and the
engine must go on with all other orders.
"""

from __future__ import annotations

import asyncio
import signal

import pytest

from store.jetstream import JetStreamBackend
from store.port import Unreachable
from tests.chaos.checks import histories
from tests.chaos.inside import engine_inside
from tests.chaos.processes import World
from tests.chaos.test_lost_tail import _all_placed, _order
from tests.waiting import eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

ORDERS = 40


def _turn_a_bit(home: World, stream: str, inside: bytes) -> None:
    """Turn a bit of the first message that holds these bytes."""
    folder = next(path for path in home.home.rglob("msgs") if path.parent.name == stream)
    for block in sorted(folder.glob("*.blk"), key=lambda path: int(path.stem)):
        data = bytearray(block.read_bytes())
        at = data.find(inside)
        if at >= 0:
            data[at + len(inside) // 2] ^= 1
            block.write_bytes(bytes(data))
            return
    raise AssertionError(f"no block of {stream} holds {inside!r}")


async def _verify(home: World) -> tuple[int, str]:
    arguments = ("verify", "--no-projections", "--nats-url", home.server.url)
    process = home.process("-m", "server", *arguments, name="verify")
    await process.start(ready="")
    assert process._process is not None
    out, _ = await asyncio.wait_for(process._process.communicate(), 60)
    return process._process.returncode or 0, " ".join(out.decode().split())


async def _with_a_bit_turned(home: World, stream: str, inside: bytes) -> None:
    async with engine_inside(home) as engine:
        await _order(home, engine, range(ORDERS))
        await _all_placed(home, engine, range(ORDERS))
    await home.server._end(signal.SIGTERM)
    _turn_a_bit(home, stream, inside)
    await home.server.restart()


async def _goes_on(home: World, engine: JetStreamBackend) -> None:
    """New orders are placed, whatever has become of an old one."""
    await engine.door.publish(home.names.event("Viewed", "o-20"), b'{"order":"o-20"}')
    await _order(home, engine, range(100, 100 + ORDERS))
    subjects = [home.names.instance("ChaosOrder", f"o-{100 + n}") for n in range(ORDERS)]

    async def placed() -> bool:
        return len(await engine.log.load(subjects)) == ORDERS

    await eventually(placed, 20, "new orders being placed")


async def test_a_revision_is_named_and_other_orders_go_on(
    home: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _with_a_bit_turned(home, home.names.log_stream, b'"key":"o-20"')
    code, told = await _verify(home)
    assert code == 1
    assert "ChaosOrder/o-20 has no version 1" in told, told
    monkeypatch.setattr("store.jetstream.log.STALL_S", 2.0)
    backend = await home.backend()
    with pytest.raises(Unreachable, match="holds a message that can't be read; `snorri verify`"):
        await histories(backend, home.names)
    async with engine_inside(home, id="after") as engine:
        await _goes_on(home, engine)


async def test_events_are_named_and_new_orders_are_placed(home: World) -> None:
    await _with_a_bit_turned(home, home.names.events_stream, b"create-20")
    code, told = await _verify(home)
    assert code == 1
    assert "missing event" in told, told
    async with engine_inside(home, id="after") as engine:
        await _goes_on(home, engine)
