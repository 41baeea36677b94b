"""Goal: the routing to cells that docs/cluster.md describes is even, moves little, and is what
nats-server would do.

Method: the simulation's own report must stand in the page, word for word; its slots are compared
with those that a real server gives.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from store.jetstream import connect
from store.subjects import Names
from tests.conftest import NatsServer
from tests.simulation.cells import SLOTS, even, grown, moved, report, slot_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cluster.md"


def test_the_page_says_what_the_simulation_says() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for line in report():
        assert line in text, f"docs/cluster.md lacks: {line}"


def test_one_more_cell_moves_its_own_share_and_nothing_else() -> None:
    keys = [f"k-{number}" for number in range(20_000)]
    table = even(4)
    for cells in range(4, 12):
        after = grown(table, cells)
        assert {cell for old, cell in zip(table, after, strict=True) if old != cell} == {cells}
        assert abs(moved(table, after, keys) - 1 / (cells + 1)) < 0.03
        table = after


@pytest.mark.asyncio
async def test_slots_are_those_of_the_server(
    nats_server: NatsServer, fresh_names: Callable[[], Names]
) -> None:
    names = fresh_names()
    partitions = 64  # the most that one of our streams may have; slots are by the same function
    backend = await connect(nats_server.url, names, partitions=partitions)
    for number in range(40):
        accepted = await backend.door.publish(names.event("Made", f"o-{number}"), b"{}")
        stored = await backend.log.at("events", accepted.seq)
        assert stored is not None
        given = int(stored.subject.split(".")[2])
        assert slot_of(f"o-{number}") % partitions == given  # 64 divides 256
    assert SLOTS % partitions == 0
    await backend.close()
