"""Jobs, the workers that run them, the engines that decide, and every attempt on record."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Literal

from litestar import get
from litestar.params import PathParameter, QueryParameter
from msgspec import Meta, Struct, structs

from server.access.roles import ROLE
from server.api import examples
from server.api.deps import Deps
from server.api.examples import answers
from server.api.lists import (
    LIMIT_DEFAULT,
    CursorText,
    Limit,
    Projection,
    Since,
    WaitFor,
    list_records,
    moment,
    projection_of,
    settle,
)
from server.api.missing import near_names
from server.api.parameters import Parts
from server.api.problems import Problem
from server.api.shown import Asked
from store.cards import JobCard, WorkerCard, engine_cards, job_cards, worker_cards
from store.port import QueueState
from store.projection.records import EXECUTIONS, ExecutionRow, JobStats, job_stats
from store.projection.where import Where

STATS_SPAN = timedelta(hours=1)
Outcome = Literal["completed", "failed", "retried", "timed_out", "returned"]


class Retrying(Struct, frozen=True, kw_only=True, rename="camel"):
    """How often a failed attempt is repeated, and after how many seconds: `delayS` times `factor`
    for each try after the second, at most `delayMaxS`, of which the part `jitter` is random.
    """

    attempts_max: int
    delay_s: float
    factor: float
    delay_max_s: float
    jitter: float


class QueueNow(Struct, frozen=True, kw_only=True, rename="camel"):
    """How the queue of a job stands."""

    waiting: Annotated[int, Meta(description="Commands no worker was given yet")]
    in_flight: Annotated[
        int, Meta(description="Given and not ended, those that wait for another attempt included")
    ]
    asking: Annotated[int, Meta(description="Requests of workers that stand for more")]


class JobItem(Struct, frozen=True, kw_only=True, rename="camel"):
    """A job as its author declared it, how its queue stands and how its attempts went lately."""

    id: Annotated[str, Meta(description="Its command target")]
    description: str
    retry: Retrying
    timeout_s: float | None
    heartbeat_s: float | None
    concurrency: Annotated[int, Meta(description="At once in one worker")]
    concurrency_total: Annotated[int | None, Meta(description="At once in all workers")]
    on_success: Annotated[str | None, Meta(description="Event type of its success")]
    on_failure: Annotated[str | None, Meta(description="Event type of its failure")]
    enabled: bool
    workers: Annotated[list[str], Meta(description="Workers alive that serve it")]
    last_served_at: Annotated[
        datetime | None, Meta(description="When a worker last served it, to half a minute")
    ]
    queue: Annotated[QueueNow | None, Meta(description="null: no worker has ever served it")]
    stats: Annotated[JobStats | None, Meta(description="Its attempts since `since`")]


class JobList(Struct, frozen=True, kw_only=True, rename="camel"):
    """All registered jobs, by id."""

    items: list[JobItem]
    since: Annotated[datetime, Meta(description="What `stats` count from")]
    projection: Projection


class ExecutionPage(Struct, frozen=True, kw_only=True, rename="camel"):
    """Attempts, the newest first."""

    items: list[ExecutionRow]
    next: Annotated[str | None, Meta(description="Cursor of the next page, null at the end")]
    projection: Projection


class WorkerItem(Struct, frozen=True, kw_only=True, rename="camel"):
    """A worker that is alive."""

    id: str
    host: str
    pid: int
    started_at: datetime
    jobs: list[str]
    running: Annotated[int, Meta(description="Attempts that run, a few seconds ago")]


class EngineItem(Struct, frozen=True, kw_only=True, rename="camel"):
    """An engine that is alive."""

    id: str
    host: str
    pid: int
    started_at: datetime
    partitions: Annotated[list[int], Meta(description="Partitions it works on")]
    sagas: Annotated[list[str], Meta(description="Sagas it has code for")]


class WorkerList(Struct, frozen=True, kw_only=True, rename="camel"):
    """The workers that are alive."""

    items: list[WorkerItem]


class EngineList(Struct, frozen=True, kw_only=True, rename="camel"):
    """The engines that are alive, and the partitions no engine works on."""

    items: list[EngineItem]
    partitions: Annotated[int, Meta(description="Partitions in all")]
    orphans: Annotated[list[int], Meta(description="Partitions without an engine")]


@get("/api/v1/workers/jobs", opt={ROLE: "viewer"}, operation_id="listJobs", summary="List jobs")
async def list_jobs(
    deps: Parts,
    since: Annotated[
        str | None,
        QueryParameter(description="What `stats` count from: ISO 8601 or how long ago; default 1h"),
    ] = None,
    wait_for: WaitFor = None,
) -> JobList:
    """The jobs that workers have registered, their queues and how their attempts went."""
    from_ = moment("since", since, deps.now()) or deps.now() - STATS_SPAN
    await settle(deps.read, wait_for)
    meta = deps.backend.meta
    cards, workers, stats = await asyncio.gather(
        job_cards(meta), worker_cards(meta), job_stats(deps.read, from_)
    )
    queues = await asyncio.gather(*(deps.backend.queues.state(card.target) for card in cards))
    items = [
        _job(card, workers, queue, stats.get(card.target))
        for card, queue in zip(cards, queues, strict=True)
    ]
    return JobList(items=items, since=from_, projection=projection_of(deps.read))


@get(
    "/api/v1/workers/executions",
    opt={ROLE: "viewer"},
    operation_id="listExecutions",
    summary="List attempts of jobs",
    responses=answers(ExecutionPage, examples.EXECUTIONS, "A page"),
)
async def list_executions(
    request: Asked,
    deps: Parts,
    target: Annotated[
        list[str] | None, QueryParameter(description="Only of these jobs; may be repeated")
    ] = None,
    saga: Annotated[str | None, QueryParameter(description="Only for this saga")] = None,
    key: Annotated[str | None, QueryParameter(description="Only for this key")] = None,
    command: Annotated[str | None, QueryParameter(description="Only of this command")] = None,
    outcome: Annotated[
        list[Outcome] | None, QueryParameter(description="Only with these outcomes")
    ] = None,
    since: Since = None,
    limit: Limit = LIMIT_DEFAULT,
    cursor: CursorText = None,
    wait_for: WaitFor = None,
) -> ExecutionPage:
    """Every attempt of a worker at a command, the newest first."""
    where = Where()
    where.one_of("target", target or ())
    where.equal("saga", saga)
    where.equal("key", key)
    where.equal("command", command)
    where.one_of("outcome", outcome or ())
    where.between("ended_at", moment("since", since, deps.now()), None)
    return await _page(request, deps, where, limit, cursor, wait_for)


@get(
    "/api/v1/workers/jobs/{id:str}/executions",
    opt={ROLE: "viewer"},
    operation_id="listJobExecutions",
    summary="List attempts of one job",
)
async def list_job_executions(
    request: Asked,
    deps: Parts,
    id: Annotated[str, PathParameter(description="The job: its command target")],
    outcome: Annotated[
        list[Outcome] | None, QueryParameter(description="Only with these outcomes")
    ] = None,
    since: Since = None,
    limit: Limit = LIMIT_DEFAULT,
    cursor: CursorText = None,
    wait_for: WaitFor = None,
) -> ExecutionPage:
    """The attempts of one job, the newest first; 404 when it neither is registered nor ever ran."""
    where = Where()
    where.one_of("target", [id])
    where.one_of("outcome", outcome or ())
    where.between("ended_at", moment("since", since, deps.now()), None)
    page = await _page(request, deps, where, limit, cursor, wait_for)
    if not page.items:
        await existing_job(deps, id)
    return page


@get("/api/v1/workers", opt={ROLE: "viewer"}, operation_id="listWorkers", summary="List workers")
async def list_workers(deps: Parts) -> WorkerList:
    """The workers that are alive."""
    cards = await worker_cards(deps.backend.meta)
    return WorkerList(
        items=[
            WorkerItem(
                id=card.id,
                host=card.host,
                pid=card.pid,
                started_at=card.started,
                jobs=list(card.targets),
                running=card.running,
            )
            for card in cards
        ]
    )


@get("/api/v1/engines", opt={ROLE: "viewer"}, operation_id="listEngines", summary="List engines")
async def list_engines(deps: Parts) -> EngineList:
    """The engines that are alive and the partitions each works on."""
    cards = await engine_cards(deps.backend.meta)
    held = {number for card in cards for number in card.partitions}
    count = deps.backend.partitions
    return EngineList(
        items=[
            EngineItem(
                id=card.id,
                host=card.host,
                pid=card.pid,
                started_at=card.started,
                partitions=list(card.partitions),
                sagas=list(card.sagas),
            )
            for card in cards
        ],
        partitions=count,
        orphans=[number for number in range(count) if number not in held],
    )


async def existing_job(deps: Deps, id: str) -> JobCard:
    """The card of a job; raises Problem when no worker has registered it."""
    cards = {card.target: card for card in await job_cards(deps.backend.meta)}
    if id in cards:
        return cards[id]
    near = near_names(id, cards)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    raise Problem(
        404,
        "no-such-job",
        "There is no such job",
        f"No worker has registered a job {id[:200]!r}.",
        f"{hint}GET /api/v1/workers/jobs lists what there is; a worker registers its jobs when it"
        " starts.",
        {"near": near},
    )


async def _page(
    request: Asked,
    deps: Deps,
    where: Where,
    limit: int,
    cursor: str | None,
    wait_for: int | None,
) -> ExecutionPage:
    items, next = await list_records(
        deps.read,
        EXECUTIONS,
        where,
        query=request.scope["query_string"],
        limit=limit,
        cursor=cursor,
        wait_for=wait_for,
    )
    return ExecutionPage(items=items, next=next, projection=projection_of(deps.read))


def _job(
    card: JobCard, workers: Sequence[WorkerCard], queue: QueueState | None, stats: JobStats | None
) -> JobItem:
    return JobItem(
        id=card.target,
        description=card.description,
        retry=Retrying(**structs.asdict(card.retry)),
        timeout_s=card.timeout_s,
        heartbeat_s=card.heartbeat_s,
        concurrency=card.concurrency,
        concurrency_total=card.concurrency_total,
        on_success=card.on_success,
        on_failure=card.on_failure,
        enabled=card.enabled,
        workers=[worker.id for worker in workers if card.target in worker.targets],
        last_served_at=card.seen,
        queue=QueueNow(waiting=queue.waiting, in_flight=queue.in_flight, asking=queue.asking)
        if queue is not None
        else None,
        stats=stats,
    )


ROUTES = (list_jobs, list_executions, list_job_executions, list_workers, list_engines)
