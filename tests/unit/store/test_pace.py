"""Goal: the pace of a history costs nobody more than a moment, and is renewed behind their back.

Method: a read model whose answers are given or held back by the test, and a clock that stands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, TypeVar

import pytest

from store.projection.pace import KEEP_S, Paces
from store.projection.port import Progress, ReadError

pytestmark = pytest.mark.asyncio

R = TypeVar("R")


class Held:
    """A read model that answers when ``let`` is set."""

    progress = Progress()

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.asked = 0
        self.fault = False

    async def fetch(self, sql: str, parameters: Mapping[str, object], row: type[R]) -> list[R]:
        """One job, whose count is how often it was asked."""
        self.asked += 1
        number = self.asked
        await self.let.wait()
        if self.fault:
            raise ReadError("the tables are gone")
        spans = {"p50_s": 1.0, "p95_s": 2.0, "p99_s": 3.0}
        fields: dict[str, Any] = {"target": "ship", "count": number, **spans}
        return [row(**fields)]

    async def wait_for(self, log_seq: int, timeout_s: float) -> bool:
        """See ReadModel."""
        return True


class Clock:
    """A clock that a test moves."""

    now_s = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


async def _turn() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_slow_first_answer_is_not_waited_for() -> None:
    held = Held()
    paces = Paces(held, Clock(), patience_s=0.001)
    assert await paces.of_jobs() == {}
    held.let.set()
    await _turn()
    assert (await paces.of_jobs())["ship"].sample == 1
    assert held.asked == 1


async def test_all_who_ask_at_once_share_one_query() -> None:
    held = Held()
    paces = Paces(held, Clock(), patience_s=5.0)
    asking = [asyncio.ensure_future(paces.of_jobs()) for _ in range(5)]
    await _turn()
    asking[0].cancel()  # whoever asked first goes away
    held.let.set()
    found = await asyncio.gather(*asking[1:])
    assert [one["ship"].sample for one in found] == [1, 1, 1, 1]
    assert held.asked == 1


async def test_an_old_answer_is_given_while_it_is_renewed() -> None:
    held, clock = Held(), Clock()
    held.let.set()
    paces = Paces(held, clock, patience_s=5.0)
    assert (await paces.of_jobs())["ship"].sample == 1
    held.let.clear()
    clock.now_s += KEEP_S - 1
    assert (await paces.of_jobs())["ship"].sample == 1
    assert held.asked == 1
    clock.now_s += 2
    assert (await paces.of_jobs())["ship"].sample == 1
    await _turn()
    assert held.asked == 2
    held.let.set()
    await _turn()
    assert (await paces.of_jobs())["ship"].sample == 2


async def test_without_projections_nothing_is_known_and_it_is_asked_again() -> None:
    held = Held()
    held.let.set()
    held.fault = True
    paces = Paces(held, Clock(), patience_s=5.0)
    assert await paces.of_jobs() == {}
    held.fault = False
    assert (await paces.of_jobs())["ship"].sample == 2
