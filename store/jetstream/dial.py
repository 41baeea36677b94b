"""The first connection: within a time, with a clear reason when it fails.

Afterwards a ``Link`` reconnects for ever by itself; only the beginning may give up.
"""

from __future__ import annotations

import asyncio

from nats import errors

from store.jetstream.link import Link
from store.port import Unreachable

CONNECT_TIMEOUT_S = 5.0


async def dial(
    url: str,
    *,
    creds: str | None = None,
    name: str = "snorri",
    timeout_s: float = CONNECT_TIMEOUT_S,
) -> Link:
    """Connect to NATS; raises Unreachable when no server answers in time or it refuses us.

    ``url`` may name several servers, separated by commas; ``name`` also makes the inbox prefix
    ``_INBOX_<name>``, for which the user needs the permission to subscribe.
    """
    link = Link()
    start = asyncio.ensure_future(link.start(url, name, creds))
    try:
        await asyncio.wait(
            {start, link.refusal}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        if start.done():
            start.result()
            await link.open_mailbox(f"_INBOX_{name}")
            return link
    except ImportError as error:
        raise Unreachable(f"credentials need {error.name}; install snorri[nkeys]") from error
    except errors.Error as error:
        raise Unreachable(f"no connection to NATS at {_plain(url)}: {error}") from error
    finally:
        if not start.done():
            start.cancel()
            await asyncio.wait({start})
        if not link.is_connected:
            await link.hang_up()
    if link.refusal.done():
        raise Unreachable(
            f"NATS at {_plain(url)} refused our credentials ({link.refusal.result()}); "
            "check the user, the password or the creds file"
        )
    raise Unreachable(
        f"no connection to NATS at {_plain(url)} within {timeout_s:g} s "
        f"({link.problem or 'no answer'}); check that the server runs and the address is right"
    )


def _plain(url: str) -> str:
    """``url`` without user and password, fit for an error message."""
    return ",".join(part.rpartition("@")[2] for part in url.split(","))
