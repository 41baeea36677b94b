"""Time for the memory broker: a clock that is either moved by hand or the system's, and an agenda
of due moments.

The agenda promises order: what is due runs by its moment, equal moments in the order of entry. With
a clock moved by hand nothing happens between two moves, except what is already due, which runs on
the next turn of the event loop. With the system clock one timer of the event loop waits for the
next moment; nothing polls. It knows no streams and no messages.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable
from typing import Protocol

NS = 1_000_000_000
START_NS = 1_767_225_600 * NS  # 2026-01-01T00:00:00Z, so that virtual times look like times
TIMER_S_MAX = 3600.0  # the event loop's timer is set again after this long


class Clock(Protocol):
    """The time now, in nanoseconds since 1970, UTC."""

    def now_ns(self) -> int: ...


class SystemClock:
    """The machine's clock; due moments are reached by themselves."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970, UTC."""
        return time.time_ns()


class VirtualClock:
    """A clock that stands still until it is moved; the same run gives the same times."""

    def __init__(self, start_ns: int = START_NS) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        """Nanoseconds since 1970, UTC, as last set."""
        return self._now_ns

    def move_to(self, now_ns: int) -> None:
        """Set the time; raises ValueError for a time before the present one."""
        if now_ns < self._now_ns:
            raise ValueError("a virtual clock only moves forward; ask for a later time")
        self._now_ns = now_ns


class Agenda:
    """Callbacks that wait for their moment. Nothing is ever taken off: a callback checks that it
    still applies.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._virtual = isinstance(clock, VirtualClock)
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._entries = 0
        self._handle: asyncio.Handle | None = None
        self._handle_due_ns = 0

    def at(self, due_ns: int, act: Callable[[], None]) -> None:
        """Run ``act`` at ``due_ns``, or on the next turn of the event loop when that is past."""
        self._entries += 1
        heapq.heappush(self._heap, (due_ns, self._entries, act))
        self._arm()

    def after(self, delay_s: float, act: Callable[[], None]) -> None:
        """Run ``act`` in ``delay_s`` seconds."""
        self.at(self.clock.now_ns() + round(delay_s * NS), act)

    def next_ns(self) -> int | None:
        """The earliest moment on the agenda, None when it is empty."""
        return self._heap[0][0] if self._heap else None

    def run_due(self) -> None:
        """Run all that is due now, what becomes due meanwhile included."""
        while self._heap and self._heap[0][0] <= self.clock.now_ns():
            heapq.heappop(self._heap)[2]()

    def close(self) -> None:
        """Forget everything and leave the event loop alone."""
        self._heap.clear()
        self._disarm()

    def _arm(self) -> None:
        due_ns = self._heap[0][0]
        wait_ns = due_ns - self.clock.now_ns()
        if wait_ns > 0 and self._virtual:
            return
        if self._handle is not None and self._handle_due_ns <= due_ns:
            return
        self._disarm()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # no loop runs yet: the first entry made inside one arms the timer
        self._handle_due_ns = due_ns
        if wait_ns <= 0:
            self._handle = loop.call_soon(self._ring)
        else:
            self._handle = loop.call_later(min(wait_ns / NS, TIMER_S_MAX), self._ring)

    def _disarm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _ring(self) -> None:
        self._handle = None
        self.run_due()
        if self._heap:
            self._arm()
