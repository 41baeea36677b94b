"""Failures grouped by cause: named queries over everything that went wrong.

A failure is one occurrence: an instance was parked by a handler that raised, ended as failed, was
cancelled by its own handler, had a job fail for good, or a message could not be delivered at all.
A job's failure that parks its instance is counted once, as the job's. ``open`` are those that still
wait for a person.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from msgspec import Struct, structs

from store.projection.port import ReadModel

FailureKind: TypeAlias = Literal["parked", "failed", "cancelled", "job", "dead_letter"]

SAMPLES = 3
BUCKETS = 24

# Reads of ours may look beneath the public relations: ``base.failures`` are the transitions that
# went wrong, found and named when they were projected. ``waits``: a dead letter that is open.
_TOLD = """
WITH told AS (SELECT * FROM (
    SELECT kind, saga, key, version, definition, place, error_type, message, cause, failed_at, seq,
        command AS id, false AS waits, fingerprint
    FROM base.failures WHERE counts
    UNION ALL
    SELECT 'dead_letter', saga, key, NULL, '', "type", '', reason, cause, created_at, seq,
        id, status = 'open', fingerprint
    FROM base.dead_letters WHERE command = ''
) WHERE ($saga = '' OR saga = $saga)
    AND (len($fingerprints) = 0 OR list_contains($fingerprints, fingerprint))
)"""
# All that keep an instance parked: failed jobs since it is, or else the last time a handler failed.
# That two instances share an ``ident`` is less likely than 1 to 10 million with a million of them,
# and comparing their names takes as long as all the rest.
_OPENED = """
SELECT f.kind, max(f.seq) AS seq, arg_max(f.fingerprint, f.seq) AS fingerprint
FROM base.failures AS f JOIN base.instances AS i ON i.ident = f.ident
WHERE i.status = 'parked' AND f.parked AND f.counts AND f.failed_at >= i.status_since
    AND (f.kind = 'job') = (i.error_type IS NOT DISTINCT FROM 'CommandFailed')
GROUP BY f.kind, f.ident, CASE f.kind WHEN 'job' THEN f.seq END
"""
_OPEN_COUNTS = f"""
SELECT fingerprint, count(*) AS "open" FROM ({_OPENED}) GROUP BY fingerprint
"""  # noqa: S608 - made of constants

# ``open`` and what no reason was given for are asked apart: planning one query of it all takes
# longer than running three.
_GROUPS = (
    _TOLD
    + """
SELECT fingerprint, any_value(kind) AS kind, any_value(saga) AS saga,
    any_value(definition) AS definition, any_value(place) AS place,
    any_value(error_type) AS error_type, any_value(cause) AS cause,
    arg_max(coalesce(message, cause), (failed_at, seq)) AS message,
    arg_max_null(CASE WHEN message IS NULL THEN id END, (failed_at, seq)) AS unsaid,
    count(*) FILTER (waits) AS "open", min(failed_at) AS first_at,
    max(failed_at) AS last_at,
    arg_max(key, (failed_at, seq), $samples) FILTER (key <> '') AS keys
FROM told
GROUP BY fingerprint
HAVING max(failed_at) >= $since
    AND ($last_at IS NULL OR (max(failed_at), fingerprint) < ($last_at, $last_fingerprint))
ORDER BY last_at DESC, fingerprint DESC
LIMIT $limit
"""
)
# What the last attempts at these commands said.
_SAID = """
SELECT id, error FROM base.commands
WHERE id IN (SELECT unnest($commands)) AND error IS NOT NULL
"""

_COUNTS = f"""{_TOLD}
SELECT fingerprint, $since + to_microseconds(span * $width_us) AS from_at, count(*) AS "count"
FROM (
    SELECT fingerprint, (epoch_us(failed_at) - epoch_us($since)) // $width_us AS span
    FROM told WHERE failed_at >= $since
) GROUP BY ALL ORDER BY ALL
"""  # noqa: S608 - made of constants

_MEMBERS = f"""{_TOLD}, opened AS ({_OPENED})
SELECT t.kind, t.saga, t.key, t.version, t.failed_at, t.seq, t.id,
    coalesce(t.message, t.cause) AS message, CASE WHEN t.message IS NULL THEN t.id END AS unsaid,
    t.waits OR o.seq IS NOT NULL AS "open"
FROM told AS t LEFT JOIN opened AS o ON o.kind = t.kind AND o.seq = t.seq
WHERE (NOT $only_open OR t.waits OR o.seq IS NOT NULL)
    AND ($last_at IS NULL OR (t.failed_at, t.seq, t.id) < ($last_at, $seq, $id))
