"""One question to the console on behalf of a visitor, for the API and the dashboard alike.

It ends when the visitor goes away. Every question is on record in the log ``snorri.audit``: who,
from where, what, with what result.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable

from server.access.audit import record
from server.api.deps import Deps
from server.api.problems import Problem
from server.api.shown import Asked
from store.projection.console import Answer, Query, QueryError
from store.projection.port import ReadError


async def ask_for(deps: Deps, request: Asked, query: Query) -> Answer:
    """The answer; raises QueryError, ReadError, and Problem when the client goes away."""
    if deps.console is None:
        raise QueryError("unavailable", "This process answers no SQL.", "Ask `snorri serve`.")
    started_s = time.monotonic()
    outcome, rows = "failed", 0
    try:
        answer = await _until_gone(request, deps.console.ask(query))
        outcome, rows = "cut" if answer.truncated else "answered", answer.rows
        return answer
    except QueryError as error:
        outcome = error.code
        raise
    except ReadError:
        outcome = "unavailable"
        raise
    except _ClientGone:
        outcome = "client gone"
        raise
    finally:
        address = request.client.host if request.client else ""
        ms = round((time.monotonic() - started_s) * 1000)
        asked = {"sql": query.sql, "outcome": outcome, "rows": rows, "ms": ms}
        record("a query was asked", request.user, address, **asked)


class _ClientGone(Problem):
    """Nobody reads it; it ends the request."""

    def __init__(self) -> None:
        super().__init__(499, "client-gone", "The client has gone", "It went away.", "Ask again.")


async def _until_gone(request: Asked, work: Awaitable[Answer]) -> Answer:
    """What ``work`` gives; it is cancelled when the client goes away first. Raises Problem."""
    asking = asyncio.ensure_future(work)
    leaving = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({asking, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if asking.done():
            return asking.result()
    finally:
        leaving.cancel()
        asking.cancel()
        await asyncio.gather(asking, leaving, return_exceptions=True)
    raise _ClientGone


async def _gone(request: Asked) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
