"""The life of a service: it ends once, with the first error of what runs in it, or when stopped.

Method: works that fail, that go on until they are cancelled, and that need a moment for their end.
"""

from __future__ import annotations

import asyncio

import pytest

from store.life import Life

pytestmark = pytest.mark.asyncio


async def _fail() -> None:
    raise ValueError("x")


async def _go_on(told: list[str]) -> None:
    told.append("begun")
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        told.append("ended")


async def test_a_life_ends_with_the_error_of_a_task_it_guards() -> None:
    life = Life()
    cancelled = life.guard(asyncio.create_task(_go_on([])))
    cancelled.cancel()
    life.guard(asyncio.create_task(_fail()))
    with pytest.raises(ValueError, match="x"):
        await asyncio.wait_for(life.wait(), 5)
    life.end()
    with pytest.raises(ValueError, match="x"):
        await life.wait()


async def test_a_stop_waits_for_what_was_begun() -> None:
    life, told = Life(), list[str]()
    assert not life.runs
    life.begin(_go_on(told), "one")
    life.begin(_go_on(told), "another")
    await asyncio.sleep(0)
    assert life.runs
    await asyncio.gather(life.stop(), life.stop())
    assert told == ["begun", "begun", "ended", "ended"]
    assert not life.runs
    await life.wait()


async def test_a_work_that_fails_ends_the_life_and_the_others_go_on_until_it_is_stopped() -> None:
    life, told = Life(), list[str]()
    life.begin(_go_on(told), "one")
    life.begin(_fail(), "another")
    with pytest.raises(ValueError, match="x"):
        await asyncio.wait_for(life.wait(), 5)
    assert not life.runs
    assert told == ["begun"]
    await life.stop()
    assert told == ["begun", "ended"]
    with pytest.raises(ValueError, match="x"):
        await life.wait()


async def test_what_was_never_begun_stops_as_well() -> None:
    life = Life()
    await life.stop()
    await life.wait()
