"""How many events of the last day no saga handles: a mark on every page, so it must cost nothing.

What is known is told at once and renewed behind it; a page never waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec import Struct

from store.projection.port import ReadError, ReadModel

log = logging.getLogger("snorri.projection")

WITHIN = timedelta(days=1)
KEEP_S = 5.0

# What a saga publishes is meant for others: its id is that of the effect, four tokens.
STRAYS = r"""
SELECT count(*)::BIGINT AS count FROM outcomes
WHERE stream = 'events' AND outcome = 'no_saga' AND recorded_at >= $since
    AND NOT regexp_full_match(id, '[^.]+\.[^.]+\.[0-9]{1,15}\.[0-9]{1,15}')
"""


class _Count(Struct, frozen=True):
    count: int


class Strays:
    """Remembers the last count; one for a process, asked within its event loop."""

    def __init__(
        self,
        read: ReadModel,
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._now = now
        self._clock = clock
        self._count = 0
        self._stale_at = 0.0
        self._asking: asyncio.Task[None] | None = None

    def count(self) -> int:
        """How many there were when it was last looked; 0 before the first look."""
        if self._asking is None and self._clock() >= self._stale_at:
            self._asking = asyncio.create_task(self._look(), name="count of stray events")
        return self._count

    async def _look(self) -> None:
        try:
            rows = await self._read.fetch(STRAYS, {"since": self._now() - WITHIN}, _Count)
            self._count = rows[0].count
        except ReadError as error:
            log.info("stray events can't be counted now: %s", error)
        finally:
            self._stale_at = self._clock() + KEEP_S
            self._asking = None
