"""Goal: what had ended and is back after a crash of the broker counts for nobody.

Method: a nats-server that dies after some minutes rebuilds a stream from its blocks, in which keys
stand that ran out long ago, and reads the times to live of the newest messages only, so those keys
stay for good. That is made by hand: the block from before their end under the state from after it.
Then an engine must not share its partitions with dead engines, nor wait for their leases.
"""

from __future__ import annotations

import signal
from pathlib import Path

import msgspec
import nats
import pytest

from jobs.rollout import new_card
from store.cards import engine_cards, worker_cards
from tests.chaos.inside import engine_inside
from tests.chaos.processes import World
from tests.waiting import eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(120)]

DEAD = ("dead-1", "dead-2", "dead-3")
TTL_S = 2


async def _live_a_moment(home: World) -> None:
    """Engines and their leases, which nobody renews."""
    meta = (await home.backend()).meta
    for id in DEAD:
        card = msgspec.json.encode(new_card(id, "here", 1))
        await meta.put(f"engine.{id}", card, ttl_s=TTL_S)
        await meta.put(f"worker.{id}", b"{}", ttl_s=TTL_S)
    for number in range(4):
        await meta.put(f"lease.{number}", b"dead-1", ttl_s=TTL_S)


def _block(home: World) -> Path:
    folder = next(
        path for path in home.home.rglob("msgs") if path.parent.name == home.names.meta_stream
    )
    return max(folder.glob("*.blk"), key=lambda path: int(path.stem))


async def _bring_back(home: World) -> None:
    """Let them end, then start the server on the block of before."""
    await home.server._end(signal.SIGTERM)
    before = _block(home).read_bytes()
    await home.server.restart()
    meta = (await home.backend()).meta

    async def ended() -> bool:
        return not await meta.entries("engine.") and not await meta.entries("lease.")

    await eventually(ended, 20, "their end")
    await home.server._end(signal.SIGTERM)
    block = _block(home)
    block.write_bytes(before)
    (block.parent / "index.db").unlink()
    await home.server.restart()


async def _stored(home: World) -> int:
    """How many engines and leases the server itself says are there."""
    client = await nats.connect(home.server.url)
    try:
        info = await client.jetstream().stream_info(home.names.meta_stream, subjects_filter=">")
        names = info.state.subjects or {}
        return sum(".engine.dead" in name or ".lease." in name for name in names)
    finally:
        await client.close()


async def test_dead_engines_that_are_back_hold_no_partitions(home: World) -> None:
    await _live_a_moment(home)
    await _bring_back(home)
    assert await _stored(home) == len(DEAD) + 4, "they are not back; the fault was not made"
    async with engine_inside(home, id="alive") as backend:
        assert [card.id for card in await engine_cards(backend.meta)] == ["alive"]
        assert await worker_cards(backend.meta) == []
        leases = {entry.key: entry.data for entry in await backend.meta.entries("lease.")}
        assert leases == {f"lease.{number}": b"alive" for number in range(4)}
