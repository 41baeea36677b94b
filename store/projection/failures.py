"""Failures grouped by cause: named queries over everything that went wrong.

A failure is one occurrence: an instance was parked by a handler that raised, ended as failed, was
cancelled by its own handler, had a job fail for good, or a message could not be delivered at all.
A job's failure that parks its instance is counted once, as the job's. ``open`` are those that still
wait for a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from msgspec import Struct

from store.projection.port import ReadModel

FailureKind: TypeAlias = Literal["parked", "failed", "cancelled", "job", "dead_letter"]

SAMPLES = 3
BUCKETS = 24

# Reads of ours may look beneath the public relations: ``base.failures`` are the transitions that
# went wrong, found and named when they were projected. Of those that parked an instance the last
# one is open, for as long as it stays parked so. Where a job gave no reason, the error of its
# command stands in its place.
_TOLD = """
WITH told AS (SELECT * FROM (
    SELECT kind, saga, key, ident, version, definition, place, error_type, message, cause,
        failed_at, seq, command AS id, parked, fingerprint
    FROM base.failures WHERE counts
    UNION ALL BY NAME
    SELECT 'dead_letter' AS kind, saga, key, hash(saga, key) AS ident, '' AS definition,
        "type" AS place, '' AS error_type, reason AS message, cause, created_at AS failed_at, seq,
        id, status = 'open' AS parked, fingerprint
    FROM base.dead_letters WHERE command = ''
) WHERE ($saga = '' OR saga = $saga)
    AND (len($fingerprints) = 0 OR list_contains($fingerprints, fingerprint))
)"""
_FAILURES = f"""{_TOLD}, standing AS (
    SELECT i.ident, i.saga, i.key, i.status_since, last.version,
        i.error_type IS NOT DISTINCT FROM 'CommandFailed' AS by_job
    FROM base.instances AS i LEFT JOIN (
        SELECT ident, saga, key, max(version) AS version
        FROM base.failures WHERE kind = 'parked' AND counts GROUP BY ident, saga, key
    ) AS last ON last.ident = i.ident AND last.saga = i.saga AND last.key = i.key
    WHERE i.status = 'parked'
), failures AS (
    SELECT f.* REPLACE (coalesce(f.message, c.error, f.cause) AS message),
        f.parked AND (f.kind = 'dead_letter' OR coalesce(f.failed_at >= i.status_since
            AND CASE f.kind WHEN 'job' THEN i.by_job
                ELSE NOT i.by_job AND f.version = i.version END, false)) AS is_open
    FROM told AS f
    LEFT JOIN standing AS i ON i.ident = f.ident AND i.saga = f.saga AND i.key = f.key
    LEFT JOIN (
        SELECT id, error FROM base.commands
        WHERE id IN (SELECT command FROM base.failures WHERE message IS NULL)
    ) AS c ON f.message IS NULL AND c.id = f.id
)
"""  # noqa: S608 - made of constants

_GROUPS = (
    _FAILURES
    + """
SELECT fingerprint, any_value(kind) AS kind, any_value(saga) AS saga,
    any_value(definition) AS definition, any_value(place) AS place,
    any_value(error_type) AS error_type, any_value(cause) AS cause,
    arg_max(message, (failed_at, seq)) AS message,
    count(*) FILTER (is_open) AS "open",
    min(failed_at) AS first_at, max(failed_at) AS last_at,
    arg_max(key, (failed_at, seq), $samples) FILTER (key <> '') AS keys
FROM failures
GROUP BY fingerprint
HAVING max(failed_at) >= $since
    AND ($last_at IS NULL OR (max(failed_at), fingerprint) < ($last_at, $last_fingerprint))
ORDER BY last_at DESC, fingerprint DESC
LIMIT $limit
"""
)

_COUNTS = (
    _TOLD
    + """
SELECT fingerprint, time_bucket($width, failed_at, $since) AS from_at, count(*) AS "count"
FROM told WHERE failed_at >= $since GROUP BY ALL ORDER BY ALL
"""
)

_MEMBERS = (
    _FAILURES
    + """
SELECT kind, saga, key, version, message, failed_at, seq, id, is_open AS "open"
FROM failures
WHERE (NOT $only_open OR is_open)
    AND ($last_at IS NULL OR (failed_at, seq, id) < ($last_at, $seq, $id))
ORDER BY failed_at DESC, seq DESC, id DESC
LIMIT $limit
"""
)


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
    return await read.fetch(
        _GROUPS,
        {
            "since": since,
            "saga": saga,
            "fingerprints": [fingerprint] if fingerprint else [],
            "limit": limit,
            "samples": SAMPLES,
            "last_at": last_at,
            "last_fingerprint": last_fingerprint,
        },
        Group,
    )


async def failure_counts(
    read: ReadModel, fingerprints: Sequence[str], *, since: datetime, width: timedelta
) -> list[Count]:
    """How often each group failed in each span of ``width`` since then; spans without are left out.

    Raises ReadError.
    """
    if not fingerprints:
        return []
    about = {"fingerprints": list(fingerprints), "saga": ""}
    values = {**about, "since": since, "width": width}
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
    return await read.fetch(_MEMBERS, values, Member)
