"""Bodies of requests that are read before the framework reads them."""

from __future__ import annotations

from typing import Any

from litestar.types import Receive


def again(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read already once more, then what follows it."""
    given = False

    async def receive_again() -> Any:  # a message of ASGI
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again
