"""How a service lives: its work in the background, and what ends it.

``start``, ``stop`` and ``wait`` of the services are made of this; ``jobs.service`` says what those
three promise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Life:
    """Ends once, well or with the error of what it guards."""

    def __init__(self) -> None:
        self._ended = asyncio.Event()
        self._error: BaseException | None = None
        self._works: list[asyncio.Task[None]] = []

    def begin(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Go on with ``work`` in the background until ``stop``; an error of it ends this life."""
        task = self.guard(asyncio.create_task(work, name=name))
        self._works.append(task)
        return task

    @property
    def runs(self) -> bool:
        """Whether something was begun, and all of it goes on."""
        return bool(self._works) and not any(task.done() for task in self._works)

    def guard(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        """An error of ``task`` ends this life; being cancelled does not. Returns the task."""
        task.add_done_callback(self._look)
        return task

    def end(self, error: BaseException | None = None) -> None:
        """It is over; only the first call counts."""
        if not self._ended.is_set():
            self._error = error
            self._ended.set()

    async def stop(self) -> None:
        """Cancel what was begun, wait until it has ended, and end; a second call does no harm."""
        for task in self._works:
            task.cancel()
        await asyncio.gather(*self._works, return_exceptions=True)
        self.end()

    async def wait(self) -> None:
        """Until the end; raises the error that was it."""
        await self._ended.wait()
        if self._error is not None:
            raise self._error

    def _look(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.end(error)
