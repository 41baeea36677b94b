"""The count of stray events costs a page nothing, and is renewed behind it.

Method: a read model that answers when the test lets it, a clock that the test moves; and the story
of ``projected`` for what is counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sagas import Message, SagaHandle, define_saga, publish
from store.projection.port import Progress, ReadError
from store.projection.strays import KEEP_S, STRAYS, WITHIN, Strays
from tests.unit.jobs.rig import Rig
from tests.unit.store.projected import story_of, tables_of

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


async def test_what_a_saga_publishes_for_others_is_no_stray(tmp_path: Path) -> None:
    saga = define_saga("Bell").state({}).correlate("bell")

    @saga.on("Rung", starts=True)
    def rung(saga: SagaHandle[Any], message: Message[Any]) -> object:
        return publish("Heard", {"bell": saga.key})

    rig = Rig([saga.build()])
    try:
        await rig.lane()
        await rig.publish("Rung", "b-1", {"bell": "b-1"})
        await rig.publish("Unheard", "b-1", {"bell": "b-1"})
        await rig.drained()
        await rig.until(lambda: len(story_of(rig).events) == 3, "the event of the saga")
        await rig.drained()
        file = tables_of(tmp_path, story_of(rig))
    finally:
        await rig.close()
    strange = "SELECT type FROM outcomes WHERE outcome = 'no_saga' ORDER BY type"
    since = {"since": datetime(2020, 1, 1, tzinfo=UTC)}
    assert file.cursor().execute(strange).fetchall() == [("Heard",), ("Unheard",)]
    assert file.cursor().execute(STRAYS, since).fetchall() == [(1,)]
    file.close()
