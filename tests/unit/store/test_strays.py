"""The count of stray events costs a page nothing, and is renewed behind it.

Method: a read model that answers when the test lets it, a clock that the test moves; and the story
of ``projected`` for what is counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import pytest

from store.projection.port import Progress, ReadError
from store.projection.strays import KEEP_S, WITHIN, Strays

pytestmark = pytest.mark.asyncio

R = TypeVar("R")
NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


class _Read:
    """Answers with ``strays``, or fails."""

    progress = Progress()

    def __init__(self) -> None:
        self.strays = 3
        self.fault = False
        self.asked: list[Mapping[str, object]] = []

    async def fetch(self, sql: str, parameters: Mapping[str, object], row: type[R]) -> list[R]:
        self.asked.append(parameters)
        if self.fault:
            raise ReadError("the tables are gone")
        fields: dict[str, Any] = {"count": self.strays}
        return [row(**fields)]

    async def wait_for(self, log_seq: int, timeout_s: float) -> bool:
        return True


class _Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def _turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_first_page_waits_for_nothing_and_the_next_one_knows() -> None:
    read = _Read()
    strays = Strays(read, lambda: NOW, _Clock())
    assert (strays.count(), strays.count()) == (0, 0)
    await _turn()
    assert strays.count() == 3
    assert read.asked == [{"since": NOW - WITHIN}]


async def test_it_is_renewed_when_it_is_old() -> None:
    read, clock = _Read(), _Clock()
    strays = Strays(read, lambda: NOW, clock)
    strays.count()
    await _turn()
    read.strays = 4
    clock.now_s += KEEP_S - 0.1
    strays.count()
    await _turn()
    assert len(read.asked) == 1
    clock.now_s += 0.2
    assert strays.count() == 3
    await _turn()
    assert strays.count() == 4


async def test_a_fault_leaves_what_was_known_and_is_tried_again_later() -> None:
    read, clock = _Read(), _Clock()
    strays = Strays(read, lambda: NOW, clock)
    strays.count()
    await _turn()
    read.fault = True
    clock.now_s += KEEP_S
    strays.count()
    await _turn()
    assert strays.count() == 3
    assert len(read.asked) == 2
