"""What an operator's action answers: the transition it caused, its plan, or why it is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, TypeAlias

import msgspec
from litestar import Response
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, structs

from sagas.actions import ACTION_STATUSES, Action, ActionRequest, Plan
from sagas.effects import Effect, Send
from sagas.instance import Instance, encode
from sagas.messages import NULL
from server.access.access import Standing
from server.api.asking import loaded
from server.api.deps import Deps
from server.api.idempotency import once
from server.api.missing import existing
from server.api.problems import Problem
from server.api.shown import Asked, document, raw, show_text
from store.codec import ActionReply
from store.lookup import Revision, revision_of

REASON_CHARS_MAX = 1000
TIMEOUT_MS = 10_000
TIMEOUT_MS_MAX = 60_000

Reason: TypeAlias = Annotated[
    str,
    Meta(
        max_length=REASON_CHARS_MAX,
        description="Why; kept in the history",
        examples=["the provider is back"],
    ),
]
TimeoutMs: TypeAlias = Annotated[
    int,
    Meta(
        ge=100,
        le=TIMEOUT_MS_MAX,
        description="How long to wait for the outcome, milliseconds; after that the answer is 202",
    ),
]


class ActionBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What every action may be sent with."""

    reason: Reason = ""
    dry_run: Annotated[
        bool, Meta(description="Answer with the plan and change nothing; it has a `hash`")
    ] = False
    version: Annotated[
        int, Meta(ge=0, le=2**53, description="Refuse unless the instance stands there; 0: any")
    ] = 0
    plan: Annotated[
        str,
        Meta(max_length=100, description="The hash of a plan: exactly that happens, or nothing"),
    ] = ""
    timeout_ms: TimeoutMs = TIMEOUT_MS

    def request(self) -> ActionRequest:
        """The request these fields mean; raises Problem when they contradict each other."""
        return ActionRequest(version=self.version, plan=self.plan)


class ActionOutcome(
    Struct, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="transition"
):
    """The transition an action caused. While `done` is false (202) no engine has read it yet: it is
    stored as `seq` and will happen when one does.
    """

    done: bool
    action: str
    saga: str
    key: str
    seq: Annotated[int, Meta(description="Revision: where it stands in the log")]
    version: int | UnsetType = UNSET
    status: str | UnsetType = UNSET
    at: datetime | UnsetType = UNSET
    by: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    state: Annotated[Raw | UnsetType, Meta(description="The state after it")] = UNSET
    effects: Annotated[
        Raw | UnsetType, Meta(description="The effects it had, as the document records them")
    ] = UNSET
    error: Annotated[
        Raw | UnsetType, Meta(description="Why the instance is parked or failed after it, or null")
    ] = UNSET
    next: Annotated[str | UnsetType, Meta(description="What to do when it is not done")] = UNSET


class PlannedCommand(Struct, frozen=True, kw_only=True, rename="camel"):
    """A command that a plan would send."""

    target: str
    id: str
    payload: Raw
    timeout_s: float | None = None
    waits: Annotated[bool, Meta(description="For others of its concurrency key")] = False


class ActionPlan(Struct, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="plan"):
    """What an action would do; nothing has been done. Send `hash` as `plan` to do exactly it."""

    action: str
    saga: str
    key: str
    version: Annotated[int, Meta(description="The version it was made for")]
    status: str
    status_after: str
    state_after: Raw
    commands: Annotated[
        list[PlannedCommand], Meta(description="The commands it would send, in their order")
    ]
    then: Annotated[
        list[PlannedCommand],
        Meta(description="What follows, one at a time, each after the answer to the one before"),
    ]
    effects: Annotated[Raw, Meta(description="All its effects, in their order")]
    cannot_undo: Annotated[list[str], Meta(description="What stays as it is, and why")]
    in_flight: Annotated[
        list[str],
        Meta(description="Commands whose answers may still come, and children that go on"),
    ]
    error: Annotated[str, Meta(description="Why it would be parked (again), or empty")]
    hash: str
    same_code: Annotated[
        bool,
        Meta(
            description="Whether the code here is the one that decided the last version; an engine"
            " with other code refuses the plan"
        ),
    ]


async def take(
    request: Asked,
    deps: Deps,
    saga: str,
    key: str,
    action: Action,
    body: ActionBody,
    idempotency_key: str | None,
    timer: str = "",
) -> Response[ActionOutcome | ActionPlan]:
    """Take the action of a request, or plan it; raises Problem when it is refused."""
    current = await existing(deps, saga, key)
    wanted = structs.replace(body.request(), timer=timer)
    if body.dry_run:
        return Response(await _plan(request, deps, current, action, body.reason, wanted))

    async def work(id: str) -> ActionReply:
        return await deps.client.act(
            saga,
            key,
            action,
            by=request.user.name,
            reason=body.reason,
            request=wanted,
            timeout_s=body.timeout_ms / 1000,
            id=id,
            origin=origin_of(request),
        )

    reply = await once(
        request, deps, idempotency_key, ActionReply, work, lambda reply: not reply.pending
    )
    if reply.pending:
        return Response(_pending(action, reply), status_code=202)
    if not reply.done:
        raise refused(action, _hidden(deps, reply, current, wanted), wanted)
    return Response(await _done(deps, action, reply))


