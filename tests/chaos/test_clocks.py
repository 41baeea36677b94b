"""Goal: nothing depends on the clock of a machine. Delays are not cut short, commands are not given
up before their deadline, and what the history says of times is true (R24).

Method: two engines and two workers, one of each two minutes ahead of the broker and one two minutes
behind, by libfaketime; then their clocks jump by four minutes, each to the other side. What counts
are the broker's stamps.
"""

from __future__ import annotations

import asyncio
import json
import signal
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from sagas.instance import Instance, decode
from store.jetstream import JetStreamBackend
from store.port import Stored
from tests.chaos.clock_app import DELAY_S
from tests.chaos.processes import Process, World
from tests.fault_tools import faketime_path, on_linux
from tests.waiting import eventually

pytestmark = [on_linux, pytest.mark.asyncio, pytest.mark.timeout(120)]

APP = "tests.chaos.clock_app"
AHEAD, BEHIND = "+120", "-120"
EARLY_S = 0.3  # the broker looks for due timers now and then
LATE_S = 20.0  # on a busy machine; a clock that is wrong makes it two minutes
COUNT = 10


class _Moved:
    """A process whose clock is moved, as the file says."""

    def __init__(self, home: World, role: str, offset: str) -> None:
        library = faketime_path()
        assert library is not None, "say: python -m tests.fault_tools"
        self._file = home.home / f"{role}{offset}.clock"
        self.set(offset)
        self.process: Process = home.process(
            *("-m", "server", role, "--app", APP, "--nats-url", home.url),
            name=f"{role}{offset}",
            LD_PRELOAD=library,
            FAKETIME_TIMESTAMP_FILE=str(self._file),
            FAKETIME_NO_CACHE="1",
            FAKETIME_DONT_FAKE_MONOTONIC="1",
            DONT_FAKE_MONOTONIC="1",  # as older ones call it
        )

    def set(self, offset: str) -> None:
        """Move the clock, at once."""
        fresh = Path(f"{self._file}.new")
        fresh.write_text(offset)
        fresh.replace(self._file)  # never half written


async def _begin(home: World, backend: JetStreamBackend, keys: list[str]) -> None:
    for key in keys:
        body = json.dumps({"key": key, "at": 0}).encode()
        await backend.door.publish(home.names.event("PacedBegun", key), body, {}, f"begin-{key}")


async def _told(home: World, backend: JetStreamBackend) -> dict[str, list[tuple[Stored, Instance]]]:
    """All versions of all instances, by saga and key."""
    found: dict[str, list[tuple[Stored, Instance]]] = {}
    async for stored in backend.log.history(home.names.instances()):
        instance = decode(stored.data)
        found.setdefault(f"{instance.saga}/{instance.key}", []).append((stored, instance))
    return found


async def _all_end(home: World, backend: JetStreamBackend, keys: list[str]) -> None:
    async def ended() -> bool:
        found = await _told(home, backend)
        return all(
            (history := found.get(f"Paced/{key}")) and history[-1][1].finished for key in keys
        )

    await eventually(ended, 60, "all of them having ended")


def _check_paced(history: list[tuple[Stored, Instance]]) -> None:
    first, last = history[0], history[-1]
    state = msgspec.json.decode(last[1].state)
    assert state["waked"] == 1
    assert state.get("answered"), f"its command was given up: {state}"
    waited_s = (last[0].at_ns - first[0].at_ns) / 1e9
    assert DELAY_S - EARLY_S <= waited_s <= DELAY_S + LATE_S
    for stored, instance in history:
        stamp = datetime.fromtimestamp(stored.at_ns / 1e9, UTC)
        assert abs((instance.at - stamp).total_seconds()) < LATE_S


async def test_clocks_that_are_wrong_and_jump_change_nothing(home: World) -> None:
    backend = await home.backend()
    moved = [_Moved(home, role, o) for role in ("engine", "jobs") for o in (AHEAD, BEHIND)]
    await asyncio.gather(*(one.process.start("Ctrl-C stops") for one in moved))
    keys = [f"a-{number}" for number in range(COUNT)]
    await _begin(home, backend, keys)
    await _all_end(home, backend, keys)

    for one, offset in zip(moved, (BEHIND, AHEAD) * 2, strict=True):
        one.set(offset)
    more = [f"b-{number}" for number in range(COUNT)]
    await _begin(home, backend, more)
    await _all_end(home, backend, more)

    found = await _told(home, backend)
    for key in (*keys, *more):
        _check_paced(found[f"Paced/{key}"])
    ticks = {key: history for key, history in found.items() if key.startswith("Ticking/")}
    assert len(ticks) >= DELAY_S
    for name, history in ticks.items():
        due = datetime.fromisoformat(name.removeprefix("Ticking/"))
        stamp = datetime.fromtimestamp(history[0][0].at_ns / 1e9, UTC)
        assert 0 <= (stamp - due).total_seconds() < LATE_S, "a tick by another clock"
    leases = [entry for entry in await backend.meta.entries("lease.") if entry.data]
    assert len(leases) == backend.partitions
    assert len({entry.data for entry in leases}) == 2, "both engines hold partitions"
    for one in moved:
        assert "s from the broker's" in one.process.words(100_000), "its clock was not moved"
        assert await one.process.end(signal.SIGTERM) == 0
