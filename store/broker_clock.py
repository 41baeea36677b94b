"""The time of an installation: the broker's, whatever the clock of this machine says.

The broker fires timers by its own clock. A process that counted their delays by another would
compensate too early, or wait for what is long due, so engines, workers and the API take their time
from here: the broker is asked now and then, in between a clock counts that nobody can move.

Never wrong by more than half of the time that the broker took to answer. Until it has answered once
this is the machine's own clock, from its start on. When the broker's clock is moved this follows
within `EVERY_S`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from store.life import Life
from store.port import StoreError

log = logging.getLogger("snorri.clock")

EVERY_S = 10.0
AGAIN_S = 1.0  # after an answer that did not come
ASK_S = 2.0
TOLD_S = 2.0  # a difference that is worth a word


Clock: TypeAlias = Callable[[], datetime]  # gives UTC


def utc_now() -> datetime:
    """What the clock of this machine says, UTC."""
    return datetime.now(UTC)


class BrokerClock:
    """Tells the broker's time; a service like the others."""

    name = "clock"

    def __init__(
        self,
        read: Callable[[], Awaitable[datetime]],
        *,
        machine: Clock = utc_now,
        steady: Callable[[], float] = time.monotonic,
        every_s: float = EVERY_S,
    ) -> None:
        """``read`` gives the broker's time, UTC; ``steady`` are seconds that only ever go on."""
        self._read = read
        self._machine = machine
        self._steady = steady
        self._every_s = every_s
        self._base, self._base_s = machine(), steady()
        self._told = False
        self._life = Life()

    def now(self) -> datetime:
        """The broker's time, as far as it is known; UTC."""
        return self._at(self._steady())

    async def start(self) -> None:
        """Ask once, so that what starts next has the right time, and go on asking."""
        answered = await self.ask()
        self._life.begin(self._run(answered), self.name)

    async def stop(self) -> None:
        """Ask no more; `now` goes on."""
        await self._life.stop()

    async def wait(self) -> None:
        """Return after ``stop``."""
        await self._life.wait()

    async def ask(self) -> bool:
        """Ask once, and set the clock when it is wrong for sure; whether there was an answer."""
        asked_s = self._steady()
        try:
            async with asyncio.timeout(ASK_S):
                at = await self._read()
        except (StoreError, TimeoutError) as error:
            log.debug("the broker's time is not known now: %s", error)
            return False
        answered_s = self._steady()
        error_s = (answered_s - asked_s) / 2
        right = at + timedelta(seconds=error_s)
        # Within the error nothing is known, and a clock that is set too often goes back and forth.
        if abs((right - self._at(answered_s)).total_seconds()) > error_s:
            self._base, self._base_s = right, answered_s
        self._tell()
        return True

    def _at(self, steady_s: float) -> datetime:
        return self._base + timedelta(seconds=steady_s - self._base_s)

    async def _run(self, answered: bool) -> None:
        while True:
            await asyncio.sleep(self._every_s if answered else min(AGAIN_S, self._every_s))
            answered = await self.ask()

    def _tell(self) -> None:
        ahead_s = (self._machine() - self.now()).total_seconds()
        wrong = abs(ahead_s) > TOLD_S
        if wrong and not self._told:
            log.warning(
                "the clock of this machine is %+.1f s from the broker's; nothing here goes by it, "
                "but logs and other programs do: let NTP set both",
                ahead_s,
            )
        self._told = wrong
