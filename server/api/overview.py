"""The state of the installation in one answer: what needs a person, what is new, what moves."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Annotated

from litestar import get
from litestar.params import QueryParameter
from msgspec import Meta, Struct

from server.access.roles import ROLE
from server.api.failures import FailureGroup, shown_groups
from server.api.lists import Projection, WaitFor, projection_of, settle
from server.api.parameters import Parts
from store.cards import WorkerCard, worker_cards
from store.projection.failures import failure_groups
from store.projection.overview import Queue, Totals, queues, standing
from store.projection.spans import grid
from store.projection.throughput import Minute
from store.wording import count, span

SPANS = 60  # into which the window is divided
NEW_FAILURE = timedelta(hours=1)
NEW_MAX = 10
MINUTES_DEFAULT, MINUTES_MAX = 60, 7 * 24 * 60


class SagaCount(Struct, frozen=True, kw_only=True, rename="camel"):
    """Instances of one saga by their status."""

    saga: str
    by_status: dict[str, int]


class JobLoad(Struct, frozen=True, kw_only=True, rename="camel"):
    """How a job keeps up: open commands, and those sent and answered within the window."""

    target: str
    open: int
    oldest_at: Annotated[datetime | None, Meta(description="Since when the oldest one waits")]
    tried: Annotated[int, Meta(description="Open ones that had an attempt")]
    sent: int
    answered: int
    workers: Annotated[int, Meta(description="Live workers that serve it")]
    falls_behind: bool
    words: Annotated[str, Meta(description="What is wrong, empty when nothing is")]


class Overview(Struct, frozen=True, kw_only=True, rename="camel"):
    """The installation at a glance; counts named `…Since` are of the window."""

    since: datetime
    totals: Totals
    sagas: list[SagaCount]
    new_failures: Annotated[
        list[FailureGroup], Meta(description="Groups first seen within the last hour")
    ]
    over_time: Annotated[
        list[Minute],
        Meta(description="The window in 60 equal spans, the last one not over; no empty ones"),
    ]
    jobs: Annotated[list[JobLoad], Meta(description="The one that waits longest first")]
    refusing: Annotated[
        str, Meta(description="Why new sagas are refused, empty while they are taken")
    ]
    projection: Projection


@get(
    "/api/v1/overview",
    opt={ROLE: "viewer"},
    operation_id="getOverview",
    summary="The installation at a glance",
)
async def get_overview(
    deps: Parts,
    minutes_: Annotated[
        int,
        QueryParameter(name="minutes", ge=1, le=MINUTES_MAX, description="Length of the window"),
    ] = MINUTES_DEFAULT,
    wait_for: WaitFor = None,
) -> Overview:
    """What stands still, what fails in a new way, how much goes through, which jobs lag."""
    await settle(deps.read, wait_for)
    now = deps.now()
    window = timedelta(minutes=minutes_)
    since = now - window
    (whole, counts), groups, spans, loads, workers = await asyncio.gather(
        standing(deps.read, since),
        failure_groups(deps.read, since=now - NEW_FAILURE, limit=NEW_MAX * 5),
        deps.throughput.spans(grid(now, window / SPANS, SPANS), window / SPANS),
        queues(deps.read, since),
        worker_cards(deps.backend.meta),
    )
    new = [group for group in groups if group.first_at >= now - NEW_FAILURE][:NEW_MAX]
    return Overview(
        since=since,
        totals=whole,
        sagas=[SagaCount(saga=saga, by_status=counts[saga]) for saga in sorted(counts)],
        new_failures=await shown_groups(deps, new, now - NEW_FAILURE),
        over_time=spans,
        jobs=[_load(queue, workers, now) for queue in loads],
        refusing=full.words if (full := await deps.room.look()) is not None else "",
        projection=projection_of(deps.read),
    )


def _load(queue: Queue, workers: list[WorkerCard], now: datetime) -> JobLoad:
    serving = sum(queue.target in worker.targets for worker in workers)
    return JobLoad(
        target=queue.target,
        open=queue.open,
        oldest_at=queue.oldest_at,
        tried=queue.tried,
        sent=queue.sent,
        answered=queue.answered,
        workers=serving,
        falls_behind=queue.falls_behind,
        words=_words(queue, serving, now),
    )


def _words(queue: Queue, workers: int, now: datetime) -> str:
    if not queue.open or queue.oldest_at is None or (workers and not queue.falls_behind):
        return ""
    waits = "waits" if queue.open == 1 else "wait"
    told = f"{count(queue.open, 'command')} {waits}, the oldest for {span(now - queue.oldest_at)}"
    if not workers:
        return f"{told}; no worker serves it: start one with `snorri jobs {queue.target}`"
    return (
        f"{told}; {queue.sent:,} were sent and {queue.answered:,} answered: "
        f"{count(workers, 'worker')} can't keep up"
    )


ROUTES = (get_overview,)
