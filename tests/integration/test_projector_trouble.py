"""Goal: a projector that runs goes on through trouble and tells of it.

Method: the memory broker holds a story; while it is followed the connection is cut, the disk
refuses, messages are nonsense, or readers come too early.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import pytest_asyncio
from msgspec import Struct

from jobs.projector import Projector
from store import codec
from store.duck.file import DuckFile
from store.duck.projection import DuckProjections
from store.live_mask import LiveMask
from store.memory import MemoryBroker
from store.port import Backend
from store.projection.port import ReadError
from tests.projector_kit import Projecting, projecting, retell
from tests.unit.store.projected import tell
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

COUNTED = "SELECT count(*) AS count FROM instances"


class Counted(Struct):
    """A row that is always there."""

    count: int


@pytest_asyncio.fixture
async def broker() -> AsyncIterator[MemoryBroker]:
    """A broker that holds the story."""
    broker = MemoryBroker()
    await retell(broker, await tell())
    yield broker
    await broker.close()


async def test_it_follows_over_a_restart_of_the_broker_and_a_cut(
    broker: MemoryBroker, tmp_path: Path
) -> None:
    backend = broker.backend()
    async with projecting(backend, broker.names, tmp_path / "p") as made:
        backend.cut()
        outside = broker.backend()
        for number in range(5):
            await outside.door.publish(broker.names.event("Nobody", f"k{number}"), b"{}")
        await eventually(lambda: made.projections.progress.fault, 10, "a fault that is shown")
        backend.heal()
        broker.restart()
        await eventually(lambda: not made.projections.progress.fault, 10, "no fault any more")
        await made.caught_up()
        assert len([row for row in made.rows()["events"] if row[1] == "Nobody"]) == 6


async def test_a_disk_that_refuses_is_a_fault_until_it_takes_again(
    broker: MemoryBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with projecting(broker.backend(), broker.names, tmp_path / "p") as made:
        commit = DuckFile._commit

        def refuse(*arguments: Any) -> None:
            raise duckdb.IOException("IO Error: No space left on device")

        monkeypatch.setattr(DuckFile, "_commit", refuse)
        accepted = await broker.backend().door.publish(broker.names.event("Nobody", "k"), b"{}")
        await eventually(lambda: made.projections.progress.fault, 10, "a fault")
        progress = made.projections.progress
        assert "No space left on device; check the disk" in progress.fault
        assert await made.projections.fetch(COUNTED, {}, Counted), "reading goes on"
        monkeypatch.setattr(DuckFile, "_commit", commit)
        await eventually(
            lambda: made.projections.progress.events_seq == accepted.seq, 15, "going on by itself"
        )
        assert made.projections.progress.fault == ""


async def test_waiting_for_a_sequence_ends_when_it_is_applied(
    broker: MemoryBroker, tmp_path: Path
) -> None:
    backend: Backend = broker.backend()
    async with projecting(backend, broker.names, tmp_path / "p") as made:
        last = broker.log.last_seq
        assert await made.projections.wait_for(last, 0.0)
        assert not await made.projections.wait_for(last + 1, 0.05)
        waits = [asyncio.create_task(made.projections.wait_for(last + 1, 10)) for _ in range(3)]
        await asyncio.sleep(0)
        await backend.door.publish(broker.names.signal("operator", "x"), b"{}")
        assert await asyncio.gather(*waits) == [True, True, True]


async def test_how_late_it_is_counts_by_the_broker_not_by_the_machine(
    broker: MemoryBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, go_on = DuckFile._commit, threading.Event()

    def late(*arguments: Any) -> None:
        go_on.wait(20)
        commit(*arguments)

    monkeypatch.setattr(DuckFile, "_commit", late)
    projections = DuckProjections(tmp_path / "p", broker.names, LiveMask())
    backend = broker.backend()
    # The broker's clock stands still at some day long ago.
    at_ns = [stored.at_ns async for stored in backend.log.history(">")]
    now = codec.moment(min(at_ns)) + timedelta(seconds=7)
    projector = Projector(backend, projections, now=lambda: now)
    await projector.start()
    try:
        await eventually(lambda: projections.progress.lag_s, 10, "being behind")
        assert 0 < projections.progress.lag_s <= 7
    finally:
        go_on.set()
        await projector.stop()


async def test_while_it_is_filled_for_the_first_time_reads_are_refused(
    broker: MemoryBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = asyncio.Event()
    loop = asyncio.get_running_loop()
    commit = DuckFile._commit

    def late(*arguments: Any) -> None:
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result(10)
        commit(*arguments)

    monkeypatch.setattr(DuckFile, "_commit", late)
    projections = DuckProjections(tmp_path / "p", broker.names, LiveMask())
    projector = Projector(broker.backend(), projections)
    await projector.start()
    try:
        assert projections.progress.partial
        assert projections.progress.lag > 0
        with pytest.raises(ReadError, match="being rebuilt, 0% are done"):
            await projections.fetch(COUNTED, {}, Counted)
        release.set()
        await Projecting(broker.backend(), projections, projector).caught_up()
        assert await projections.fetch(COUNTED, {}, Counted)
    finally:
        release.set()
        await projector.stop()


async def test_unreadable_messages_are_counted_and_do_not_stop_it(
    broker: MemoryBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with projecting(broker.backend(), broker.names, tmp_path / "p") as made:
        before = made.projections.progress.unreadable
        subject = broker.names.signal("operator", "x")
        await broker.backend().door.publish(subject, b"no json")
        await made.caught_up()
        assert made.projections.progress.unreadable == before + 1
