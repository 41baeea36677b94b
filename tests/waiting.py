"""Waiting for a condition with a deadline: the one place in the tests that may sleep.

Prefer a signal of the thing itself (`asyncio.wait_for` on an Event); this is for what has none,
such as another process.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

POLL_S = 0.02

T = TypeVar("T")


async def eventually(
    predicate: Callable[[], T | Awaitable[T]], timeout_s: float = 10.0, what: str = "the condition"
) -> T:
    """The first true value of ``predicate``, plain or async; fails naming ``what``."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = predicate()
        value = cast("T", await answer if inspect.isawaitable(answer) else answer)
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {timeout_s:g} s; last: {value!r}")
        await asyncio.sleep(POLL_S)


def eventually_sync(
    predicate: Callable[[], T], timeout_s: float = 10.0, what: str = "the condition"
) -> T:
    """The same for tests without an event loop."""
    deadline = time.monotonic() + timeout_s
    while not (value := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {timeout_s:g} s; last: {value!r}")
        time.sleep(POLL_S)
    return value


async def until_moment(moment_s: float) -> None:
    """Wait for a moment of ``time.monotonic()`` where real time passing is the point: the pace of
    load at a given rate, a timer that falls due.
    """
    await asyncio.sleep(max(0.0, moment_s - time.monotonic()))


async def busy(seconds: float) -> None:
    """The work of a job that takes its time."""
    await asyncio.sleep(seconds)


async def any_moment(chance: random.Random, least_s: float, most_s: float) -> None:
    """Let something run on by chance, so that what comes next meets it anywhere in its work."""
    await asyncio.sleep(chance.uniform(least_s, most_s))
