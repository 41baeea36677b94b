"""What tests of the store share."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest_asyncio

from store.duck.projection import DuckProjections
from store.live_mask import LiveMask
from store.projection.checkpoint import Streams
from tests.unit.store.lives import BEGAN, NAMES


@pytest_asyncio.fixture
async def read(tmp_path: Path) -> AsyncGenerator[DuckProjections]:
    """Projections without rows."""
    projections = DuckProjections(tmp_path, NAMES, LiveMask())
    await projections.open()
    await projections.reset(Streams(events=BEGAN, log=BEGAN))
    yield projections
    await projections.close()
