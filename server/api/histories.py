"""The history of one instance: every version in order, checked link by link while it is read."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Annotated

import msgspec
from litestar import get
from litestar.params import QueryParameter
from msgspec import Meta, Raw, Struct

from sagas.errors import IllegalTransition
from sagas.instance import Status, encode
from server.access.roles import ROLE
from server.api import examples
from server.api.deps import Deps
from server.api.examples import answers
from server.api.lists import LIMIT_MAX, SEQ_MAX, Limit
from server.api.missing import existing
from server.api.parameters import Key, Parts, Saga
from server.api.problems import Problem
from server.api.shown import Asked, Show, Unmask, document, shower
from store.closing import closing
from store.differences import Difference, differences
from store.lookup import HistoryElsewhere, Revision
from store.projection.times import BadTime, parse_time

BYTES_MAX = 8_000_000  # of the documents of one page, the first one aside
VERSION_DIGITS_MAX = 9


class Transition(Struct, frozen=True, kw_only=True, rename="camel"):
    """One version: what came, what it changed, what it sent. ``document`` and what is taken from
    it (cause, effects, error) keep the names of the KV value.
    """

    version: int
    seq: Annotated[int, Meta(description="Its revision: the sequence in the log")]
    at: Annotated[datetime, Meta(description="When the broker stored it")]
    status: Status
    status_before: Annotated[Status | None, Meta(description="null for the first version")]
    since_previous_ms: Annotated[
        float | None, Meta(description="Time since the version before, null for the first")
    ]
    waited_ms: Annotated[
        float, Meta(description="From the storing of the message to that of the version")
    ]
    hash: Annotated[str, Meta(description="What the next version carries as `prev`")]
    cause: Annotated[Raw, Meta(description="The message that caused it")]
    effects: Annotated[Raw, Meta(description="What it sent, in order")]
    error: Annotated[Raw, Meta(description="Why it is parked or failed, else null")]
    changes: Annotated[
        list[Difference], Meta(description="What it changed of the state, field by field")
    ]
    document: Annotated[Raw, Meta(description="The whole KV value of this version")]


class History(Struct, frozen=True, kw_only=True, rename="camel"):
    """Versions of an instance in order, every one proved to continue the one before it."""

    saga: str
    key: str
    version: Annotated[int, Meta(description="The last version there is")]
    items: list[Transition]
    archived: Annotated[
        int, Meta(description="Versions up to this one were moved to the archive; 0: none was")
    ] = 0
    next: Annotated[int | None, Meta(description="`after` of the next page, null at the end")]


class _Document(Struct, frozen=True):
    state: Raw
    cause: Raw
    effects: Raw
    error: Raw


@get(
    "/api/v1/sagas/instances/{saga:str}/{key:str}/transitions",
    opt={ROLE: "viewer"},
    operation_id="listTransitions",
    summary="The history of an instance",
    responses=answers(History, examples.HISTORY, "The versions"),
)
async def list_transitions(
    request: Asked,
    deps: Parts,
    saga: Saga,
    key: Key,
    after: Annotated[
        int, QueryParameter(ge=0, le=SEQ_MAX, description="Only versions after this one")
    ] = 0,
    limit: Limit = LIMIT_MAX,
    unmask: Unmask = False,
) -> History:
    """Every version from the first, from the log itself; the chain of hashes is checked."""
    now = await existing(deps, saga, key)
    show = shower(request, deps, unmask, f"the history of {saga}/{key}")
    items: list[Transition] = []
    before: Revision | None = None
    bytes_shown = 0
    more = False
    async with aclosing(versions(deps, saga, key)) as revisions:
        async for revision in revisions:
            if revision.instance.version > after:
                if more := len(items) == limit or bytes_shown > BYTES_MAX:
                    break
                items.append(_transition(revision, before, show))
                bytes_shown += len(bytes(items[-1].document))
            before = revision
    return History(
        saga=saga,
        key=key,
        version=max(now.instance.version, items[-1].version if items else 0),
        items=items,
        archived=await deps.client.archived(saga, key),
        next=items[-1].version if more else None,
    )


async def versions(deps: Deps, saga: str, key: str) -> AsyncGenerator[Revision]:
    """All versions of an instance in order; raises Problem where the chain is broken."""
    try:
        async with closing(deps.client.history(saga, key)) as revisions:
            async for revision in revisions:
                yield revision
    except HistoryElsewhere as error:
        raise Problem(
            503,
            "history-elsewhere",
            "A part of this history is not at hand",
            f"{error}.",
            "Start the API with the folder of the archive (--archive, SNORRI_ARCHIVE). The instance"
            " as it stands now can be read.",
        ) from error
    except IllegalTransition as error:
        raise Problem(
            500,
            "history-broken",
            "The history of this instance is damaged",
            f"{error}.",
            "The instance as it stands now can still be read. `snorri verify` lists all damage;"
            " restore the bucket from a backup.",
        ) from error


async def revision_at(deps: Deps, saga: str, key: str, when: str) -> Revision:
    """The version ``when`` names: a number, a time (ISO 8601) or how long ago; raises Problem."""
    if when.isascii() and when.isdigit() and len(when) <= VERSION_DIGITS_MAX:
        return await _at_version(deps, saga, key, int(when))
    try:
        moment = parse_time(when, deps.now())
    except BadTime as error:
        raise Problem(
            400,
            "invalid-request",
            "That is neither a version nor a time",
            f"{error}.",
            "Give a version (1, 2, 3 …) or a time.",
        ) from None
    return await _at_time(deps, saga, key, moment)


async def _at_version(deps: Deps, saga: str, key: str, version: int) -> Revision:
    last = 0
    async with aclosing(versions(deps, saga, key)) as revisions:
        async for revision in revisions:
            last = revision.instance.version
            if last == version:
                return revision
    raise Problem(
        404,
        "no-such-version",
        "There is no such version",
        f"{saga}/{key} has the versions 1 to {last}, not {version}.",
        "Ask for one of these, or for the transitions to see all.",
        {"currentVersion": last},
    )


async def _at_time(deps: Deps, saga: str, key: str, moment: datetime) -> Revision:
    found: Revision | None = None
    async with aclosing(versions(deps, saga, key)) as revisions:
        async for revision in revisions:
            if revision.at > moment:
                if found is not None:
                    return found
                raise Problem(
                    404,
                    "not-yet-there",
                    "The instance did not exist then",
                    f"{saga}/{key} began at {revision.at.isoformat()}, after {moment.isoformat()}.",
                    "Ask for a later time, or for version 1.",
                )
            found = revision
    if found is None:  # it was there a moment ago
        raise Problem(
            404, "no-such-instance", "There is no such instance", f"{saga}/{key} is gone.", "Retry."
        )
    return found


def _transition(revision: Revision, before: Revision | None, show: Show) -> Transition:
    instance = revision.instance
    shown = document(show, encode(instance))
    parts = msgspec.json.decode(shown, type=_Document)
    state_before = show(bytes(before.instance.state)) if before else b"null"
    changes, _ = differences(state_before, bytes(parts.state)) if before else ([], False)
    since = (revision.at - before.at).total_seconds() * 1000 if before else None
    return Transition(
        version=instance.version,
        seq=revision.seq,
        at=revision.at,
        status=instance.status,
        status_before=before.instance.status if before else None,
        since_previous_ms=None if since is None else round(since, 3),
        waited_ms=round((revision.at - instance.cause.at).total_seconds() * 1000, 3),
        hash=revision.hash,
        cause=parts.cause,
        effects=parts.effects,
        error=parts.error,
        changes=changes,
        document=shown,
    )


ROUTES = (list_transitions,)
