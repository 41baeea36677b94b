"""Goal: a server of ours that a full disk has stopped is started anew once there is room, and only
then; one that is gone, or can't be started, ends the process.

Method: a server that complains of what the test says, on a disk that is as full as the test says.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytest_asyncio

from server import broker_watch
from server.broker_watch import BrokerWatch, usage_of
from server.embedded import EmbeddedServer
from server.errors import StartFailed
from store.jetstream.backend import JetStreamBackend
from store.port import StoreError
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

FULL = "stream 'A' write error: write 1.blk: no space left on device"
UNSYNCED = "stream 'A' write error: sync 1.blk: input/output error"
GB = 1 << 30


class _Server:
    """What the watch needs of an EmbeddedServer."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = self.log_path = data_dir
        self.store_bytes = GB
        self.running = True
        self.says = ""
        self.asked = self.started = 0
        self.broken = False

    async def complaint(self) -> str:
        self.asked += 1
        return self.says

    async def restart(self) -> None:
        if self.broken:
            raise StartFailed("it ended at once")
        self.started += 1
        self.says = ""


class _Backend:
    """What it needs of a backend: so many bytes are stored."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def usage(self) -> tuple[int, int]:
        return 100_000_000, GB


class _Place:
    """A watch over both, and the disk below."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server, self.backend = _Server(folder), _Backend()
        self.free = 0
        self.total = 100 * GB
        monkeypatch.setattr(broker_watch, "LOOK_S", 0.005)
        monkeypatch.setattr(broker_watch.shutil, "disk_usage", lambda _: self._disk())
        self.watch = BrokerWatch(self._backend, self._server)

    def _disk(self) -> Any:
        return SimpleNamespace(free=self.free, total=self.total)

    @property
    def _backend(self) -> JetStreamBackend:
        return cast("JetStreamBackend", self.backend)

    @property
    def _server(self) -> EmbeddedServer:
        return cast("EmbeddedServer", self.server)

    async def asked_again(self) -> None:
        """Until it has looked three times more."""
        before = self.server.asked
        await eventually(lambda: self.server.asked > before + 2, 10, "more looks")

    async def share(self) -> float:
        """How much of the room is used, as it measures it."""
        usage = await usage_of(self._backend, self._server)
        assert usage is not None
        return usage.share


@pytest_asyncio.fixture
async def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[_Place]:
    """A watch that runs."""
    made = _Place(tmp_path, monkeypatch)
    await made.watch.start()
    yield made
    await made.watch.stop()


async def test_it_is_started_anew_once_there_is_room(
    place: _Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.server.says = FULL
    with caplog.at_level(logging.ERROR, "snorri"):
        await place.asked_again()
    assert place.server.started == 0
    assert [FULL in record.getMessage() for record in caplog.records] == [True], "told once"
    place.free = 10 * GB
    await eventually(lambda: place.server.started == 1, 10, "a start")
    await place.asked_again()
    assert place.server.started == 1


async def test_after_any_other_error_somebody_has_to_look_first(place: _Place) -> None:
    place.server.says, place.free = UNSYNCED, 50 * GB
    await place.asked_again()
    assert place.server.started == 0


async def test_the_last_part_of_a_disk_is_no_room(place: _Place) -> None:
    place.free = 256 * 1024 * 1024
    assert await place.share() == 1.0
    place.free += 100_000_000
    assert await place.share() == pytest.approx(0.5)
    place.total, place.free = 120_000_000, 6_000_000  # of a small disk it is a twentieth
    assert await place.share() == 1.0


async def test_a_server_that_is_gone_ends_it(place: _Place) -> None:
    place.server.running = False
    with pytest.raises(StoreError, match="ended by itself"):
        await asyncio.wait_for(place.watch.wait(), 10)


async def test_a_server_that_can_not_be_started_anew_ends_it(place: _Place) -> None:
    place.server.says, place.free, place.server.broken = FULL, 50 * GB, True
    with pytest.raises(StoreError, match="could not be started anew: it ended at once"):
        await asyncio.wait_for(place.watch.wait(), 10)


async def test_a_connection_that_is_closed_for_good_ends_it(place: _Place) -> None:
    place.backend.closed.set()
    with pytest.raises(StoreError, match="check the credentials"):
        await asyncio.wait_for(place.watch.wait(), 10)


async def test_a_stop_ends_it_well(place: _Place) -> None:
    await place.watch.stop()
    await asyncio.wait_for(place.watch.wait(), 10)
