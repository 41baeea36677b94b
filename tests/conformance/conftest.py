"""Each conformance test runs once in every place."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from store.port import Backend
from tests.conformance.place import JetStreamPlace, MemoryPlace, Place


@pytest.fixture(params=["memory", "jetstream"])
def home(request: pytest.FixtureRequest) -> str:
    """Nothing for memory, the address of a server for jetstream."""
    return "" if request.param == "memory" else request.getfixturevalue("nats_server").url


@pytest_asyncio.fixture
async def place(home: str) -> AsyncIterator[Place]:
    """A fresh installation."""
    place: Place = JetStreamPlace(home) if home else MemoryPlace()
    yield place
    await place.close()


@pytest_asyncio.fixture
async def backend(place: Place) -> Backend:
    """The ports of one process there."""
    return await place.backend()