def origin_of(request: Asked) -> str:
    """From where a request came, as the history keeps it."""
    standing: object = request.scope.get("auth")
    address = standing.address if isinstance(standing, Standing) else ""
    return f"http {address}".strip()


def refused(action: str, reply: ActionReply, request: ActionRequest) -> Problem:
    """The problem for an action that was refused."""
    status = reply.status
    can = [one for one in ACTION_STATUSES if status in ACTION_STATUSES[one]]
    if request.version and request.version != reply.version:
        type, title = "version-conflict", "The instance is at another version"
        next = "Look at it again and decide anew."
    elif action not in can:
        type, title = "action-not-allowed", "The instance's status does not allow this"
        next = f"Possible now: {', '.join(can) or 'nothing'}."
    elif request.plan:
        type, title = "plan-outdated", "This plan can't be carried out any more"
        next = "Ask for a new plan (dryRun), look at it and send its hash."
    else:
        type, title = "action-refused", "The action was refused"
        next = "Correct what is named here, or look at the instance again."
    return Problem(
        409,
        type,
        title,
        reply.reason,
        next,
        {"currentVersion": reply.version, "currentStatus": status, "allowed": can},
    )


class ShownParts(Struct, frozen=True, kw_only=True):
    """Parts of a document, secret fields masked."""

    state: Raw
    effects: Raw
    error: Raw
    result: Raw = NULL


def shown_parts(deps: Deps, instance: Instance) -> ShownParts:
    """What of an instance's document goes out; texts lose what they quote of its secrets."""
    return msgspec.json.decode(document(deps.mask, encode(instance)), type=ShownParts)


async def revision_at_seq(deps: Deps, seq: int) -> Revision:
    """The revision that was stored under a sequence; raises Problem when it is gone since."""
    stored = await deps.backend.log.at("log", seq)
    if stored is None:
        raise Problem(
            410,
            "revision-gone",
            "The transition is not in the log any more",
            f"What was stored as {seq} has been archived or removed since.",
            "Look at the instance's history.",
        )
    return revision_of(stored)


async def _plan(
    request: Asked,
    deps: Deps,
    current: Revision,
    action: Action,
    reason: str,
    wanted: ActionRequest,
) -> ActionPlan:
    instance = current.instance
    definition = await loaded(deps, instance.saga)
    plan = await deps.client.plan(
        definition,
        instance.key,
        action,
        by=request.user.name,
        reason=reason,
        request=wanted,
    )
    if plan.refused:
        now = ActionReply(
            done=False,
            saga=plan.saga,
            key=plan.key,
            version=plan.version,
            status=plan.status,
            reason=plan.refused,
        )
        raise refused(action, _hidden(deps, now, current, wanted), wanted)
    source = _source(instance, wanted)
    return plan_view(deps, plan, source, same_code=definition.hash == instance.definition)


def _hidden(
    deps: Deps, reply: ActionReply, current: Revision, request: ActionRequest
) -> ActionReply:
    """The reply, its reason without the secret values it may quote."""
    source = _source(current.instance, request)
    return structs.replace(reply, reason=show_text(deps.mask, reply.reason, source))


def _source(instance: Instance, request: ActionRequest) -> bytes:
    """All that an error of an action may quote."""
    return msgspec.json.encode((instance, request))


def plan_view(deps: Deps, plan: Plan, source: bytes, *, same_code: bool) -> ActionPlan:
    """A plan as it goes out, secret fields masked; its error may quote ``source`` (JSON)."""
    return ActionPlan(
        action=plan.action,
        saga=plan.saga,
        key=plan.key,
        version=plan.version,
        status=plan.status,
        status_after=plan.status_after,
        state_after=raw(deps.mask, plan.state_after),
        commands=[_command(deps, one) for one in plan.effects if isinstance(one, Send)],
        then=[_command(deps, one) for one in plan.then],
        effects=_effects(deps, plan.effects),
        cannot_undo=list(plan.cannot_undo),
        in_flight=list(plan.in_flight),
        error=show_text(deps.mask, plan.error, source),
        hash=plan.hash,
        same_code=same_code,
    )


def _command(deps: Deps, effect: Send) -> PlannedCommand:
    return PlannedCommand(
        target=effect.target,
        id=effect.id,
        payload=raw(deps.mask, effect.payload),
        timeout_s=effect.timeout_s,
        waits=effect.gated,
    )


def _effects(deps: Deps, effects: tuple[Effect, ...]) -> Raw:
    return raw(deps.mask, msgspec.json.encode(effects))


async def _done(deps: Deps, action: str, reply: ActionReply) -> ActionOutcome:
    revision = await revision_at_seq(deps, reply.seq)
    instance = revision.instance
    shown = shown_parts(deps, instance)
    return ActionOutcome(
        done=True,
        action=action,
        saga=instance.saga,
        key=instance.key,
        seq=revision.seq,
        version=instance.version,
        status=instance.status,
        at=revision.at.astimezone(UTC),
        by=instance.cause.by,
        reason=instance.cause.reason,
        state=shown.state,
        effects=shown.effects,
        error=shown.error,
    )


def _pending(action: str, reply: ActionReply) -> ActionOutcome:
    return ActionOutcome(
        done=False,
        action=action,
        saga=reply.saga,
        key=reply.key,
        seq=reply.seq,
        next="No engine has read it in time; it happens when one does. Look at the instance's"
        " history, or send the same request under the same Idempotency-Key.",
    )
