"""One action on many instances: a preview that asks each, then a job that reports its progress.

The instances are fixed when the job is made; each gets the action once, whatever happens to this
process: a job that was interrupted is shown as such and goes on where it stood when it is resumed.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, TypeAlias

import msgspec
from litestar import Response, get, post
from litestar.params import JSONBody, PathParameter
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from sagas.actions import ABSENT, ActionRequest, InstanceAction
from sagas.messages import Address
from server.access.roles import ROLE
from server.api.acting import Reason, origin_of
from server.api.bodies import Exact
from server.api.bulk_preview import BulkPreview, RefusalCount, preview
from server.api.bulk_targets import BulkFilter, BulkTarget, WaitForField, targets_of
from server.api.deps import Deps
from server.api.idempotency import IdempotencyKey, once
from server.api.links import bulk_path
from server.api.parameters import Parts
from server.api.problems import Problem
from server.api.shown import Asked
from store.bulk import BulkJob, BulkRefusal

PATH = "/api/v1/sagas/bulk"
KEYS_MAX = 10_000
PLANS = 10
PLANS_MAX = 100
ID_CHARS_MAX = 64
WATCH_MS_MAX = 600_000

StopAfterFailures: TypeAlias = Annotated[
    int, Meta(ge=0, le=10**6, description="End when so many have refused; 0: never")
]
WatchMs: TypeAlias = Annotated[
    int,
    Meta(
        ge=0,
        le=WATCH_MS_MAX,
        description="retry, skip, redrive: watch each so long, and count one that fails again as"
        " refused; 0: not at all",
    ),
]

# Which fields of the body belong to which action, beside those that all take.
FIELDS: dict[str, tuple[str, ...]] = {
    "retry": ("payload", "watch_ms"),
    "compensate": ("types", "payload"),
    "signal": ("name", "payload"),
    "patch": ("state", "patch"),
    "skip": ("by_hand", "watch_ms"),
}
OWN = tuple(dict.fromkeys(name for names in FIELDS.values() for name in names))


class BulkBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What to do, and with which instances."""

    action: Annotated[InstanceAction, Meta(description="As for one instance")]
    filter: Annotated[
        BulkFilter | UnsetType,
        Meta(description="Those that the list of instances finds with it"),
    ] = UNSET
    keys: Annotated[
        Annotated[tuple[BulkTarget, ...], Meta(min_length=1, max_length=KEYS_MAX)] | UnsetType,
        Meta(description="Those named here"),
    ] = UNSET
    reason: Reason = ""
    dry_run: Annotated[bool, Meta(description="Answer with what would happen")] = False
    plans: Annotated[
        int, Meta(ge=0, le=PLANS_MAX, description="How many plans a dry run shows")
    ] = PLANS
    stop_after_failures: StopAfterFailures = 0
    watch_ms: WatchMs = 0
    wait_for: WaitForField = None
    types: Annotated[tuple[str, ...], Meta(description="compensate: what to undo")] = ()
    name: Annotated[str, Meta(max_length=100, description="signal: its name")] = ""
    payload: Annotated[
        Raw | UnsetType, Meta(description="retry, compensate, signal: the payload")
    ] = UNSET
    state: Annotated[Raw | UnsetType, Meta(description="patch: a whole new state")] = UNSET
    patch: Annotated[Raw | UnsetType, Meta(description="patch: changes, RFC 7396")] = UNSET
    by_hand: Annotated[bool, Meta(description="skip: note a failed undo as done by hand")] = False

    def request(self) -> ActionRequest:
        """The request of each action; raises Problem for fields that don't belong to it."""
        for field in OWN:
            given = getattr(self, field) not in (UNSET, (), "", False)
            if given and field not in FIELDS.get(self.action, ()):
                raise _bad(f"{self.action} takes no `{camel(field)}`.", "Leave it out.")
        if self.action == "signal" and not self.name:
            raise _bad("signal needs the `name` of a signal.", "Name it as the saga declares it.")
        if self.action == "patch" and (self.state is UNSET) == (self.patch is UNSET):
            raise _bad("patch needs either `state` or `patch`.", "Send one of them.")
        return ActionRequest(
            types=self.types,
            name=self.name,
            payload=_raw(self.payload),
            state=_raw(self.state),
            patch=_raw(self.patch),
            by_hand=self.by_hand,
        )


