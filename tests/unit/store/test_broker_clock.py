"""Goal: the time of a process is the broker's, whatever the clock of its machine says or does.

Method: a broker, a machine and seconds that the test moves; answers take a while, fail, or come
while the machine's clock is set.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest

from store.broker_clock import BrokerClock
from store.port import Unreachable
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

TRUE = datetime(2026, 1, 31, 12, tzinfo=UTC)


class _World:
    """The true time, and clocks that differ from it by so many seconds."""

    def __init__(self) -> None:
        self.passed_s = 1000.0
        self.broker_s = 0.0
        self.machine_s = 0.0
        self.request_s = 0.0
        self.reply_s = 0.0
        self.away = False
        self.asked = 0

    def true(self) -> datetime:
        return TRUE + timedelta(seconds=self.passed_s)

    async def read(self) -> datetime:
        self.asked += 1
        self.passed_s += self.request_s
        if self.away:
            raise Unreachable("away")
        at = self.true() + timedelta(seconds=self.broker_s)
        self.passed_s += self.reply_s
        return at

    def clock(self, every_s: float = 60.0) -> BrokerClock:
        return BrokerClock(
            self.read,
            machine=lambda: self.true() + timedelta(seconds=self.machine_s),
            steady=lambda: self.passed_s,
            every_s=every_s,
        )

    def wrong_s(self, clock: BrokerClock) -> float:
        """How far a clock is from the broker's."""
        return (clock.now() - self.true()).total_seconds() - self.broker_s


@pytest.mark.parametrize("machine_s", [0.0, 120.0, -120.0, 86_400.0])
async def test_the_machine_may_be_wrong(machine_s: float) -> None:
    world = _World()
    world.machine_s, world.request_s, world.reply_s = machine_s, 0.004, 0.004
    clock = world.clock()
    assert world.wrong_s(clock) == pytest.approx(machine_s)
    assert await clock.ask()
    assert abs(world.wrong_s(clock)) <= 0.004
    world.passed_s += 3600
    assert abs(world.wrong_s(clock)) <= 0.004


@pytest.mark.parametrize("jump_s", [120.0, -120.0])
async def test_a_machine_whose_clock_jumps_changes_nothing(jump_s: float) -> None:
    world = _World()
    clock = world.clock()
    assert await clock.ask()
    world.machine_s = jump_s
    assert world.wrong_s(clock) == pytest.approx(0.0)
    world.away = True
    assert not await clock.ask()
    world.passed_s += 60
    assert world.wrong_s(clock) == pytest.approx(0.0)


@pytest.mark.parametrize(("request_s", "reply_s"), [(0.3, 0.0), (0.0, 0.3), (0.1, 0.2)])
async def test_a_slow_answer_is_wrong_by_half_of_its_time_at_most(
    request_s: float, reply_s: float
) -> None:
    world = _World()
    world.machine_s, world.request_s, world.reply_s = 120.0, request_s, reply_s
    clock = world.clock()
    assert await clock.ask()
    assert abs(world.wrong_s(clock)) <= 0.15 + 1e-6


async def test_what_is_right_within_the_error_stays() -> None:
    """Answers that take now longer on the way there and now on the way back move nothing."""
    world = _World()
    clock = world.clock()
    assert await clock.ask()
    for request_s, reply_s in ((0.2, 0.0), (0.0, 0.2), (0.05, 0.05)):
        world.request_s, world.reply_s = request_s, reply_s
        assert await clock.ask()
        assert world.wrong_s(clock) == pytest.approx(0.0)


async def test_it_follows_a_broker_whose_clock_is_moved(caplog: pytest.LogCaptureFixture) -> None:
    world = _World()
    clock = world.clock(every_s=0.01)
    with caplog.at_level(logging.WARNING, "snorri.clock"):
        await clock.start()
        try:
            world.broker_s = -600.0
            await eventually(lambda: world.wrong_s(clock) == pytest.approx(0.0), 5, "the new time")
            asked = world.asked
            await eventually(lambda: world.asked > asked + 2, 5, "more questions")
        finally:
            await clock.stop()
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1, "it is told once, not at each answer"
    assert "+600.0 s from the broker's" in told[0]
    await clock.wait()


async def test_a_broker_that_is_away_at_the_start_is_asked_again() -> None:
    world = _World()
    world.machine_s, world.away = 120.0, True
    clock = world.clock(every_s=0.01)
    await clock.start()
    try:
        assert world.wrong_s(clock) == pytest.approx(120.0)
        world.away = False
        await eventually(lambda: world.wrong_s(clock) == pytest.approx(0.0), 5, "the right time")
    finally:
        await clock.stop()
