"""Merging events and what became of messages: outcomes, dead letters, operator actions.

An event's outcome is worked out from all that is known about it whenever anything of that is new:
``reached`` sums up the instances and records that speak of the events of a batch.
"""

from __future__ import annotations

from store.duck.merge_instances import OPERATOR
from store.duck.step import step
from store.fingerprints import fingerprint_sql, normalise_sql
from store.projection.staged import (
    ACTIONS,
    DECIDED,
    EVENTS,
    LETTERS,
    OUTCOMES,
    REVISIONS,
    UNREADABLE,
)

_CAUSE = normalise_sql("''", "last.reason")
_FINGERPRINT = fingerprint_sql("'dead_letter'", "saga", "''", '"type"', "''", "cause")

# An event that reaches several instances shows the outcome that stands first here.
RANKS = "['no_saga', 'ignored', 'refused', 'dead_letter', 'applied']"

ADD_OUTCOMES = step(
    """
INSERT INTO base.outcomes BY NAME SELECT * FROM staged_outcomes""",
    OUTCOMES,
)
REACHED = step(
    f"""
CREATE OR REPLACE TEMP TABLE reached AS
WITH touched AS MATERIALIZED (
    SELECT cause_seq AS seq FROM moved WHERE cause_kind = 'event'
    UNION SELECT seq FROM staged_outcomes WHERE stream = 'events'
    UNION SELECT seq FROM staged_events)
SELECT seq, {RANKS}[max(rank)] AS outcome,
    CASE WHEN max(rank) < 5 THEN arg_max(reason, rank) END AS reason,
    count(DISTINCT ident) AS instances
FROM (
    SELECT cause_seq AS seq, 5 AS rank, NULL AS reason, ident
    FROM base.transitions
    WHERE cause_kind = 'event' AND cause_seq IN (SELECT seq FROM touched)
        AND cause_seq >= (SELECT min(seq) FROM touched)
    UNION ALL BY NAME
    SELECT seq, list_position({RANKS}, outcome) AS rank, reason
    FROM base.outcomes
    WHERE stream = 'events' AND seq IN (SELECT seq FROM touched)
        AND seq >= (SELECT min(seq) FROM touched))
GROUP BY seq""",
    REVISIONS,
    OUTCOMES,
    EVENTS,
)
ADD_EVENTS = step(
    """
INSERT INTO base.events BY NAME
SELECT e.seq, e.type, nullif(e.key, '') AS key, e.id, e.stored_at,
    TRY_CAST(e.payload AS JSON) AS payload, e.answers, e.failed, e.trace, e.headers, e.bytes,
    coalesce(r.outcome, 'waiting') AS outcome,
    r.reason, coalesce(r.instances, 0) AS instances
FROM staged_events AS e LEFT JOIN reached AS r ON r.seq = e.seq""",
    EVENTS,
)
SETTLE_EVENTS = step(
    """
UPDATE base.events AS e
SET outcome = r.outcome, reason = r.reason, instances = r.instances, tick = getvariable('tick')
FROM reached AS r WHERE e.seq = r.seq AND r.seq NOT IN (SELECT seq FROM staged_events)""",
    REVISIONS,
    OUTCOMES,
)

# --- dead letters: the last record of each counts, the first says since when it is one

LETTERED = step(
    """
CREATE OR REPLACE TEMP TABLE lettered AS
SELECT id, arg_max(s, s.log_seq) AS last,
    least(min(s.stored_at), min(d.created_at)) AS created_at
FROM staged_letters AS s LEFT JOIN base.dead_letters AS d USING (id) GROUP BY id""",
    LETTERS,
)
DROP_LETTERS = step(
    """
DELETE FROM base.dead_letters WHERE id IN (SELECT id FROM lettered)""",
    LETTERS,
)
ADD_LETTERS = step(
    f"""
INSERT INTO base.dead_letters BY NAME
SELECT *, {_FINGERPRINT} AS fingerprint FROM (
    SELECT id, last.status, last.type, last.saga, last.key, last.command, last.reason,
        last.stream, last.seq, created_at, last.stored_at AS changed_at, last."by", last.note,
        {_CAUSE} AS cause
    FROM lettered ORDER BY last.log_seq
)""",
    LETTERS,
)

# --- operator actions: done by the transition they caused, refused by a note or a dead letter

ADD_ACTIONS = step(
    """
INSERT INTO base.operator_actions BY NAME
SELECT id, action, saga, key, "by", origin, reason, requested_at,
    TRY_CAST(request AS JSON) AS request, 'waiting' AS outcome, seq
FROM staged_actions""",
    ACTIONS,
)
SETTLE_ACTIONS = step(
    """
UPDATE base.operator_actions AS a
SET outcome = d.outcome, version = CASE WHEN d.version > 0 THEN d.version END,
    refusal = CASE d.outcome WHEN 'refused' THEN d.refusal END, decided_at = d.decided_at,
    tick = getvariable('tick')
FROM (SELECT seq, arg_min(outcome, rank) AS outcome, arg_min(version, rank) AS version,
        arg_min(refusal, rank) AS refusal, arg_min(decided_at, rank) AS decided_at
      FROM (SELECT *, CASE outcome WHEN 'done' THEN 0 ELSE 1 END AS rank
            FROM (FROM staged_decided UNION ALL BY NAME
                SELECT cause_seq AS seq, 'done' AS outcome, version, '' AS refusal,
                    committed_at AS decided_at
                FROM moved WHERE cause_kind = 'operator'))
      GROUP BY seq) AS d
WHERE a.seq = d.seq AND a.outcome <> 'done'""",
    DECIDED,
    OPERATOR,
)

ADD_UNREADABLE = step(
    """
INSERT INTO base.unreadable BY NAME SELECT * FROM staged_unreadable""",
    UNREADABLE,
)

STEPS = (
    ADD_OUTCOMES,
    REACHED,
    ADD_EVENTS,
    SETTLE_EVENTS,
    LETTERED,
    DROP_LETTERS,
    ADD_LETTERS,
    ADD_ACTIONS,
    SETTLE_ACTIONS,
    ADD_UNREADABLE,
)
