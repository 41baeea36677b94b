"""Each test here that asks for a floor runs in memory and on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from store.subjects import Names
from tests.steps_kit import Stage
from tests.worker_kit import Floor, jetstream_floor, memory_floor


@pytest.fixture(params=["memory", "jetstream"])
def home(request: pytest.FixtureRequest) -> str:
    """Nothing for memory, the address of a server for jetstream."""
    return "" if request.param == "memory" else request.getfixturevalue("nats_server").url


@pytest_asyncio.fixture
async def floor(home: str, fresh_names: Callable[[], Names]) -> AsyncIterator[Floor]:
    """A fresh installation."""
    floor = await jetstream_floor(home, fresh_names()) if home else memory_floor()
    yield floor
    await floor.close()


@pytest_asyncio.fixture
async def stages() -> AsyncIterator[list[Stage]]:
    """What to close at the end."""
    opened: list[Stage] = []
    yield opened
    for one in opened:
        await one.close()
