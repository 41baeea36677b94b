"""Which instances a bulk action means: those of a filter or those named, once, in a fixed order."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from sagas.messages import Address
from sagas.names import check_key, check_name
from server.api.deps import Deps
from server.api.lists import SEQ_MAX, settle
from server.api.problems import Problem
from store.projection.filters import FilterError, InstanceFilter, make_filter
from store.projection.instances import find_instances

TARGETS_MAX = 50_000
PAGE = 1000
SEARCH_S = 30.0


class BulkFilter(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The filter of the instance list, as JSON: all conditions hold."""

    saga: Annotated[tuple[str, ...], Meta(description="Any of these sagas")] = ()
    status: Annotated[tuple[str, ...], Meta(description="Any of these statuses")] = ()
    key: Annotated[str, Meta(description="Exactly this key, or those that begin so: `o-10*`")] = ""
    q: Annotated[str, Meta(description="Words that all occur in key or state")] = ""
    since: Annotated[str, Meta(description="Changed since: ISO 8601, or how long ago: `2d`")] = ""
    until: Annotated[str, Meta(description="Changed before: ISO 8601, or how long ago")] = ""
    where: Annotated[
        tuple[str, ...], Meta(description="Fields of the state, e.g. `state.total>=1000`")
    ] = ()


class BulkTarget(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An instance by its name."""

    saga: str
    key: str


async def targets_of(
    deps: Deps,
    filter: BulkFilter | UnsetType,
    keys: tuple[BulkTarget, ...] | UnsetType,
    wait_for: int | None,
) -> list[Address]:
    """The instances that are meant, oldest change first; raises Problem, ReadError."""
    if (filter is UNSET) == (keys is UNSET):
        raise _unclear("The body needs either `filter` or `keys`.", "Send one of them.")
    if keys is not UNSET:
        named = [Address(check_name(one.saga, "saga id"), check_key(one.key)) for one in keys]
        return list(dict.fromkeys(named))
    assert filter is not UNSET
    wanted = _made(filter, deps.now())
    await settle(deps.read, wait_for)
    found: dict[Address, None] = {}
    place: int | None = None
    while True:
        page = await find_instances(
            deps.read, wanted, limit=PAGE, place=place, order="oldest", budget_s=SEARCH_S
        )
        found.update((Address(row.saga, row.key), None) for row in page.rows)
        if len(found) > TARGETS_MAX:
            raise Problem(
                400,
                "too-many-instances",
                "The filter finds too many instances",
                f"It finds more than {TARGETS_MAX}, which is what one bulk action may have.",
                "Narrow the filter, for example with since and until, and do it in parts.",
            )
        if page.next is None:
            return list(found)
        if not page.complete:
            raise Problem(
                503,
                "search-too-slow",
                "The search takes too long",
                f"Not all instances could be looked at within {SEARCH_S:g} s.",
                "Narrow the filter with saga, status or since, which need no look at states.",
            )
        place = page.next


def _made(filter: BulkFilter, now: datetime) -> InstanceFilter:
    try:
        made = make_filter(
            sagas=filter.saga,
            statuses=filter.status,
            key=filter.key,
            q=filter.q,
            since=filter.since,
            until=filter.until,
            where=filter.where,
            now=now,
        )
    except FilterError as error:
        raise Problem(
            400,
            "bad-filter",
            "The filter can't be meant",
            f"{error}.",
            "Correct the filter; it takes what the list of instances takes.",
        ) from None
    if made == InstanceFilter():
        raise _unclear(
            "An empty filter would select every instance there is.",
            "Name at least one condition; for all of a saga: its id.",
        )
    return made


def _unclear(detail: str, next: str) -> Problem:
    return Problem(
        400, "invalid-request", "It is not clear which instances are meant", detail, next
    )


WaitForField = Annotated[
    Annotated[int, Meta(ge=0, le=SEQ_MAX)] | None,
    Meta(description="Wait until the lists hold this sequence of the log (`seq` of a write)"),
]
