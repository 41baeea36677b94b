"""Marks all tests of this folder and gives each a world of its own."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.chaos.processes import World, world


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here is chaos; xdist keeps one file on one worker."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.chaos)


@pytest.fixture
def chance(seed: int) -> random.Random:
    """What the test decides by chance, repeatable by --seed."""
    return random.Random(seed)


@pytest_asyncio.fixture
async def home(tmp_path: Path) -> AsyncIterator[World]:
    """A nats-server with synced writes and nothing on it."""
    async with world(tmp_path) as made:
        yield made
