"""Running one job by hand, and its result when that is waited for."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Response, post
from litestar.params import JSONBody, PathParameter
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from sagas.messages import NULL
from server.access.roles import ROLE
from server.api.acting import TIMEOUT_MS, Reason, TimeoutMs, origin_of
from server.api.bodies import Exact
from server.api.deps import Deps
from server.api.idempotency import IdempotencyKey, once
from server.api.missing import near_names
from server.api.parameters import Parts
from server.api.problems import Problem
from server.api.shown import Asked, raw, show_text
from store.cards import job_cards, worker_cards
from store.codec import TRACEPARENT
from store.job_runs import JobResult, JobRun, JobRuns
from store.port import MessageTooLarge, Refused


class TriggerBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """With what to run a job."""

    payload: Annotated[
        Raw | UnsetType,
        Meta(description="What the job gets; default null", examples=[{"orderId": "o-1001"}]),
    ] = UNSET
    key: Annotated[
        str | None, Meta(description="What the job sees as its key; default: a new one")
    ] = None
    wait: Annotated[bool, Meta(description="Answer with the result")] = False
    reason: Reason = ""
    timeout_ms: TimeoutMs = TIMEOUT_MS


class RunResult(Struct, frozen=True, kw_only=True, rename="camel"):
    """How a run ended."""

    outcome: Annotated[str, Meta(description="completed, failed or timed_out")]
    payload: Annotated[Raw, Meta(description="What the job answered")]
    error: str
    attempt: Annotated[int, Meta(description="The attempt that gave it")]
    worker: str
    started_at: datetime
    ended_at: datetime
    seq: Annotated[int, Meta(description="The event that says so")]


class TriggeredRun(Struct, frozen=True, kw_only=True, rename="camel"):
    """A job that was asked to run; without `result` it has not ended yet."""

    command: Annotated[str, Meta(description="Id of its command, as executions name it")]
    job: str
    key: str
    seq: Annotated[int, Meta(description="Where the command stands in the log")]
    workers: Annotated[int, Meta(description="Workers alive that serve it; 0: it waits for one")]
    result: RunResult | UnsetType = UNSET
    next: Annotated[str | UnsetType, Meta(description="What to do while there is none")] = UNSET


@post(
    "/api/v1/workers/jobs/{id:str}/trigger",
    opt={ROLE: "operator"},
    dto=Exact[TriggerBody],
    return_dto=None,
    status_code=202,
    operation_id="triggerJob",
    summary="Run a job by hand",
)
async def trigger(
    request: Asked,
    deps: Parts,
    id: Annotated[str, PathParameter(description="The job's target")],
    data: JSONBody[TriggerBody] = TriggerBody(),  # noqa: B008 - frozen
    idempotency_key: IdempotencyKey = None,
) -> Response[TriggeredRun]:
    """Send the job one command that belongs to no saga: no instance hears of its result. 202, with
    `wait` 200 and the result.
    """
    await _check_job(deps, id)
    runs = JobRuns(deps.backend, deps.names)

    async def work(action: str) -> JobRun:
        return await _send(request, deps, runs, id, data, action)

    run = await once(request, deps, idempotency_key, JobRun, work)
    result = await runs.result(run, data.timeout_ms / 1000) if data.wait else None
    workers = sum(1 for card in await worker_cards(deps.backend.meta) if id in card.targets)
    answer = TriggeredRun(
        command=run.command,
        job=run.target,
        key=run.key,
        seq=run.seq,
        workers=workers,
        result=UNSET if result is None else _shown(deps, result, data.payload),
        next=UNSET if result is not None else _next(id, workers),
    )
    return Response(answer, status_code=202 if result is None else 200)


async def _send(
    request: Asked, deps: Deps, runs: JobRuns, target: str, body: TriggerBody, action: str
) -> JobRun:
    incoming = request.headers.get(TRACEPARENT, "")
    try:
        with deps.tracing.publishing(target, incoming) as trace:
            return await runs.send(
                target,
                NULL if body.payload is UNSET else body.payload,
                token=action.removeprefix("once-") or uuid.uuid4().hex,
                key=body.key,
                by=request.user.name,
                reason=body.reason,
                origin=origin_of(request),
                traceparent=trace,
            )
    except (Refused, MessageTooLarge) as error:
        raise Problem(
            400,
            "command-refused",
            "The command can't be sent",
            str(error),
            "Send less, or a reference to the data.",
        ) from None


async def _check_job(deps: Deps, target: str) -> None:
    known = [card.target for card in await job_cards(deps.backend.meta)]
    if target in known:
        return
    near = near_names(target, known)
    hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise Problem(
        404,
        "no-such-job",
        "There is no such job",
        f"No worker has registered a job {target[:200]!r}.",
        f"{hint}GET /api/v1/workers/jobs lists what there is.",
        {"near": near},
    )


def _next(target: str, workers: int) -> str:
    if not workers:
        return f"No worker that is alive serves {target}; start one: snorri jobs {target}."
    return f"It runs; GET /api/v1/workers/jobs/{target}/executions shows its attempts."


def _shown(deps: Deps, result: JobResult, payload: Raw | UnsetType) -> RunResult:
    given = NULL if payload is UNSET else payload
    return RunResult(
        outcome=result.outcome,
        payload=raw(deps.mask, result.payload),
        error=show_text(deps.mask, result.error, msgspec.json.encode((given, result.payload))),
        attempt=result.attempt,
        worker=result.worker,
        started_at=result.started,
        ended_at=result.ended,
        seq=result.seq,
    )


ROUTES = (trigger,)
