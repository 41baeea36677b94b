"""Goal: a question that comes right after the start is answered, not refused.

Method: copies are asked for before the projections that they are made of are open, or while those
are built anew from the beginning.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from store.duck.copies import Copies
from store.duck.projection import DuckProjections
from store.live_mask import LiveMask
from store.projection.checkpoint import Streams
from store.projection.port import Progress, ReadError
from store.subjects import Names

pytestmark = pytest.mark.asyncio

MADE = Streams(events=datetime(2026, 1, 1, tzinfo=UTC), log=datetime(2026, 1, 1, tzinfo=UTC))
SHORT_S = 0.2


async def test_a_question_waits_for_projections_that_open(tmp_path: Path) -> None:
    projections = DuckProjections(tmp_path / "projections", Names(), LiveMask())
    copies = Copies(projections, tmp_path / "copies", open_s=30.0)
    await copies.open()
    early = asyncio.create_task(copies.take())
    await projections.open()
    assert not early.done()
    await projections.reset(MADE)
    snapshot = await asyncio.wait_for(early, 30.0)
    assert snapshot.path.is_file()
    copies.give_back(snapshot)
    await copies.close()
    await projections.close()


@pytest.mark.parametrize("built_anew", [False, True])
async def test_it_does_not_wait_for_ever(tmp_path: Path, built_anew: bool) -> None:
    projections = DuckProjections(tmp_path / "projections", Names(), LiveMask())
    copies = Copies(projections, tmp_path / "copies", open_s=SHORT_S)
    await copies.open()
    await projections.open()
    if built_anew:
        await projections.reset(MADE)
        projections.report(Progress(partial=True, rebuilding=0.25))
    began_s = time.monotonic()
    words = "being rebuilt, 25% are done" if built_anew else "wait until the service is ready"
    with pytest.raises(ReadError, match=words):
        await copies.take()
    assert time.monotonic() - began_s >= SHORT_S
    await copies.close()
    await projections.close()
