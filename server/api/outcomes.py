"""The outcome of a run as it goes out: what it completed with, its steps, or why it failed."""

from __future__ import annotations

import asyncio
from typing import Annotated

from litestar import Response, get
from litestar.params import QueryParameter
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from sagas.instance import Instance, StepStatus, decode, encode
from sagas.names import BadName, check_key, check_name
from server.access.roles import ROLE
from server.api.acting import TIMEOUT_MS, TIMEOUT_MS_MAX, shown_parts
from server.api.deps import Deps
from server.api.links import instance_path
from server.api.missing import existing, no_instance
from server.api.parameters import Key, Parts, Saga
from server.api.shown import document
from store.closing import closing
from store.lookup import Revision
from store.operations import SETTLED
from store.run_result import RunFailure, failure_of, result_of


class StepShown(Struct, frozen=True, kw_only=True, rename="camel"):
    """How one step stands."""

    status: StepStatus
    output: Annotated[Raw, Meta(description="What it returned")]
    background: Annotated[bool, Meta(description="Nobody waited for it")] = False
    attempts: Annotated[int, Meta(description="How often it was tried")] = 1
    error: str = ""
    code: str = ""


class RunOutcome(Struct, frozen=True, kw_only=True, rename="camel"):
    """Where the instance stands. `settled` when it has ended, or stopped for an operator."""

    saga: str
    key: str
    settled: bool
    location: Annotated[str, Meta(description="Where to look at the instance")]
    seq: Annotated[int, Meta(description="Revision; of a start that no engine has read its signal")]
    status: str | UnsetType = UNSET
    version: int | UnsetType = UNSET
    success: Annotated[bool | UnsetType, Meta(description="It has completed")] = UNSET
    result: Annotated[Raw | UnsetType, Meta(description="What it completed with")] = UNSET
    context: Annotated[Raw | UnsetType, Meta(description="Its state when it was settled")] = UNSET
    steps: Annotated[
        dict[str, StepShown] | UnsetType, Meta(description="Its steps, by their ids")
    ] = UNSET
    failure: Annotated[
        RunFailure | UnsetType,
        Meta(
            description="Of one that is settled without success: the step that failed, what was"
            " undone in that order, and a code"
        ),
    ] = UNSET
    error: Annotated[Raw | UnsetType, Meta(description="Why it failed or stopped, or null")] = UNSET
    attempts: Annotated[
        int | UnsetType, Meta(description="How often it was set going: once, and for each retry")
    ] = UNSET
    trace_id: str | UnsetType = UNSET
    next: Annotated[str | UnsetType, Meta(description="What to do while it is not settled")] = UNSET


def outcome_of(deps: Deps, revision: Revision) -> RunOutcome:
    """How an instance stands at a revision, secret fields masked."""
    instance = decode(bytes(document(deps.mask, encode(revision.instance))))
    settled = instance.status in SETTLED
    result = result_of(instance)
    return RunOutcome(
        saga=instance.saga,
        key=instance.key,
        settled=settled,
        location=instance_path(instance.saga, instance.key),
        seq=revision.seq,
        status=instance.status,
        version=instance.version,
        success=result.success,
        result=instance.result if result.success else UNSET,
        context=instance.state if settled else UNSET,
        steps=_steps(instance) if instance.steps else UNSET,
        failure=failure_of(result) if settled and not result.success else UNSET,
        error=shown_parts(deps, revision.instance).error,
        attempts=instance.attempts,
        trace_id=result.trace_id,
        next=UNSET if settled else "It goes on; look there, or follow /api/v1/sagas/subscribe.",
    )


def _steps(instance: Instance) -> dict[str, StepShown]:
    return {
        id: StepShown(
            status=record.status,
            output=record.output,
            background=record.background,
            attempts=record.attempts,
            error=record.error,
            code=record.code,
        )
        for id, record in instance.steps.items()
    }


async def settled(deps: Deps, saga: str, key: str, timeout_s: float) -> Revision | None:
    """The instance when it has ended or stopped for an operator; as it stands when that takes
    longer than ``timeout_s``, None while it does not exist.
    """
    found = await deps.client.latest(saga, key)
    if found is not None and found.instance.status in SETTLED:
        return found
    try:
        async with (
            asyncio.timeout(timeout_s),
            closing(deps.client.watch(saga, key, found.seq if found else 0)) as revisions,
        ):
            async for revision in revisions:
                found = revision
                if revision.instance.status in SETTLED:
                    break
    except TimeoutError:
        pass
    return found


@get(
    "/api/v1/sagas/instances/{saga:str}/{key:str}/result",
    opt={ROLE: "viewer"},
    operation_id="getResult",
    summary="Wait for the outcome of an instance",
)
async def get_result(
    deps: Parts,
    saga: Saga,
    key: Key,
    timeout_ms: Annotated[
        int,
        QueryParameter(
            name="timeoutMs",
            ge=0,
            le=TIMEOUT_MS_MAX,
            description="How long to wait for the outcome, milliseconds; after that it is 202",
        ),
    ] = TIMEOUT_MS,
) -> Response[RunOutcome]:
    """Its outcome, 200, as soon as it has ended or stopped for an operator; 202 while it goes on.
    An instance that does not exist yet is waited for as well, then 404.
    """
    try:
        check_name(saga, "saga id")
        check_key(key)
    except BadName:
        await existing(deps, saga, key)  # says what is wrong with them
    revision = await settled(deps, saga, key, timeout_ms / 1000)
    if revision is None:
        raise await no_instance(deps, saga, key)
    outcome = outcome_of(deps, revision)
    return Response(outcome, status_code=200 if outcome.settled else 202)


ROUTES = (get_result,)
