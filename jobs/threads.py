"""Calling plain functions in a thread, so that the event loop goes on."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable
from concurrent.futures import Executor


async def call_in_thread(call: Callable[[], object], threads: Executor | None = None) -> object:
    """What ``call`` returns, or raises, with the context variables of the caller; an awaitable that
    it returns is awaited here.
    """
    inherited = contextvars.copy_context()

    def body() -> tuple[object, BaseException | None]:
        # A future can't carry every exception (StopIteration), so it carries none.
        try:
            return inherited.run(call), None
        except BaseException as error:
            return None, error

    loop = asyncio.get_running_loop()
    returned, error = await loop.run_in_executor(threads, body)
    if error is not None:
        raise error
    return await returned if inspect.isawaitable(returned) else returned
