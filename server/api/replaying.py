"""What-if over HTTP: recorded messages through the definition that this process has loaded.

One instance is answered at once. All of a saga are a job that tells how far it is and then what
came out. Nothing is sent or stored by either.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from litestar import Response, get, post
from litestar.params import PathParameter, QueryParameter
from msgspec import Meta, Raw, Struct

from sagas.instance import encode
from sagas.replay import Step
from server.access.audit import record
from server.access.roles import ROLE
from server.api.asking import loaded
from server.api.deps import Deps
from server.api.idempotency import IdempotencyKey, once
from server.api.links import instance_path, replay_path
from server.api.missing import existing
from server.api.parameters import Key, Parts, Saga
from server.api.problems import Problem
from server.api.shown import Asked, document, show_text
from server.replaying import Busy
from store.replay_jobs import Fault, ReplayJob, ReplayStatus
from store.replaying import replay_instance

PATH = "/api/v1/sagas/replays"
STEPS = 20
STEPS_MAX = 100
ID_CHARS_MAX = 64


class ReplayedStep(Struct, frozen=True, kw_only=True, rename="camel"):
    """A version that would not be as it was."""

    version: int
    message: Annotated[str, Meta(description="Type of the message that came")]
    differs: Annotated[
        list[str],
        Meta(description="What: status, state, effects, error, result, compensation"),
    ]
    refused: Annotated[str, Meta(description="Why it would change nothing, empty when it would")]
    recorded: Annotated[Raw, Meta(description="The KV value as it is stored")]
    now: Annotated[Raw, Meta(description="The KV value as it would be, null when there is none")]


class InstanceReplay(Struct, frozen=True, kw_only=True, rename="camel"):
    """An instance's recorded messages through the definition as it is now."""

    saga: str
    key: str
    definition: Annotated[str, Meta(description="Hash of the definition it was replayed with")]
    versions: int
    changed: Annotated[int, Meta(description="How many of them would differ")]
    steps: Annotated[list[ReplayedStep], Meta(description="The first of those")]
    fault: Annotated[str, Meta(description="Why the history can't be replayed to its end, or ''")]


class ReplayKind(Struct, frozen=True, kw_only=True, rename="camel"):
    """Instances that first differ at the same message in the same way."""

    message: str
    differs: Annotated[
        list[str], Meta(description="As in a step; `no change` when it would change nothing")
    ]
    count: int
    key: Annotated[str, Meta(description="One of them")]
    version: int
    location: Annotated[str, Meta(description="The replay of that one")]


class ReplayedInstance(Struct, frozen=True, kw_only=True, rename="camel"):
    """An instance that would differ, with the first version where."""

    key: str
    versions: int
    changed: int
    version: int
    message: str
    differs: list[str]
    refused: str
    location: Annotated[str, Meta(description="Its replay, version by version")]


class SagaReplay(Struct, frozen=True, kw_only=True, rename="camel"):
    """The replay of all instances of a saga: how far it is, and what came out so far."""

    id: str
    saga: str
    definition: Annotated[str, Meta(description="Hash of the definition they are replayed with")]
    status: Annotated[
        ReplayStatus,
        Meta(description="interrupted: its process has ended; begin a new one"),
    ]
    total: Annotated[int, Meta(description="Instances there were when it began")]
    done: int
    same: int
    differ: int
    unreadable: Annotated[int, Meta(description="Histories that can't be replayed to their end")]
    versions: Annotated[int, Meta(description="Versions replayed in all")]
    kinds: Annotated[
        list[ReplayKind],
        Meta(description="Where instances first differ, the most frequent first, up to 50"),
    ]
    more_kinds: Annotated[int, Meta(description="Instances that differ in yet other ways")]
    first: Annotated[list[ReplayedInstance], Meta(description="Up to 100 that differ")]
    faults: Annotated[list[Fault], Meta(description="Up to 20 that can't be replayed, and why")]
    by: str
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    note: Annotated[str, Meta(description="Why it failed, or empty")]
    location: Annotated[str, Meta(description="Where it tells its progress")]


class ReplayList(Struct, frozen=True, kw_only=True):
    """The replays of the last days, the newest first."""

    items: list[SagaReplay]


class _Begun(Struct, frozen=True):
    id: str


ReplayId = Annotated[str, PathParameter(description="Id of the replay", max_length=ID_CHARS_MAX)]


@get(
    "/api/v1/sagas/instances/{saga:str}/{key:str}/replay",
    opt={ROLE: "viewer"},
    operation_id="replayInstance",
    summary="What if: replay an instance",
)
async def replay_one(
    deps: Parts,
    saga: Saga,
    key: Key,
    limit: Annotated[
        int, QueryParameter(ge=0, le=STEPS_MAX, description="How many differing versions to show")
    ] = STEPS,
) -> InstanceReplay:
    """Its recorded messages through the definition that this process has loaded, and each version
    that would differ.
    """
    await existing(deps, saga, key)
    definition = await loaded(deps, saga)
    found = await replay_instance(deps.client, definition, key, keep=limit)
    return InstanceReplay(
        saga=saga,
        key=key,
        definition=definition.hash,
        versions=found.versions,
        changed=found.changed,
        steps=[_step(deps, step) for step in found.kept],
        fault=show_text(deps.mask, found.fault, b"null"),
    )


