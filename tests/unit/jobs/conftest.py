"""A rig with the sample sagas, and faults that a test may script."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from store.memory import ScriptedFaults
from tests.unit.jobs.rig import Rig
from tests.unit.jobs.sample import all_sagas


@pytest.fixture
def faults() -> ScriptedFaults:
    """No fault yet."""
    return ScriptedFaults()


@pytest_asyncio.fixture
async def rig(faults: ScriptedFaults) -> AsyncIterator[Rig]:
    """A broker with the sample sagas and no lane yet."""
    rig = Rig(all_sagas(), faults)
    yield rig
    await rig.close()
