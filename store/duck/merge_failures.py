"""Merging failures: what went wrong in a batch, each with the fingerprint of its cause.

``base.failures`` is worked out here once and stands by itself: to find the few transitions that
went wrong among all the others, and to take out of their messages what varies, took longer than
anything else that pages ask. ``store.projection.failures`` reads it.

A row is one way in which one transition went wrong: its job failed, a handler parked the instance,
or it ended so. Where an operator's retry parks an instance again with the same error, that does
not count as a new failure; the message that such a row stands for is the last one before it that no
operator sent.
"""

from __future__ import annotations

from store.duck.merge_instances import FAILURES
from store.duck.step import step
from store.fingerprints import fingerprint_sql, normalise_sql

NO_REASON = "no reason given"

# Failures without a reason in their payload stand together. In its place the error of the command's
# last attempt is shown, which may come in a later batch.
_JOBS = """
SELECT 'job' AS kind, m.saga, m.key, m.ident, m.version, m.definition, m.committed_at AS failed_at,
    m.seq, coalesce(c.target, m.cause_payload->>'target', '') AS place, m.cause_kind, m.cause_type,
    coalesce(m.cause_payload->>'error', '') AS error_type, m.cause_payload->>'reason' AS message,
    m.answers AS command, m.status = 'parked' AS parked, true AS counts
FROM moved AS m LEFT JOIN (
    SELECT id, target FROM base.commands WHERE rowid IN (
        SELECT rowid FROM base.commands
        WHERE hash IN (SELECT hash(answers) FROM moved WHERE failed))
) AS c ON c.id = m.answers
WHERE m.failed AND m.answers <> ''
"""
_ENDED = """
SELECT m.status AS kind, m.saga, m.key, m.ident, m.version, m.definition,
    m.committed_at AS failed_at, m.seq, m.cause_type AS place, m.cause_kind, m.cause_type,
    coalesce(m.error_type, '') AS error_type, coalesce(m.error_message, '') AS message,
    '' AS command, false AS parked, true AS counts
FROM moved AS m JOIN chain AS b ON b.seq = m.seq
WHERE m.status IN ('failed', 'cancelled') AND b.status_before IS DISTINCT FROM m.status
    AND m.cause_kind <> 'operator'
"""
# Together with those of the same instances in batches before, which say what is new.
_PARKED = """
SELECT * EXCLUDE (is_new, status_before, fresh), true AS parked,
    is_new OR status_before IS DISTINCT FROM 'parked' AS counts
FROM (
    SELECT *, lag(message) OVER w IS DISTINCT FROM message AS is_new,
        coalesce(last_value(CASE WHEN cause_kind <> 'operator' THEN cause_type END IGNORE NULLS)
            OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW), cause_type) AS place
    FROM (
        SELECT 'parked' AS kind, m.saga, m.key, m.ident, m.version, m.definition,
            m.committed_at AS failed_at, m.seq, m.cause_kind, m.cause_type,
            coalesce(m.error_type, '') AS error_type, coalesce(m.error_message, '') AS message,
            '' AS command, b.status_before, true AS fresh
        FROM moved AS m JOIN chain AS b ON b.seq = m.seq
        WHERE m.status = 'parked' AND m.error_type IS DISTINCT FROM 'CommandFailed'
        UNION ALL BY NAME
        SELECT saga, key, ident, version, cause_kind, cause_type, message, false AS fresh
        FROM base.failures
        WHERE kind = 'parked' AND ident IN (SELECT ident FROM moved WHERE status = 'parked')
    )
    WINDOW w AS (PARTITION BY saga, key ORDER BY version)
) WHERE fresh
"""
_CAUSE = normalise_sql("error_type", f"coalesce(message, '{NO_REASON}')")
_FINGERPRINT = fingerprint_sql("kind", "saga", "definition", "place", "error_type", "cause")

ADD = step(
    f"""
INSERT INTO base.failures BY NAME
SELECT *, {_FINGERPRINT} AS fingerprint FROM (
    SELECT *, {_CAUSE} AS cause
    FROM ({_JOBS} UNION ALL BY NAME {_ENDED} UNION ALL BY NAME {_PARKED})
) ORDER BY seq""",
    FAILURES,
)

STEPS = (ADD,)
