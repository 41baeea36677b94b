"""The first connection: within a time, with a clear reason when it fails.

Afterwards a ``Link`` reconnects for ever by itself; only the beginning may give up.
"""

from __future__ import annotations

import asyncio

from nats import errors

from store.jetstream.link import Link
from store.jetstream.login import ANYBODY, Login
from store.port import Unreachable

CONNECT_TIMEOUT_S = 5.0
CANCEL_AGAIN_S = 0.1


async def dial(
    url: str,
    *,
    login: Login = ANYBODY,
    name: str = "snorri",
    timeout_s: float = CONNECT_TIMEOUT_S,
) -> Link:
    """Connect to NATS; raises Unreachable when no server answers in time or it refuses us, BadLogin
    for files that can't be used, and Refused for a user who may not receive answers.

    ``url`` may name several servers, separated by commas; ``name`` also makes the inbox prefix
    ``_INBOX_<name>`` unless ``login`` has a user's key, whose prefix is its own. The user needs the
    permission to subscribe there.
    """
    link = Link(login)
    inbox = login.inbox(name)
    start = asyncio.ensure_future(link.start(url, name, inbox))
    try:
        await asyncio.wait(
            {start, link.refusal}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        if start.done():
            start.result()
            await link.open_mailbox(inbox)
            return link
    except errors.Error as error:
        raise Unreachable(f"no connection to NATS at {_plain(url)}: {error}") from error
    except BaseException:
        await link.hang_up()
        raise
    finally:
        while not start.done():  # more than once: a cancel that meets a time-out can get lost
            start.cancel()
            await asyncio.wait({start}, timeout=CANCEL_AGAIN_S)
        if not link.is_connected:
            await link.hang_up()
    if link.refusal.done():
        raise Unreachable(
            f"NATS at {_plain(url)} refused our credentials ({link.refusal.result()}); "
            "check the user, the password or the file that SNORRI_NATS_CREDS names"
        )
    raise Unreachable(
        f"no connection to NATS at {_plain(url)} within {timeout_s:g} s "
        f"({link.problem or 'no answer'}); check that the server runs and the address is right"
    )


def _plain(url: str) -> str:
    """``url`` without user and password, fit for an error message."""
    return ",".join(part.rpartition("@")[2] for part in url.split(","))
