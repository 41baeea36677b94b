"""One action on many dead letters: sent again or put aside, by the jobs that act on many instances.

The letters are fixed when the job is made; only open ones count.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import msgspec
from litestar import Response, post
from litestar.params import JSONBody
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from sagas.actions import ActionRequest
from sagas.messages import Address
from server.access.roles import ROLE
from server.api.acting import Reason, origin_of
from server.api.bodies import Exact
from server.api.bulk import (
    KEYS_MAX,
    BulkMade,
    BulkProgress,
    StopAfterFailures,
    WatchMs,
    answer_with,
)
from server.api.bulk_preview import REFUSALS_MAX, RefusalCount
from server.api.bulk_targets import TARGETS_MAX, WaitForField
from server.api.dead_letters import WORDS_MAX
from server.api.deps import Deps
from server.api.idempotency import IdempotencyKey, once
from server.api.lists import moment, settle
from server.api.parameters import Parts
from server.api.problems import Problem
from server.api.shown import Asked
from store.bulk import BulkJob, BulkRefusal, LetterAction
from store.projection.records import DEAD_LETTERS
from store.projection.where import Where

PAGE = 1000
READS_AT_ONCE = 50
ID_CHARS_MAX = 1000


class LetterFilter(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The filter of the list of dead letters, as JSON: all conditions hold."""

    saga: Annotated[tuple[str, ...], Meta(description="For any of these sagas")] = ()
    type: Annotated[tuple[str, ...], Meta(description="Messages of any of these types")] = ()
    key: Annotated[str, Meta(description="For this key")] = ""
    q: Annotated[
        str, Meta(max_length=500, description="Words that all occur in reason, type or key")
    ] = ""
    since: Annotated[str, Meta(description="Since: ISO 8601, or how long ago: `2d`")] = ""


class LettersBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What to do, and with which dead letters."""

    action: Annotated[LetterAction, Meta(description="Send again, or put aside")]
    filter: Annotated[
        LetterFilter | UnsetType, Meta(description="Open ones that the list finds with it")
    ] = UNSET
    ids: Annotated[
        Annotated[tuple[str, ...], Meta(min_length=1, max_length=KEYS_MAX)] | UnsetType,
        Meta(description="Those named here"),
    ] = UNSET
    reason: Reason = ""
    dry_run: Annotated[bool, Meta(description="Answer with what would happen")] = False
    stop_after_failures: StopAfterFailures = 0
    watch_ms: WatchMs = 0
    wait_for: WaitForField = None


class LettersPreview(
    Struct, frozen=True, kw_only=True, rename="camel", tag_field="kind", tag="plan"
):
    """What would happen if it were done now; nothing has been done."""

    action: str
    total: Annotated[int, Meta(description="Dead letters that are meant")]
    would_change: int
    would_refuse: int
    reasons: list[RefusalCount]
    refusals: Annotated[list[BulkRefusal], Meta(description="The first of them; `key` is the id")]


@post(
    "/api/v1/sagas/dead-letters",
    opt={ROLE: "operator"},
    dto=Exact[LettersBody],
    return_dto=None,
    status_code=202,
    operation_id="actOnDeadLetters",
    summary="Act on many dead letters",
)
async def act_on_letters(
    request: Asked,
    deps: Parts,
    data: JSONBody[LettersBody],
    idempotency_key: IdempotencyKey = None,
) -> Response[LettersPreview | BulkProgress]:
    """Send every dead letter of a filter or list again, or put it aside: 202 with a bulk job. With
    `dryRun` 200 with how many would change, and which would refuse and why.
    """
    if data.dry_run:
        targets = await _targets_of(deps, data)
        return Response(await _preview(deps, data.action, targets), status_code=200)

    async def work(id: str) -> BulkMade:
        id = id.removeprefix("once-")
        if id and (there := await deps.bulk_jobs.get(id)) is not None:
            return BulkMade(there.id)
        targets = [Address("", one) for one in await _targets_of(deps, data)]
        now = deps.now()
        job = BulkJob(
            id=id or uuid.uuid4().hex,
            action=data.action,
            request=ActionRequest(),
            by=request.user.name,
            reason=data.reason,
            origin=origin_of(request),
            total=len(targets),
            created=now,
            updated=now,
            filter=Raw(msgspec.json.encode(None if data.filter is UNSET else data.filter)),
            stop_after=data.stop_after_failures,
            watch_s=data.watch_ms / 1000,
        )
        if await deps.bulk_jobs.create(job, targets):
            await deps.bulk.start(job)
        return BulkMade(job.id)

    made = await once(request, deps, idempotency_key, BulkMade, work)
    return await answer_with(deps, made.id)


async def _targets_of(deps: Deps, body: LettersBody) -> list[str]:
    """The ids that are meant, each once; raises Problem, ReadError."""
    if body.action == "discard" and body.watch_ms:
        raise _unclear("discard takes no `watchMs`: nothing comes of it.", "Leave it out.")
    if (body.filter is UNSET) == (body.ids is UNSET):
        raise _unclear("The body needs either `filter` or `ids`.", "Send one of them.")
    if body.ids is not UNSET:
        if any(not 0 < len(id) <= ID_CHARS_MAX for id in body.ids):
            raise _unclear("An empty or very long text is no id.", "Take ids from the list.")
        return list(dict.fromkeys(body.ids))
    assert body.filter is not UNSET
    filter = body.filter
    if filter == LetterFilter():
        raise _unclear(
            "An empty filter would select every dead letter there is.",
            'Name at least one condition, for example since: "30d".',
        )
    await settle(deps.read, body.wait_for)
    found: list[str] = []
    place: list[object] | None = None
    while True:
        where = Where()
        where.equal("status", "open")
        where.one_of("saga", filter.saga)
        where.one_of("type", filter.type)
        where.equal("key", filter.key or None)
        where.words(("reason", "type", "key"), filter.q.split()[:WORDS_MAX])
        where.between("created_at", moment("since", filter.since or None, deps.now()), None)
        rows, place = await DEAD_LETTERS.page(deps.read, where, place, PAGE)
        found += [row.id for row in rows]
        if len(found) > TARGETS_MAX:
            raise Problem(
                400,
                "too-many-dead-letters",
                "The filter finds too many dead letters",
                f"It finds more than {TARGETS_MAX}, which is what one job may have.",
                "Narrow the filter, for example to a saga or a type, and do it in parts.",
            )
        if place is None:
            return found[::-1]  # those that changed first come first


async def _preview(deps: Deps, action: LetterAction, ids: Sequence[str]) -> LettersPreview:
    refusals: list[BulkRefusal] = []
    reasons: Counter[str] = Counter()
    for start in range(0, len(ids), READS_AT_ONCE):
        some = ids[start : start + READS_AT_ONCE]
        letters = await asyncio.gather(*(deps.client.dead_letter(id) for id in some))
        for id, found in zip(some, letters, strict=True):
            if found is not None and found[0].status == "open":
                continue
            reason = "there is no such dead letter" if found is None else f"it is {found[0].status}"
            reasons[reason] += 1
            refusals.append(BulkRefusal(saga="", key=id, reason=reason))
    return LettersPreview(
        action=action,
        total=len(ids),
        would_change=len(ids) - len(refusals),
        would_refuse=len(refusals),
        reasons=[RefusalCount(reason=one, count=count) for one, count in reasons.most_common()],
        refusals=refusals[:REFUSALS_MAX],
    )


def _unclear(detail: str, next: str) -> Problem:
    return Problem(
        400, "invalid-request", "It is not clear which dead letters are meant", detail, next
    )


ROUTES = (act_on_letters,)
