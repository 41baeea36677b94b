"""The supervisor: order of start and stop, and one dead service takes the others with it in order.

Method: services that write what happens to a list and die when a test tells them to.
"""

from __future__ import annotations

import asyncio

import pytest

from jobs.service import ServiceDied, Supervisor
from store.life import Life
from tests.waiting import eventually


class Fake:
    """A service under a test's control."""

    def __init__(self, name: str, told: list[str]) -> None:
        self.name = name
        self.life = Life()
        self.ready = asyncio.Event()
        self.ready.set()
        self.fails_to_start = False
        self.fails_to_stop = False
        self._told = told

    async def start(self) -> None:
        self._told.append(f"+{self.name}")
        await self.ready.wait()
        if self.fails_to_start:
            raise OSError("port taken")

    async def stop(self) -> None:
        self._told.append(f"-{self.name}")
        self.life.end()
        if self.fails_to_stop:
            raise OSError("stuck")

    async def wait(self) -> None:
        await self.life.wait()


def _three() -> tuple[list[str], list[Fake]]:
    told: list[str] = []
    return told, [Fake(name, told) for name in "abc"]


IN_ORDER = ["+a", "+b", "+c", "-c", "-b", "-a"]


@pytest.mark.asyncio
async def test_starts_in_order_and_stops_the_other_way_round() -> None:
    told, services = _three()
    supervisor = Supervisor(services)
    await supervisor.start()
    await asyncio.gather(supervisor.stop(), supervisor.stop())
    await supervisor.stop()
    await supervisor.wait()
    assert told == IN_ORDER


@pytest.mark.asyncio
async def test_run_until_asked_to_stop() -> None:
    told, services = _three()
    stop = asyncio.Event()
    run = asyncio.create_task(Supervisor(services).run(stop))
    await eventually(lambda: "+c" in told)
    stop.set()
    await asyncio.wait_for(run, 5)
    assert told == IN_ORDER


@pytest.mark.asyncio
async def test_a_dead_service_stops_the_others_and_is_named() -> None:
    told, services = _three()
    run = asyncio.create_task(Supervisor(services).run(asyncio.Event()))
    await eventually(lambda: "+c" in told)
    services[1].life.end(ValueError("lost its mind"))
    with pytest.raises(ServiceDied, match="the b ended by itself: ValueError: lost its") as died:
        await asyncio.wait_for(run, 5)
    assert isinstance(died.value.__cause__, ValueError)
    assert died.value.service == "b"
    assert told == IN_ORDER


@pytest.mark.asyncio
async def test_a_service_that_ends_without_an_error_is_dead_too() -> None:
    _, services = _three()
    supervisor = Supervisor(services)
    await supervisor.start()
    services[0].life.end()
    with pytest.raises(ServiceDied, match="without an error"):
        await supervisor.wait()


@pytest.mark.asyncio
async def test_a_failing_start_stops_those_before_it() -> None:
    told, services = _three()
    services[1].fails_to_start = True
    with pytest.raises(OSError, match="port taken"):
        await Supervisor(services).run(asyncio.Event())
    assert told == ["+a", "+b", "-a"]


@pytest.mark.asyncio
async def test_a_failing_stop_does_not_keep_the_others_running() -> None:
    told, services = _three()
    services[1].fails_to_stop = True
    supervisor = Supervisor(services)
    await supervisor.start()
    await supervisor.stop()
    assert told == IN_ORDER


@pytest.mark.asyncio
async def test_being_asked_to_stop_while_starting() -> None:
    told, services = _three()
    services[1].ready.clear()
    stop = asyncio.Event()
    run = asyncio.create_task(Supervisor(services).run(stop))
    await eventually(lambda: "+b" in told)
    stop.set()
    await asyncio.wait_for(run, 5)
    assert told == ["+a", "+b", "-a"]
