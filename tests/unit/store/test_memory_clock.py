"""Goal: time in the memory broker is in order when moved by hand, and passes by itself with the
system clock.

Method: plan moments and look at what ran when; cron times are compared with a calendar written by
hand.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from store.memory import MemoryBroker, SystemClock, VirtualClock
from store.memory.clock import NS, START_NS, Agenda
from store.memory.cron import BadCron, parse_cron
from store.memory.routing import fnv1a
from store.port import Outgoing
from store.schedules import arm


def test_what_is_due_runs_by_its_moment_then_by_its_entry() -> None:
    clock = VirtualClock(0)
    agenda = Agenda(clock)
    ran: list[str] = []
    for due_ns, name in ((5, "c"), (3, "a"), (5, "d"), (4, "b"), (9, "never")):
        agenda.at(due_ns, lambda name=name: ran.append(name))
    clock.move_to(2)
    agenda.run_due()
    assert ran == []
    clock.move_to(5)
    agenda.run_due()
    assert ran == ["a", "b", "c", "d"]
    assert agenda.next_ns() == 9


def test_time_does_not_go_back() -> None:
    clock = VirtualClock()
    with pytest.raises(ValueError, match="forward"):
        clock.move_to(START_NS - 1)


@pytest.mark.asyncio
async def test_advance_stops_at_each_moment() -> None:
    broker = MemoryBroker()
    backend = broker.backend()
    names = broker.names
    for name, second in (("a", 3), ("b", 1), ("c", 2)):
        at = datetime.fromtimestamp(START_NS / NS + second, UTC)
        await backend.log.commit(
            [arm(names.timer("S", "k", name), names.signal(name, "k"), at, b"")]
        )
    await broker.advance(10)
    fired = [m async for m in backend.log.history(f"{names.namespace}.sig.>")]
    assert [(m.at_ns - START_NS) / NS for m in fired] == [1, 2, 3]
    assert broker.clock.now_ns() == START_NS + 10 * NS
    assert broker.next_ns() is None


@pytest.mark.asyncio
async def test_the_same_calls_give_the_same_broker() -> None:
    async def run() -> list[object]:
        broker = MemoryBroker()
        backend = broker.backend()
        names = broker.names
        queue = await backend.queues.open("pay", ack_wait_s=5, in_flight_max=3)
        found: list[object] = []
        for number in range(20):
            batch = [
                Outgoing(names.instance("S", f"k{number % 3}"), b"%d" % number),
                Outgoing(names.command("pay", f"k{number}"), b""),
            ]
            found.append(await backend.log.commit(batch))
            for work in await queue.take(2, 0):
                found.append((work.seq, work.attempt, work.at_ns))
                if number % 4:
                    await work.ack()
            await broker.advance(1.7)
        return found

    assert await run() == await run()


@pytest.mark.asyncio
async def test_only_a_virtual_clock_can_be_advanced() -> None:
    broker = MemoryBroker(clock=SystemClock())
    with pytest.raises(TypeError, match="VirtualClock"):
        await broker.advance(1)


@pytest.mark.asyncio
async def test_with_the_system_clock_timers_fire_by_themselves() -> None:
    broker = MemoryBroker(clock=SystemClock())
    backend = broker.backend()
    names = broker.names
    woken = asyncio.Event()
    feed = await backend.feeds.open("log", names.signal_filters(2), 0, woken.set)
    due_s = time.time() + 0.1
    for name, second in (("later", due_s + 3600), ("soon", due_s)):
        at = datetime.fromtimestamp(second, UTC)
        await backend.log.commit(
            [arm(names.timer("S", "k", name), names.signal(name, "k"), at, b"")]
        )
    await asyncio.wait_for(woken.wait(), 5)
    assert time.time() >= due_s
    assert [m.subject for m in feed.take(9)] == ["saga.sig.2.soon.k"]
    await broker.close()


@pytest.mark.asyncio
async def test_with_the_system_clock_a_take_waits_its_time() -> None:
    broker = MemoryBroker(clock=SystemClock())
    queue = await broker.backend().queues.open("pay", ack_wait_s=5, in_flight_max=3)
    before_s = time.monotonic()
    assert await queue.take(1, 0.1) == []
    assert time.monotonic() - before_s >= 0.09
    await broker.close()


@pytest.mark.parametrize(
    ("pattern", "zone", "after", "expected"),
    [
        ("0 0 2 * * *", "UTC", "2026-01-01T02:00:00", "2026-01-02T02:00:00"),
        ("0 0 2 * * *", "UTC", "2026-01-01T01:59:59", "2026-01-01T02:00:00"),
        ("*/20 * * * * *", "UTC", "2026-01-01T00:00:45", "2026-01-01T00:01:00"),
        ("0 30 9 * * MON-FRI", "UTC", "2026-01-02T09:30:00", "2026-01-05T09:30:00"),
        ("0 0 0 29 2 *", "UTC", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 0 0 13 * FRI", "UTC", "2026-01-01T00:00:00", "2026-01-02T00:00:00"),
        ("0 0 0 ? DEC *", "UTC", "2026-01-01T00:00:00", "2026-12-01T00:00:00"),
        ("@monthly", "UTC", "2026-01-31T00:00:00", "2026-02-01T00:00:00"),
        ("0 0 9 * * *", "Europe/Berlin", "2026-01-01T09:00:00", "2026-01-02T08:00:00"),
        ("0 0 9 * * *", "Europe/Berlin", "2026-07-01T09:00:00", "2026-07-02T07:00:00"),
        # 29 March 2026 has no 02:30 in Berlin; 25 October has two.
        ("0 30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00", "2026-03-30T00:30:00"),
        ("0 30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00", "2026-10-25T00:30:00"),
        ("0 30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00", "2026-10-25T01:30:00"),
        ("0 30 2 * * *", "Europe/Berlin", "2026-10-25T01:30:00", "2026-10-26T01:30:00"),
    ],
)
def test_cron_finds_the_next_time(pattern: str, zone: str, after: str, expected: str) -> None:
    moment = datetime.fromisoformat(after).replace(tzinfo=UTC)
    found = parse_cron(pattern).after(moment, ZoneInfo(zone))
    assert found is not None
    assert found.astimezone(UTC).isoformat() == f"{expected}+00:00"


@pytest.mark.parametrize("pattern", ["* * * * *", "a * * * * *", "* * * * * 1-", "0 0 0 31 2 *"])
def test_a_bad_cron_says_so(pattern: str) -> None:
    with pytest.raises(BadCron):
        parse_cron(pattern)


@pytest.mark.parametrize(
    ("text", "value"), [("", 0x811C9DC5), ("a", 0xE40C292C), ("foobar", 0xBF9CF968)]
)
def test_the_hash_is_fnv_1a(text: str, value: int) -> None:
    assert fnv1a(text.encode()) == value
