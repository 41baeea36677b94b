"""Is anybody listening? A refused connection is told at once, where a client would try on."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit

from store.port import Unreachable

PORT = 4222
KNOCK_S = 1.0


async def knock(url: str) -> None:
    """Raise Unreachable when every server of ``url`` (comma separated) refuses to be connected.

    Silence, unknown names and the like are left to the client, which tries for longer.
    """
    parts = [part.strip() for part in url.split(",") if part.strip()]
    answers = await asyncio.gather(*(_refused(part) for part in parts))
    if answers and all(answers):
        shown = ",".join(part.rpartition("@")[2] for part in parts)
        raise Unreachable(
            f"no connection to NATS at {shown}: refused; start it (`snorri dev` does), or correct "
            "SNORRI_NATS_URL or --data"
        )


async def _refused(url: str) -> bool:
    try:
        place = urlsplit(url if "://" in url else f"nats://{url}")
        host, port = place.hostname or "127.0.0.1", place.port or PORT
    except ValueError:
        return False
    try:
        async with asyncio.timeout(KNOCK_S):
            _, writer = await asyncio.open_connection(host, port)
    except ConnectionRefusedError:
        return True
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return False