class BulkProgress(Struct, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="job"):
    """A bulk job: how far it is and what was refused."""

    id: str
    action: str
    status: Annotated[
        str,
        Meta(description="running, done, cancelled, stopped (too many refused) or interrupted"),
    ]
    total: int
    done: Annotated[int, Meta(description="Instances that took the action")]
    refused: int
    remaining: int
    reasons: list[RefusalCount]
    refusals: Annotated[list[BulkRefusal], Meta(description="The first 100")]
    by: str
    reason: str
    filter: Annotated[Raw, Meta(description="As it was given, null when keys were")]
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    note: Annotated[str, Meta(description="Why it does not go on, or empty")]
    actions: Annotated[list[str], Meta(description="What can be done with it: cancel, resume")]
    location: Annotated[str, Meta(description="Where it tells its progress")]


class BulkList(Struct, frozen=True, kw_only=True):
    """The bulk jobs of the last days, the newest first."""

    items: list[BulkProgress]


class BulkMade(Struct, frozen=True):
    """A bulk job that was made; what an idempotency key keeps of it."""

    id: str


BulkId = Annotated[str, PathParameter(description="Id of the bulk job", max_length=ID_CHARS_MAX)]


@post(
    PATH,
    opt={ROLE: "operator"},
    dto=Exact[BulkBody],
    return_dto=None,
    status_code=202,
    operation_id="actOnMany",
    summary="Act on many instances",
)
async def act_on_many(
    request: Asked,
    deps: Parts,
    data: JSONBody[BulkBody],
    idempotency_key: IdempotencyKey = None,
) -> Response[BulkPreview | BulkProgress]:
    """Take an action on every instance of a filter or list: 202 with a job. With `dryRun` 200 with
    what would happen to how many, the first plans, and what would be refused and why.
    """
    wanted = data.request()
    if data.dry_run:
        targets = await targets_of(deps, data.filter, data.keys, data.wait_for)
        shown = await preview(
            deps,
            targets,
            data.action,
            wanted,
            by=request.user.name,
            reason=data.reason,
            plans=data.plans,
        )
        return Response(shown, status_code=200)

    async def work(id: str) -> BulkMade:
        id = id.removeprefix("once-")
        if id and (there := await deps.bulk_jobs.get(id)) is not None:
            return BulkMade(there.id)
        targets = await targets_of(deps, data.filter, data.keys, data.wait_for)
        who, origin = request.user.name, origin_of(request)
        job = await make_job(deps, data, wanted, targets, by=who, origin=origin, id=id)
        return BulkMade(job.id)

    made = await once(request, deps, idempotency_key, BulkMade, work)
    return await answer_with(deps, made.id)


@get(PATH, opt={ROLE: "viewer"}, operation_id="listBulkJobs", summary="List bulk jobs")
async def list_bulk_jobs(deps: Parts) -> BulkList:
    """The bulk jobs of the last seven days, the newest first."""
    return BulkList(items=[_progress(job) for job in await deps.bulk_jobs.list()])


@get(
    f"{PATH}/{{id:str}}",
    opt={ROLE: "viewer"},
    operation_id="getBulkJob",
    summary="How far a bulk job is",
)
async def get_bulk_job(deps: Parts, id: BulkId) -> BulkProgress:
    """A bulk job, brought up to date every second."""
    return _progress(await _get(deps, id))


@post(
    f"{PATH}/{{id:str}}/cancel",
    opt={ROLE: "operator"},
    status_code=202,
    operation_id="cancelBulkJob",
    summary="Cancel a bulk job",
)
async def cancel_bulk_job(deps: Parts, id: BulkId) -> Response[BulkProgress]:
    """Have it end soon, wherever it runs; what was done stays done."""
    job = await cancel_job(deps, await _get(deps, id))
    return _answer(job, 202)


@post(
    f"{PATH}/{{id:str}}/resume",
    opt={ROLE: "operator"},
    status_code=202,
    operation_id="resumeBulkJob",
    summary="Go on with a bulk job",
)
async def resume_bulk_job(deps: Parts, id: BulkId) -> Response[BulkProgress]:
    """Go on with one that was interrupted, stopped or cancelled; nothing is done twice."""
    await resume_job(deps, await _get(deps, id))
    return _answer(await _get(deps, id), 202)


