"""One instance, read where it is stored: now, at a version or a time, and what differs.

Everything here comes from the log itself, so a write is seen by the next read.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from litestar import get
from litestar.params import PathParameter, QueryParameter
from msgspec import Meta, Raw, Struct, structs

from sagas.actions import allowed
from sagas.instance import encode
from server.access.roles import ROLE
from server.api import examples
from server.api.examples import answers
from server.api.histories import revision_at
from server.api.lists import SEQ_MAX
from server.api.missing import existing
from server.api.parameters import Key, Parts, Saga
from server.api.shown import Asked, Show, Unmask, document, show_text, shower
from store.diagnosis import Wait
from store.differences import Difference, differences
from store.lookup import Revision


class InstanceNow(Struct, frozen=True, kw_only=True, rename="camel"):
    """An instance at one of its versions."""

    saga: str
    key: str
    version: int
    status: str
    seq: Annotated[int, Meta(description="Revision: the sequence of this version in the log")]
    at: Annotated[datetime, Meta(description="When the broker stored this version")]
    hash: Annotated[str, Meta(description="What the next version carries as `prev`")]
    actions: Annotated[
        list[str], Meta(description="Operator actions this status allows; [] for the past")
    ]
    waits_for: Annotated[
        list[Wait],
        Meta(description="What it waits for, in words; [] for the past and with waits=false"),
    ]
    state: Annotated[Raw, Meta(description="The author's state")]
    document: Annotated[Raw, Meta(description="The whole KV value, with its own field names")]


class StateDifference(Struct, frozen=True, kw_only=True, rename="camel"):
    """What differs between two versions, field by field."""

    saga: str
    key: str
    from_version: int
    to_version: int
    from_status: str
    to_status: str
    changes: list[Difference]
    truncated: Annotated[bool, Meta(description="There are more than are listed")]


class _Document(Struct, frozen=True):
    state: Raw


@get(
    "/api/v1/sagas/instances/{saga:str}/{key:str}",
    opt={ROLE: "viewer"},
    operation_id="getInstance",
    summary="An instance as it is now",
    responses=answers(InstanceNow, examples.INSTANCE, "The instance"),
)
async def get_instance(
    request: Asked,
    deps: Parts,
    saga: Saga,
    key: Key,
    waits: Annotated[
        bool, QueryParameter(description="Say what it waits for; false answers faster")
    ] = True,
    unmask: Unmask = False,
) -> InstanceNow:
    """The instance as the leader of the log holds it: a write before is always in it."""
    revision = await existing(deps, saga, key)
    show = shower(request, deps, unmask, f"{saga}/{key}")
    told = await deps.diagnosis.waits(revision.instance) if waits else ()
    return _shown(revision, show, allowed(revision.instance.status), told)


@get(
    "/api/v1/sagas/instances/{saga:str}/{key:str}/at/{when:str}",
    opt={ROLE: "viewer"},
    operation_id="getInstanceAt",
    summary="An instance as it was",
)
async def get_instance_at(
    request: Asked,
    deps: Parts,
    saga: Saga,
    key: Key,
    when: Annotated[
        str, PathParameter(description="A version (`3`), a time (ISO 8601), or how long ago (`2h`)")
    ],
    unmask: Unmask = False,
) -> InstanceNow:
    """The instance at a version, or as it stood at a moment."""
    await existing(deps, saga, key)
    revision = await revision_at(deps, saga, key, when)
    return _shown(revision, shower(request, deps, unmask, f"{saga}/{key} at {when}"))


@get(
    "/api/v1/sagas/instances/{saga:str}/{key:str}/diff",
    opt={ROLE: "viewer"},
    operation_id="diffInstance",
    summary="What differs between two versions",
    responses=answers(StateDifference, examples.DIFFERENCE, "The differences"),
)
async def diff_instance(
    request: Asked,
    deps: Parts,
    saga: Saga,
    key: Key,
    from_: Annotated[
        int | None,
        QueryParameter(
            name="from", ge=1, le=SEQ_MAX, description="Default: the version before `to`"
        ),
    ] = None,
    to: Annotated[
        int | None, QueryParameter(ge=1, le=SEQ_MAX, description="Default: the last version")
    ] = None,
    unmask: Unmask = False,
) -> StateDifference:
    """The fields of the state that differ, with what stood there and what stands there then."""
    now = await existing(deps, saga, key)
    last = to if to is not None else now.instance.version
    first = from_ if from_ is not None else max(1, last - 1)
    show = shower(request, deps, unmask, f"{saga}/{key}")
    older = await revision_at(deps, saga, key, str(first))
    newer = await revision_at(deps, saga, key, str(last))
    before, after = show(bytes(older.instance.state)), show(bytes(newer.instance.state))
    changes, truncated = differences(before, after)
    return StateDifference(
        saga=saga,
        key=key,
        from_version=first,
        to_version=last,
        from_status=older.instance.status,
        to_status=newer.instance.status,
        changes=changes,
        truncated=truncated,
    )


def _shown(
    revision: Revision, show: Show, actions: Iterable[str] = (), waits: Iterable[Wait] = ()
) -> InstanceNow:
    instance = revision.instance
    stored = encode(instance)
    shown = document(show, stored)
    told = [structs.replace(wait, words=show_text(show, wait.words, stored)) for wait in waits]
    return InstanceNow(
        saga=instance.saga,
        key=instance.key,
        version=instance.version,
        status=instance.status,
        seq=revision.seq,
        at=revision.at.astimezone(UTC),
        hash=revision.hash,
        actions=list(actions),
        waits_for=told,
        state=msgspec.json.decode(shown, type=_Document).state,
        document=shown,
    )


ROUTES = (get_instance, get_instance_at, diff_instance)
