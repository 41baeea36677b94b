"""A saga of the browser tests whose only job gives up at once, as its payload says: with
``simulate`` "broken" it fails for the ``printer`` named beside it, so each test has a cause of its
own.

The samples fail as well, after their retries, which take a quarter of a minute.
"""

from __future__ import annotations

from typing import Any

from jobs import JobContext, job
from sagas import complete, define_saga, send
from sagas.retry import ONCE

members = (
    define_saga("MemberSaga")
    .name("Member")
    .description("Prints the card of a new member.")
    .topic("tests")
    .state({"card": None})
    .correlate("memberId")
    .on("MemberJoined", lambda saga, message: send("print-card", message.payload))
    .on("CardPrinted", lambda saga, message: complete(message.payload))
    .build()
)


@job("print-card", retry=ONCE, on_success="CardPrinted")
async def print_card(ctx: JobContext[dict[str, Any]], payload: dict[str, Any]) -> Any:
    """Print it."""
    if payload.get("simulate") == "broken":
        raise RuntimeError(f"the {payload['printer']} printer never works")
    return {"memberId": payload["memberId"]}