@post(
    "/api/v1/sagas/sagas/{saga:str}/replay",
    opt={ROLE: "operator"},
    status_code=202,
    operation_id="replaySaga",
    summary="What if: replay all instances of a saga",
)
async def replay_all(
    request: Asked, deps: Parts, saga: Saga, idempotency_key: IdempotencyKey = None
) -> Response[SagaReplay]:
    """Every instance's recorded messages through the definition that this process has loaded. While
    one runs for this saga another call joins it; another saga has to wait.
    """

    async def work(id: str) -> _Begun:
        id = id.removeprefix("once-")
        if id and (there := await deps.replay_jobs.get(id)) is not None:
            return _Begun(there.id)
        return _Begun((await begin(deps, saga, request.user.name, id)).id)

    begun = await once(request, deps, idempotency_key, _Begun, work)
    record("replay", request.user, request.auth.address, saga=saga, replay=begun.id)
    return _answer(await found_job(deps, begun.id))


@get(PATH, opt={ROLE: "viewer"}, operation_id="listReplays", summary="List replays of sagas")
async def list_replays(
    deps: Parts,
    saga: Annotated[str | None, QueryParameter(description="Only of this saga")] = None,
) -> ReplayList:
    """The replays of the last seven days, the newest first."""
    return ReplayList(items=[_told(job) for job in await deps.replay_jobs.list(saga)])


@get(
    f"{PATH}/{{id:str}}",
    opt={ROLE: "viewer"},
    operation_id="getReplay",
    summary="How far a replay is, and what came out",
)
async def get_replay(deps: Parts, id: ReplayId) -> SagaReplay:
    """A replay, brought up to date every second."""
    return _told(await found_job(deps, id))


@post(
    f"{PATH}/{{id:str}}/cancel",
    opt={ROLE: "operator"},
    status_code=202,
    operation_id="cancelReplay",
    summary="Cancel a replay",
)
async def cancel_replay(deps: Parts, id: ReplayId) -> Response[SagaReplay]:
    """Have it end soon, wherever it runs; what has come out so far is kept."""
    job = await found_job(deps, id)
    await cancel(deps, job)
    return _answer(job)


async def begin(deps: Deps, saga: str, by: str, id: str = "") -> ReplayJob:
    """Begin a replay, or join the one that runs; raises Problem when that can't be."""
    definition = await loaded(deps, saga)
    try:
        return await deps.replays.begin(definition, by, id)
    except Busy as busy:
        raise Problem(
            409,
            "replay-busy",
            "Another replay runs",
            f"{str(busy)[0].upper()}{str(busy)[1:]}.",
            f"Look how far it is: GET {replay_path(busy.job.id)}.",
        ) from None


async def cancel(deps: Deps, job: ReplayJob) -> None:
    """Have a replay end; raises Problem when it has ended."""
    if job.status != "running":
        raise Problem(
            409,
            "replay-ended",
            "The replay has ended",
            f"It is {job.status}.",
            f"Look at what came out: GET {replay_path(job.id)}.",
        )
    await deps.replays.cancel(job)


async def found_job(deps: Deps, id: str) -> ReplayJob:
    """A replay by its id; raises Problem when there is none."""
    job = await deps.replay_jobs.get(id)
    if job is None:
        raise Problem(
            404,
            "no-such-replay",
            "There is no such replay",
            f"No replay has the id {id[:ID_CHARS_MAX]!r}; they are kept for seven days.",
            f"GET {PATH} lists what there is.",
        )
    return job


def _step(deps: Deps, step: Step) -> ReplayedStep:
    recorded = encode(step.recorded)
    return ReplayedStep(
        version=step.recorded.version,
        message=step.recorded.cause.type or step.recorded.cause.kind,
        differs=list(step.differs),
        refused=show_text(deps.mask, step.refused, recorded),
        recorded=document(deps.mask, recorded),
        now=document(deps.mask, encode(step.after)) if step.after else Raw(b"null"),
    )


def _told(job: ReplayJob) -> SagaReplay:
    tally = job.tally

    def where(key: str) -> str:
        return f"{instance_path(job.saga, key)}/replay"

    return SagaReplay(
        id=job.id,
        saga=job.saga,
        definition=job.definition,
        status=job.status,
        total=job.total,
        done=tally.done,
        same=tally.same,
        differ=tally.differ,
        unreadable=tally.unreadable,
        versions=tally.versions,
        kinds=[
            ReplayKind(
                message=one.message,
                differs=list(one.differs),
                count=one.count,
                key=one.key,
                version=one.version,
                location=where(one.key),
            )
            for one in tally.by_count
        ],
        more_kinds=tally.more_kinds,
        first=[
            ReplayedInstance(
                key=one.key,
                versions=one.versions,
                changed=one.changed,
                version=one.version,
                message=one.message,
                differs=list(one.differs),
                refused=one.refused,
                location=where(one.key),
            )
            for one in tally.first
        ],
        faults=tally.faults,
        by=job.by,
        created_at=job.created,
        updated_at=job.updated,
        ended_at=job.ended,
        note=job.note,
        location=replay_path(job.id),
    )


def _answer(job: ReplayJob) -> Response[SagaReplay]:
    told = _told(job)
    return Response(told, status_code=202, headers={"Location": told.location})


ROUTES = (replay_one, replay_all, list_replays, get_replay, cancel_replay)