async def make_job(
    deps: Deps,
    body: BulkBody,
    wanted: ActionRequest,
    targets: Sequence[Address],
    *,
    by: str,
    origin: str,
    id: str = "",
) -> BulkJob:
    """Keep the job under ``id`` (a new one when empty) and begin, unless somebody just did."""
    now = deps.now()
    job = BulkJob(
        id=id or uuid.uuid4().hex,
        action=body.action,
        request=wanted,
        by=by,
        reason=body.reason,
        origin=origin,
        total=len(targets),
        created=now,
        updated=now,
        filter=Raw(msgspec.json.encode(None if body.filter is UNSET else body.filter)),
        stop_after=body.stop_after_failures,
        watch_s=body.watch_ms / 1000,
    )
    if await deps.bulk_jobs.create(job, targets):
        await deps.bulk.start(job)
    return job


async def cancel_job(deps: Deps, job: BulkJob) -> BulkJob:
    """Have a job end, wherever it runs; raises Problem when it has ended otherwise."""
    if job.status == "interrupted":
        now = deps.now()
        job = msgspec.structs.replace(job, status="cancelled", ended=now, updated=now)
        await deps.bulk_jobs.save(job)
    elif job.status == "running":
        await deps.bulk.cancel(job.id)
    elif job.status != "cancelled":
        raise _refused(job, "cancel")
    return job


async def resume_job(deps: Deps, job: BulkJob) -> None:
    """Have a job go on here; raises Problem when it runs or is done."""
    if job.status in ("running", "done"):
        raise _refused(job, "resume")
    await deps.bulk_jobs.forget_end(job.id)
    if not await deps.bulk.start(job):
        raise _refused(await _get(deps, job.id), "resume")


async def _get(deps: Deps, id: str) -> BulkJob:
    job = await deps.bulk_jobs.get(id) if id.isalnum() and id.isascii() else None
    if job is None:
        raise Problem(
            404,
            "no-such-bulk-job",
            "There is no such bulk job",
            f"No bulk job has the id {id[:ID_CHARS_MAX]!r}; they are kept for seven days.",
            f"GET {PATH} lists what there is.",
        )
    return job


def _progress(job: BulkJob) -> BulkProgress:
    tally = job.tally
    reasons = sorted(tally.reasons.items(), key=lambda pair: -pair[1])
    can = {
        "running": ["cancel"],
        "interrupted": ["resume", "cancel"],
        "stopped": ["resume"],
        "cancelled": ["resume"],
    }
    return BulkProgress(
        id=job.id,
        action=job.action,
        status=job.status,
        total=job.total,
        done=tally.done,
        refused=tally.refused,
        remaining=job.total - tally.done - tally.refused,
        reasons=[RefusalCount(reason=reason, count=count) for reason, count in reasons],
        refusals=list(tally.refusals),
        by=job.by,
        reason=job.reason,
        filter=job.filter,
        created_at=job.created,
        updated_at=job.updated,
        ended_at=job.ended,
        note=job.note,
        actions=can.get(job.status, []),
        location=bulk_path(job.id),
    )


def camel(name: str) -> str:
    """A field's name as it stands in JSON."""
    first, *more = name.split("_")
    return first + "".join(map(str.capitalize, more))


async def answer_with(deps: Deps, id: str) -> Response[Any]:
    """202 with a job as it stands; raises Problem when there is none."""
    return _answer(await _get(deps, id), 202)


def _answer(job: BulkJob, status: int) -> Response[Any]:
    progress = _progress(job)
    return Response(progress, status_code=status, headers={"Location": progress.location})


def _raw(given: Raw | UnsetType) -> Raw:
    return ABSENT if given is UNSET else given


def _bad(detail: str, next: str) -> Problem:
    return Problem(400, "invalid-request", "The action can't be meant", detail, next)


def _refused(job: BulkJob, action: str) -> Problem:
    return Problem(
        409,
        "bulk-job-refused",
        f"The bulk job can't be told to {action}",
        f"It is {job.status}.",
        f"Look at it: GET {bulk_path(job.id)}.",
        {"currentStatus": job.status},
    )


ROUTES = (act_on_many, list_bulk_jobs, get_bulk_job, cancel_bulk_job, resume_bulk_job)
