"""Leaving an endless iterator in order: a watch that is left must give its subscription back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


@asynccontextmanager
async def closing(messages: AsyncIterator[T]) -> AsyncGenerator[AsyncIterator[T]]:
    """``messages`` inside, closed at the end when it can be; cancellation included."""
    try:
        yield messages
    finally:
        if isinstance(messages, AsyncGenerator):
            await messages.aclose()
