"""Which errors end a step, which are tried again, and what a workflow may do about them.

- ``NotFound`` and ``Invalid`` are terminal by the policy of the list: no second attempt.
- An ``HTTPStatus`` error is looked at by the mapper: 4xx ends the step, 5xx is tried again.
- Any other error is tried again until the attempts are used up.

    snorri start ImportFeed '{"url":"https://feeds.example.org/1"}' --wait
    snorri start ImportFeed '{"url":"https://feeds.example.org/1","simulate":"404"}' --wait

``simulate``: invalid, not-found, any status of HTTP, flaky, broken. ReadFeed is a workflow that
takes another source when the first one fails.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from jobs import ErrorPolicy, PermanentFailure, StepContext
from jobs.examples.simulation import simulated
from sagas import StepFailed, StepResponse, WorkflowSaga, retry, step, steps, workflow


class Feed(Struct):
    """Where to read."""

    url: str
    simulate: str = ""


class NotFound(Exception):
    """There is no such thing."""


class Invalid(ValueError):
    """What was found makes no sense."""


class HTTPStatus(Exception):
    """A server has answered with an error."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the server answered {status}")
        self.status = status


def by_status(error: Exception) -> StepResponse[Any] | None:
    """The opinion on answers of servers; of other errors none."""
    if isinstance(error, HTTPStatus) and error.status < 500:
        return StepResponse.permanent_failure(str(error), code=f"HTTP_{error.status}")
    return None


async def download(ctx: StepContext[Feed], feed: Feed) -> dict[str, Any]:
    """Fetch the feed, or raise what it is asked to."""
    await simulated(ctx, feed.simulate)
    if feed.simulate == "not-found":
        raise NotFound(f"no feed at {feed.url}")
    if feed.simulate.isdigit() and (int(feed.simulate) < 500 or ctx.attempt == 1):
        raise HTTPStatus(int(feed.simulate))
    return {"attempts": ctx.attempt, "entries": ["first", "second"]}


async def parse(ctx: StepContext[Feed], feed: Feed) -> dict[str, int]:
    """Read it."""
    if feed.simulate == "invalid":
        raise Invalid("the feed has no title")
    return {"count": len(ctx.get("entries"))}


async def discard(ctx: StepContext[Feed], downloaded: dict[str, Any]) -> None:
    """Throw the download away."""
    ctx.log.info("download discarded", entries=len(downloaded["entries"]))


import_feed = steps(
    "ImportFeed",
    [
        step("Download", download, discard, retry=retry(3, "100ms")),
        step("Parse", parse, nothing_to_undo=True),
    ],
    input=Feed,
    errors=ErrorPolicy(terminal=(NotFound, Invalid), mapper=by_status),
    description="Download a feed and read it.",
)


@step("ReadFirst", nothing_to_undo=True)
async def read_first(ctx: StepContext[Feed], feed: Feed) -> list[str]:
    """The usual source."""
    if feed.simulate:
        raise PermanentFailure(f"no answer from {feed.url}", code="UNREACHABLE")
    return ["fresh"]


@step("ReadMirror", nothing_to_undo=True)
async def read_mirror(ctx: StepContext[Feed], feed: Feed) -> list[str]:
    """The source for bad days."""
    return ["of yesterday"]


@workflow("ReadFeed")
async def read_feed(saga: WorkflowSaga, feed: Feed) -> dict[str, Any]:
    """A failed step is an exception; who catches it goes another way."""
    try:
        return {"entries": await read_first(saga, feed), "source": "first"}
    except StepFailed as failed:
        if failed.code != "UNREACHABLE":
            raise
        return {"entries": await read_mirror(saga, feed), "source": "mirror"}
