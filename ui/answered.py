"""What the broker answers, or why it does not: pages that are made of the projections are there
without it, since that is when they are looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from store.port import StoreError

BROKER_S = 2.0

T = TypeVar("T")


async def answered(question: Awaitable[T]) -> tuple[T | None, str]:
    """The answer and ``""``, or None and a sentence about why there is none in time."""
    try:
        async with asyncio.timeout(BROKER_S):
            return await question, ""
    except TimeoutError:
        return None, "The broker does not answer in time: run `snorri doctor`."
    except StoreError as error:
        return None, f"The broker does not tell: {error}"
