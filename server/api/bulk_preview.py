"""What a bulk action would do: every instance is asked, nothing is sent.

With the code of a saga loaded each instance is planned as the engine would decide it; without it
only its status can be looked at, and the preview says so.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from sagas.actions import ACTION_STATUSES, Action, ActionRequest, allowed, plan
from sagas.effects import Send
from sagas.kernel import Snapshot
from sagas.messages import Address, Cause, to_raw
from server.api.acting import ActionPlan, plan_view
from server.api.deps import Deps
from server.api.shown import show_text
from store.bulk import BulkRefusal
from store.lookup import Revision, revision_of

LOAD_MAX = 500
TURN_MAX = 50  # plans made before others get their turn
GROUPS_MAX = 100
REFUSALS_MAX = 50


class PreviewGroup(Struct, frozen=True, kw_only=True, rename="camel"):
    """Instances to which the same would happen."""

    saga: str
    status: str
    status_after: Annotated[str, Meta(description="The same as `status` while it is not known")]
    commands: Annotated[list[str], Meta(description="Targets of the commands each would send")]
    count: int


class RefusalCount(Struct, frozen=True, kw_only=True):
    """A reason for refusals, the instance's name left out, and how many it concerns."""

    reason: str
    count: int


class BulkPreview(Struct, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="plan"):
    """What would happen if it were done now; nothing has been done."""

    action: str
    total: Annotated[int, Meta(description="Instances that are meant")]
    would_change: int
    would_refuse: int
    exact: Annotated[
        bool,
        Meta(description="False: the code of some saga is not loaded here, so only statuses count"),
    ]
    groups: list[PreviewGroup]
    reasons: list[RefusalCount]
    refusals: Annotated[list[BulkRefusal], Meta(description="The first of them")]
    plans: Annotated[list[ActionPlan], Meta(description="The first plans, with their commands")]


class _Tally:
    def __init__(self) -> None:
        self.groups: Counter[tuple[str, str, str, tuple[str, ...]]] = Counter()
        self.reasons: Counter[str] = Counter()
        self.refusals: list[BulkRefusal] = []
        self.plans: list[ActionPlan] = []
        self.exact = True

    def refuse(self, target: Address, reason: str) -> None:
        self.reasons[reason.replace(str(target), "it")] += 1
        if len(self.refusals) < REFUSALS_MAX:
            self.refusals.append(BulkRefusal(saga=target.saga, key=target.key, reason=reason))


async def preview(
    deps: Deps,
    targets: Sequence[Address],
    action: Action,
    request: ActionRequest,
    *,
    by: str,
    reason: str,
    plans: int,
) -> BulkPreview:
    """Ask every target; the answer holds the first ``plans`` plans. Raises Unreachable."""
    tally = _Tally()
    now = deps.now()
    cause = Cause(
        kind="operator",
        type=action,
        id="",
        seq=0,
        at=now,
        payload=to_raw(request),
        by=by,
        reason=reason,
    )
    for start in range(0, len(targets), LOAD_MAX):
        chunk = targets[start : start + LOAD_MAX]
        found = await deps.backend.log.load([deps.names.instance(*_pair(one)) for one in chunk])
        for number, target in enumerate(chunk):
            stored = found.get(deps.names.instance(*_pair(target)))
            if stored is None:
                tally.refuse(target, f"{target} does not exist; check saga and key")
            else:
                _ask(deps, tally, revision_of(stored), cause, plans)
            if number % TURN_MAX == 0:
                await asyncio.sleep(0)
    return _preview(action, len(targets), tally)


def _pair(target: Address) -> tuple[str, str]:
    return target.saga, target.key


def _ask(deps: Deps, tally: _Tally, current: Revision, cause: Cause, plans: int) -> None:
    instance = current.instance
    target = Address(instance.saga, instance.key)
    definition = deps.app.registry.get(instance.saga)
    if definition is None:
        tally.exact = False
        if instance.status in ACTION_STATUSES[_action(cause)]:
            tally.groups[(instance.saga, instance.status, instance.status, ())] += 1
        else:
            can = ", ".join(allowed(instance.status)) or "nothing"
            text = f"{target} is {instance.status}; {cause.type} is not allowed then"
            tally.refuse(target, f"{text}, possible: {can}")
        return
    made = plan(definition, Snapshot(instance.key, instance, current.hash), cause, cause.at)
    source = msgspec.json.encode((instance, cause.payload))
    if made.refused:
        tally.refuse(target, show_text(deps.mask, made.refused, source))
        return
    sent = tuple(effect.target for effect in made.effects if isinstance(effect, Send))
    tally.groups[(instance.saga, made.status, made.status_after, sent)] += 1
    if len(tally.plans) < plans:
        same = definition.hash == instance.definition
        tally.plans.append(plan_view(deps, made, source, same_code=same))


def _action(cause: Cause) -> Action:
    return msgspec.convert(cause.type, Action)


def _preview(action: Action, total: int, tally: _Tally) -> BulkPreview:
    groups = [
        PreviewGroup(saga=saga, status=before, status_after=after, commands=list(sent), count=count)
        for (saga, before, after, sent), count in tally.groups.most_common(GROUPS_MAX)
    ]
    reasons = [
        RefusalCount(reason=reason, count=count)
        for reason, count in tally.reasons.most_common(GROUPS_MAX)
    ]
    return BulkPreview(
        action=action,
        total=total,
        would_change=tally.groups.total(),
        would_refuse=tally.reasons.total(),
        exact=tally.exact,
        groups=groups,
        reasons=reasons,
        refusals=tally.refusals,
        plans=tally.plans,
    )
