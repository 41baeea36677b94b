"""Merging revisions: transitions, instances, effects and timers.

``prior`` is what the tables know of the instances of a batch, ``chain`` each transition of the
batch with the one before it, found in the batch or in ``prior``.
"""

from __future__ import annotations

from store.duck.step import step
from store.projection.staged import EFFECTS, TIMER_ENDS, TIMERS, TRANSITIONS

ENDED = "('completed', 'failed', 'compensated', 'cancelled')"
PLACES = 4096  # more than a transition can have effects

MOVED = step(
    """
CREATE OR REPLACE TEMP TABLE moved AS
SELECT * REPLACE (
        TRY_CAST(state AS JSON) AS state, TRY_CAST(cause_payload AS JSON) AS cause_payload,
        TRY_CAST(result AS JSON) AS result, TRY_CAST(cause_at AS TIMESTAMPTZ) AS cause_at,
        TRY_CAST(started AS TIMESTAMPTZ) AS started),
    hash(saga, key) AS ident
FROM staged_transitions"""
)
PRIOR = step(
    """
CREATE OR REPLACE TEMP TABLE prior AS
SELECT ident, saga, key, version, status, state, changed_at, status_since
FROM base.instances WHERE ident IN (SELECT ident FROM moved)""",
    TRANSITIONS,
)
CHAIN = step(
    """
CREATE OR REPLACE TEMP TABLE chain AS
SELECT m.*, coalesce(lag(m.status) OVER w, p.status) AS status_before,
    coalesce(lag(m.state) OVER w, p.state) AS state_before,
    coalesce(lag(m.committed_at) OVER w, p.changed_at) AS before_at,
    p.status_since AS prior_since
FROM moved AS m LEFT JOIN prior AS p
    ON p.ident = m.ident AND p.saga = m.saga AND p.key = m.key AND p.version < m.version
WINDOW w AS (PARTITION BY m.ident, m.saga, m.key ORDER BY m.version)""",
    TRANSITIONS,
)
ADD_TRANSITIONS = step(
    """
INSERT INTO base.transitions BY NAME
SELECT saga, key, version, seq, committed_at, status_before, status, state_before,
    state AS state_after, cause_kind, cause_type, cause_id, cause_seq, cause_at, cause_payload,
    cause_by, cause_reason, answers, failed,
    (epoch_us(committed_at) - epoch_us(before_at)) / 1000 AS since_previous_ms,
    greatest(0, epoch_us(committed_at) - epoch_us(cause_at)) / 1000 AS waited_ms,
    effect_count, nullif(error_type, '') AS error_type,
    CASE WHEN error_type <> '' THEN error_message END AS error_message, definition, trace, prev,
    ident
FROM chain ORDER BY seq""",
    TRANSITIONS,
)
DROP_INSTANCES = step(
    """
DELETE FROM base.instances AS i USING prior AS p
WHERE i.ident = p.ident AND i.saga = p.saga AND i.key = p.key""",
    TRANSITIONS,
)
ADD_INSTANCES = step(
    f"""
INSERT INTO base.instances BY NAME
SELECT saga, key, version, status,
    CASE json_type(state, '$.status') WHEN 'VARCHAR' THEN state->>'$.status' END AS own_status,
    state, started AS started_at, committed_at AS changed_at,
    CASE WHEN status IN {ENDED} THEN since END AS ended_at, since AS status_since, seq,
    nullif(error_type, '') AS error_type,
    CASE WHEN error_type <> '' THEN error_message END AS error_message, definition, trace,
    nullif(parent_saga, '') AS parent_saga, nullif(parent_key, '') AS parent_key, cause_kind,
    cause_type, open_commands, open_timers, open_children, backlog, result, ident,
    lower(key || ' ' || coalesce(state, '')) AS search
FROM (
    SELECT *, coalesce(
            max(CASE WHEN status IS DISTINCT FROM status_before THEN committed_at END) OVER same,
            prior_since, committed_at) AS since
    FROM chain
    WINDOW same AS (PARTITION BY ident, saga, key)
    QUALIFY row_number() OVER (PARTITION BY ident, saga, key ORDER BY version DESC) = 1)
ORDER BY seq""",  # noqa: S608 - constants of ours
    TRANSITIONS,
)
ADD_EFFECTS = step(
    """
INSERT INTO base.effects BY NAME
SELECT * REPLACE (TRY_CAST(payload AS JSON) AS payload, TRY_CAST(detail AS JSON) AS detail)
FROM staged_effects""",
    EFFECTS,
)

# --- timers: each is ended by the first thing that comes after its setting

ADD_TIMERS = step(
    f"""
INSERT INTO base.timers BY NAME
SELECT saga, key, id, version, type, TRY_CAST(payload AS JSON) AS payload, committed_at AS set_at,
    TRY_CAST(due AS TIMESTAMPTZ) AS due_at, 'pending' AS status, hash(saga, key) AS ident,
    seq * {PLACES} + ordinal + 1 AS place
FROM staged_timers""",  # noqa: S608
    TIMERS,
)
END_TIMERS = step(
    f"""
UPDATE base.timers AS t SET status = e.status, ended_at = e.ended_at
FROM (
    SELECT t.ident, t.id, t.place, arg_min(e.status, e.place) AS status,
        arg_min(e.ended_at, e.place) AS ended_at
    FROM base.timers AS t JOIN (
        SELECT saga, key, id, version, seq * {PLACES} + ordinal + 1 AS place, status,
            coalesce(TRY_CAST(nullif(fired_at, '') AS TIMESTAMPTZ), committed_at) AS ended_at
        FROM staged_timer_ends
        UNION ALL
        SELECT saga, key, id, -1, seq * {PLACES} + ordinal + 1, 'replaced', committed_at
        FROM staged_timers
    ) AS e ON t.ident = hash(e.saga, e.key) AND t.saga = e.saga AND t.key = e.key AND t.id = e.id
    WHERE t.status = 'pending'
        AND CASE e.version WHEN -1 THEN e.place > t.place ELSE e.version = t.version END
    GROUP BY t.ident, t.id, t.place
) AS e
WHERE t.ident = e.ident AND t.id = e.id AND t.place = e.place""",  # noqa: S608
    TIMERS,
    TIMER_ENDS,
)

STEPS = (
    MOVED,
    PRIOR,
    CHAIN,
    ADD_TRANSITIONS,
    DROP_INSTANCES,
    ADD_INSTANCES,
    ADD_EFFECTS,
    ADD_TIMERS,
    END_TIMERS,
)
