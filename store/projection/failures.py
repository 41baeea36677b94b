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

from store.fingerprints import fingerprint_sql, normalise_sql
from store.projection.port import ReadModel

FailureKind: TypeAlias = Literal["parked", "failed", "cancelled", "job", "dead_letter"]

SAMPLES = 3
BUCKETS = 24

# Where an operator's retry parks an instance again with the same error, that is no new failure.
_PARKED = """
SELECT 'parked' AS kind, saga, key, version, definition, place,
    coalesce(error_type, '') AS error_type, coalesce(error_message, '') AS message,
    committed_at AS failed_at, seq, '' AS id,
    lead(version) OVER (PARTITION BY saga, key ORDER BY version) IS NULL AS may_be_open
FROM (
    SELECT *, lag(error_message) OVER w IS DISTINCT FROM error_message AS is_new,
        coalesce(last_value(CASE WHEN cause_kind <> 'operator' THEN cause_type END IGNORE NULLS)
            OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW), cause_type) AS place
    FROM transitions WHERE status = 'parked' AND error_type IS DISTINCT FROM 'CommandFailed'
    WINDOW w AS (PARTITION BY saga, key ORDER BY version)
) WHERE is_new OR status_before IS DISTINCT FROM 'parked'
"""

_JOBS = """
SELECT 'job' AS kind, t.saga, t.key, t.version, t.definition,
    coalesce(c.target, t.cause_payload->>'target', '') AS place,
    coalesce(t.cause_payload->>'error', '') AS error_type,
    coalesce(t.cause_payload->>'reason', c.error, 'no reason given') AS message,
    t.committed_at AS failed_at, t.seq, t.answers AS id, t.status = 'parked' AS may_be_open
FROM transitions AS t LEFT JOIN commands AS c ON c.id = t.answers
WHERE t.failed AND t.answers <> ''
"""

_ENDED = """
SELECT status AS kind, saga, key, version, definition, cause_type AS place,
    coalesce(error_type, '') AS error_type, coalesce(error_message, '') AS message,
    committed_at AS failed_at, seq, '' AS id, false AS may_be_open
FROM transitions
WHERE status IN ('failed', 'cancelled') AND status_before IS DISTINCT FROM status
    AND cause_kind <> 'operator'
"""

_LETTERS = """
SELECT 'dead_letter' AS kind, saga, key, NULL AS version, '' AS definition, "type" AS place,
    '' AS error_type, reason AS message, created_at AS failed_at, seq, id,
    status = 'open' AS may_be_open
FROM dead_letters WHERE command = ''
"""

# Both are worked out once for each text and each cause: failures come in heaps that say the same.
_CAUSE = normalise_sql("error_type", "message")
_FINGERPRINT = fingerprint_sql("kind", "saga", "definition", "place", "error_type", "cause")
_FAILURES = (
    """
WITH told AS MATERIALIZED (
    SELECT kind, saga, key, version, definition, place, error_type, message, failed_at, seq, id,
        may_be_open
    FROM (@PARKED UNION ALL @JOBS UNION ALL @ENDED UNION ALL @LETTERS)
), causes AS MATERIALIZED (
    SELECT error_type, message, @CAUSE AS cause
    FROM (SELECT DISTINCT error_type, message FROM told)
), caused AS MATERIALIZED (
    SELECT told.*, cause FROM told JOIN causes USING (error_type, message)
), names AS MATERIALIZED (
    SELECT *, @FINGERPRINT AS fingerprint
    FROM (SELECT DISTINCT kind, saga, definition, place, error_type, cause FROM caused)
), named AS (
    SELECT caused.*, fingerprint
    FROM caused JOIN names USING (kind, saga, definition, place, error_type, cause)
), failures AS (
    SELECT f.*, f.may_be_open AND (f.kind = 'dead_letter' OR coalesce(
        f.failed_at >= i.status_since
        AND (f.kind = 'job') = (i.error_type IS NOT DISTINCT FROM 'CommandFailed'), false)
    ) AS is_open
    FROM named AS f LEFT JOIN (
        SELECT saga, key, status_since, error_type FROM instances WHERE status = 'parked'
    ) AS i ON i.saga = f.saga AND i.key = f.key
)
""".replace("@CAUSE", _CAUSE)
    .replace("@FINGERPRINT", _FINGERPRINT)
    .replace("@PARKED", _PARKED)
    .replace("@JOBS", _JOBS)
    .replace("@ENDED", _ENDED)
    .replace("@LETTERS", _LETTERS)
)

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
WHERE ($saga = '' OR saga = $saga) AND ($fingerprint = '' OR fingerprint = $fingerprint)
GROUP BY fingerprint
HAVING max(failed_at) >= $since
    AND ($last_at IS NULL OR (max(failed_at), fingerprint) < ($last_at, $last_fingerprint))
ORDER BY last_at DESC, fingerprint DESC
LIMIT $limit
"""
)

_COUNTS = (
    _FAILURES
    + """
SELECT fingerprint, time_bucket($width, failed_at, $since) AS from_at, count(*) AS "count"
FROM failures
WHERE failed_at >= $since AND fingerprint IN (SELECT unnest($fingerprints))
GROUP BY ALL ORDER BY ALL
"""
)

_MEMBERS = (
    _FAILURES
    + """
SELECT kind, saga, key, version, message, failed_at, seq, id, is_open AS "open"
FROM failures
WHERE fingerprint = $fingerprint AND (NOT $only_open OR is_open)
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
            "fingerprint": fingerprint,
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
    values = {"fingerprints": list(fingerprints), "since": since, "width": width}
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
        "fingerprint": fingerprint,
        "limit": limit,
        "last_at": last_at,
        "seq": seq,
        "id": id,
        "only_open": only_open,
    }
    return await read.fetch(_MEMBERS, values, Member)
