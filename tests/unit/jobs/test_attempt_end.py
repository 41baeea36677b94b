"""Goal: what an attempt held is free as soon as it has ended, and its job is given nothing after.

Method: a real worker on memory runs a job; what is left of it is looked for among the garbage that
only the collector can find, and a task that the job left behind asks for a dependency.
"""

from __future__ import annotations

import asyncio
import gc

import pytest

from jobs import Providers, job
from jobs.context import JobContext
from jobs.dependencies import DependencyError
from jobs.execution import Attempt
from tests.worker_kit import memory_floor


class Clock:
    """Something to ask for."""


@pytest.mark.asyncio
async def test_no_ring_of_objects_is_left_to_the_collector() -> None:
    @job("ring")
    async def ring(ctx: JobContext[dict[str, int]], payload: dict[str, int]) -> dict[str, int]:
        return payload

    floor = memory_floor()
    flags = gc.get_debug()
    try:
        await floor.worker(ring)
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        await floor.send({"n": 1}, target="ring")
        await floor.result()
        await floor.close()
        gc.collect()
        left = [type(one) for one in gc.garbage]
    finally:
        gc.set_debug(flags)
        gc.garbage.clear()
        await floor.close()
    assert Attempt not in left
    assert JobContext not in left


@pytest.mark.asyncio
async def test_what_a_job_leaves_behind_is_told_that_it_is_late() -> None:
    asked: list[asyncio.Task[object]] = []

    @job("leaves")
    async def leaves(ctx: JobContext[dict[str, int]], payload: dict[str, int]) -> None:
        asked.append(asyncio.create_task(ask_later(ctx)))

    ended = asyncio.Event()

    async def ask_later(ctx: JobContext[dict[str, int]]) -> object:
        await ended.wait()
        return await ctx.resolve(Clock)

    floor, providers = memory_floor(), Providers()
    providers.provide(Clock, Clock)
    try:
        await floor.worker(leaves, providers=providers)
        await floor.send({"n": 1}, target="leaves")
        await floor.result()
        ended.set()
        with pytest.raises(DependencyError, match=r"has ended.*before it returns"):
            await asked[0]
    finally:
        await floor.close()