ORDER BY t.failed_at DESC, t.seq DESC, t.id DESC
LIMIT $limit
"""  # noqa: S608 - made of constants


class Group(Struct, frozen=True, kw_only=True):
    """Failures with one cause. ``place`` is a message type, for jobs their target; ``cause`` the
    message without what varies, ``message`` the last one as it was; all is of all time, ``keys``
    are of the newest.
    """

    fingerprint: str
    kind: FailureKind
    saga: str
    definition: str
    place: str
    error_type: str
    cause: str
    message: str
    open: int
    first_at: datetime
    last_at: datetime
    keys: list[str] | None


class Count(Struct, frozen=True):
    """How many failures of a group fell into the span of time that begins at ``from_at``."""

    fingerprint: str
    from_at: datetime
    count: int


class Member(Struct, frozen=True, kw_only=True):
    """One failure. ``seq`` is of the transition, of a dead letter its message's; ``id`` is the
    command's or the dead letter's.
    """

    kind: FailureKind
    saga: str
    key: str
    version: int | None
    message: str
    failed_at: datetime
    seq: int
    id: str
    open: bool


async def failure_groups(
    read: ReadModel,
    *,
    since: datetime,
    saga: str = "",
    fingerprint: str = "",
    limit: int,
    behind: tuple[datetime, str] | None = None,
) -> list[Group]:
    """Groups with a failure since then, the last seen first; raises ReadError.

    ``behind`` is the last time and fingerprint of the page before.
    """
    last_at, last_fingerprint = behind if behind else (None, "")
    values = {
        "since": since,
        "saga": saga,
        "fingerprints": [fingerprint] if fingerprint else [],
        "limit": limit,
        "samples": SAMPLES,
        "last_at": last_at,
        "last_fingerprint": last_fingerprint,
    }
    groups, opened = await asyncio.gather(
        read.fetch(_GROUPS, values, _Group), read.fetch(_OPEN_COUNTS, {}, _Open)
    )
    stuck = {one.fingerprint: one.open for one in opened}
    said = await _said(read, groups)
    return [
        structs.replace(
            one,
            open=one.open + stuck.get(one.fingerprint, 0),
            message=said.get(one.unsaid or "", one.message),
        )
        for one in groups
    ]


async def failure_counts(
    read: ReadModel, fingerprints: Sequence[str], *, since: datetime, width: timedelta
) -> list[Count]:
    """How often each group failed in each span of ``width`` since then; spans without are left out.

    Raises ReadError.
    """
    if not fingerprints:
        return []
    about = {"fingerprints": list(fingerprints), "saga": ""}
    width_us = max(1, width // timedelta(microseconds=1))
    values = {**about, "since": since, "width_us": width_us}
    return await read.fetch(_COUNTS, values, Count)


async def failure_members(
    read: ReadModel,
    fingerprint: str,
    *,
    limit: int,
    behind: tuple[datetime, int, str] | None = None,
    only_open: bool = False,
) -> list[Member]:
    """The failures of a group, or only those that wait for somebody, newest first; raises
    ReadError.
    """
    last_at, seq, id = behind if behind else (None, 0, "")
    values = {
        "fingerprints": [fingerprint],
        "saga": "",
        "limit": limit,
        "last_at": last_at,
        "seq": seq,
        "id": id,
        "only_open": only_open,
    }
    members = await read.fetch(_MEMBERS, values, _Member)
    said = await _said(read, members)
    return [structs.replace(m, message=said.get(m.unsaid or "", m.message)) for m in members]


class _Group(Group, frozen=True, kw_only=True):
    """``unsaid`` is the command whose failure was the last one, when that gave no reason."""

    unsaid: str | None


class _Member(Member, frozen=True, kw_only=True):
    """``unsaid`` is its command when no reason was given."""

    unsaid: str | None


class _Open(Struct, frozen=True):
    fingerprint: str
    open: int


class _Said(Struct, frozen=True):
    id: str
    error: str


async def _said(read: ReadModel, rows: Sequence[_Group | _Member]) -> dict[str, str]:
    """The errors of commands for which no reason was given, where there is one."""
    commands = [row.unsaid for row in rows if row.unsaid]
    if not commands:
        return {}
    found = await read.fetch(_SAID, {"commands": commands}, _Said)
    return {one.id: one.error for one in found}
