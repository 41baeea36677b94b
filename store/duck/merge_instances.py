"""Merging revisions: transitions, instances, effects and timers.

``moved`` are the documents of a batch taken apart, ``acted`` their effects. ``prior`` is what the
tables know of the instances of a batch, ``chain`` what was before each transition: what the
version before left, and nothing when that one is not known.
Where a batch ends and the next begins makes no difference to the rows.
"""

from __future__ import annotations

from sagas.instance import SCHEMA_VERSION
from store.duck.step import of, shape, step
from store.projection.staged import ATTEMPTS, REVISIONS

OPERATOR = "operator"  # traits: the batch has an operator's action
TIMERS = "timers"  # something about a timer
FAILURES = "failures"  # a transition that went wrong
ILLEGIBLE = "illegible"  # a document that could not be read
KNOWN = "known"  # an instance that was there before
ANSWERS = "answers"  # a command was answered, or sent again

ENDED = "('completed', 'failed', 'compensated', 'cancelled')"
PLACES = 4096  # more than a transition can have effects
# A command's id names the version that sent it first; a later one sends it again.
SENT_BY = "TRY_CAST(split_part(id, '.', 3) AS INTEGER)"

_CAUSE = (
    "{"
    '"kind": "VARCHAR", "type": "VARCHAR", "id": "VARCHAR", "seq": "BIGINT",'
    ' "at": "TIMESTAMPTZ", "payload": "JSON", "by": "VARCHAR", "reason": "VARCHAR",'
    ' "answers": "VARCHAR", "failed": "BOOLEAN", "epoch": "BIGINT", "execution": "JSON"}'
)
_DOCUMENT = shape(
    v=of("INTEGER"),
    saga=of("VARCHAR"),
    key=of("VARCHAR"),
    version=of("INTEGER"),
    status=of("VARCHAR"),
    state=of("JSON"),
    started=of("TIMESTAMPTZ"),
    cause=_CAUSE,
    effects='["JSON"]',
    error='{"type": "VARCHAR", "message": "VARCHAR"}',
    definition=of("VARCHAR"),
    definition_version=of("INTEGER"),
    trace=of("VARCHAR"),
    prev=of("VARCHAR"),
    timers=of("JSON"),
    backlog='["JSON"]',
    commands=of("JSON"),
    children=of("JSON"),
    parent='{"saga": "VARCHAR", "key": "VARCHAR"}',
    result=of("JSON"),
)
_EFFECT = shape(
    kind=of("VARCHAR"),
    id=of("VARCHAR"),
    target=of("VARCHAR"),
    type=of("VARCHAR"),
    saga=of("VARCHAR"),
    payload=of("JSON"),
    result=of("JSON"),
    at=of("TIMESTAMPTZ"),
    cause='{"type": "VARCHAR", "id": "VARCHAR", "payload": "JSON"}',
)
_LEGIBLE = f"""coalesce(d.v BETWEEN 1 AND {SCHEMA_VERSION} AND d.saga = saga AND d.key = key
    AND d.version > 0 AND d.status IS NOT NULL AND d.cause.kind IS NOT NULL
    AND d.cause.seq IS NOT NULL, false)"""

MOVED = step(
    f"""
CREATE OR REPLACE TEMP TABLE moved AS
WITH parsed AS MATERIALIZED (
    SELECT *, TRY(from_json(document, {_DOCUMENT})) AS d FROM staged_revisions)
SELECT seq, before_seq, committed_at, saga, key, hash(saga, key) AS ident, d.version, d.status,
    d.state, d.started, d.cause.kind AS cause_kind, d.cause.type AS cause_type,
    d.cause.id AS cause_id,
    d.cause.seq AS cause_seq, d.cause.at AS cause_at, d.cause.payload AS cause_payload,
    coalesce(d.cause.by, '') AS cause_by, coalesce(d.cause.reason, '') AS cause_reason,
    coalesce(d.cause.answers, '') AS answers, coalesce(d.cause.failed, false) AS failed,
    coalesce(d.cause.epoch, 0) AS epoch, d.effects, d.error.type AS error_type,
    d.error.message AS error_message, d.definition,
    coalesce(d.definition_version, 1) AS definition_version, d.trace, d.prev,
    d.parent.saga AS parent_saga, d.parent.key AS parent_key, d.result,
    json_keys(d.commands) AS commands, coalesce(len(json_keys(d.timers)), 0) AS open_timers,
    coalesce(len(list_filter(json_extract_string(d.children, '$.*'), lambda one: one = 'running')),
        0) AS open_children,
    coalesce(len(d.backlog), 0) AS backlog,
    nullif(d.cause.execution::VARCHAR, 'null') AS execution
FROM parsed WHERE {_LEGIBLE}"""
)
ADD_ILLEGIBLE = step(
    """
INSERT INTO base.unreadable BY NAME
SELECT 'log' AS stream, seq, saga || '/' || key AS subject, committed_at AS stored_at,
    'it is no document of this instance that this program can read' AS reason
FROM staged_revisions WHERE seq NOT IN (SELECT seq FROM moved)""",
    ILLEGIBLE,
)
PRIOR = step(
    """
CREATE OR REPLACE TEMP TABLE prior AS
SELECT ident, saga, key, version, status, state, changed_at, status_since, seq
FROM base.instances
WHERE rowid IN (SELECT rowid FROM base.instances WHERE ident IN (SELECT ident FROM moved))""",
    REVISIONS,
    tells=(KNOWN,),
)
CHAIN = step(
    """
CREATE OR REPLACE TEMP TABLE chain AS
SELECT m.ident, m.saga, m.key, m.seq, m.status, m.committed_at,
    coalesce(b.status, p.status) AS status_before, coalesce(b.state, p.state) AS state_before,
    coalesce(b.committed_at, p.changed_at) AS before_at
FROM moved AS m
LEFT JOIN moved AS b ON b.seq = m.before_seq AND b.version = m.version - 1
LEFT JOIN prior AS p ON m.before_seq < 0 AND p.ident = m.ident AND p.saga = m.saga
    AND p.key = m.key AND p.version = m.version - 1""",
    REVISIONS,
)
ADD_TRANSITIONS = step(
    f"""
INSERT INTO base.transitions BY NAME
SELECT m.saga, m.key, m.version, m.seq, m.committed_at, c.status_before, m.status,
    c.state_before, m.state AS state_after, m.cause_kind, m.cause_type, m.cause_id, m.cause_seq,
    m.cause_at, m.cause_payload, m.cause_by, m.cause_reason, m.answers, m.failed,
    (epoch_us(m.committed_at) - epoch_us(c.before_at)) / 1000 AS since_previous_ms,
    greatest(0, epoch_us(m.committed_at) - epoch_us(m.cause_at)) / 1000 AS waited_ms,
    coalesce(len(m.effects), 0) AS effect_count, m.error_type, m.error_message, m.definition,
    m.definition_version, m.trace, m.prev, m.ident,
    CASE WHEN m.status IS NOT DISTINCT FROM c.status_before THEN 0
        WHEN m.status = 'parked' THEN 1 WHEN m.status = 'failed' THEN 3
        WHEN m.status IN {ENDED} THEN 2 ELSE 0 END AS turn
FROM moved AS m JOIN chain AS c ON c.seq = m.seq""",
    REVISIONS,
)
DROP_INSTANCES = step(
    """
DELETE FROM base.instances WHERE seq IN (SELECT seq FROM prior)""",
    KNOWN,
)
ADD_INSTANCES = step(
    f"""
INSERT INTO base.instances BY NAME
SELECT m.saga, m.key, m.version, m.status,
    CASE WHEN own LIKE '"%' THEN json_extract_string(own, '$') END AS own_status,
    m.state, m.started AS started_at, m.committed_at AS changed_at,
    CASE WHEN m.status IN {ENDED} THEN m.since END AS ended_at, m.since AS status_since, m.seq,
    m.error_type, m.error_message, m.definition, m.definition_version, m.trace, m.parent_saga,
    m.parent_key,
    m.cause_kind, m.cause_type, coalesce(len(m.commands), 0) AS open_commands, m.open_timers,
    m.open_children, m.backlog, m.result, m.ident
FROM (
    SELECT m.*, coalesce(l.since, p.status_since, m.committed_at) AS since,
        json_extract(m.state, '$.status') AS own
    FROM moved AS m JOIN (
        SELECT max(seq) AS seq,
            max(CASE WHEN status IS DISTINCT FROM status_before THEN committed_at END) AS since
        FROM chain GROUP BY ident, saga, key
    ) AS l ON l.seq = m.seq
    LEFT JOIN prior AS p ON p.ident = m.ident AND p.saga = m.saga AND p.key = m.key
) AS m
ORDER BY m.seq""",
    REVISIONS,
)
ACTED = step(
    f"""
CREATE OR REPLACE TEMP TABLE acted AS
WITH parsed AS MATERIALIZED (
    SELECT *, from_json(detail, {_EFFECT}) AS e
    FROM (SELECT saga, key, ident, version, seq, committed_at, unnest(effects) AS detail,
            generate_subscripts(effects, 1) - 1 AS ordinal
        FROM moved))
SELECT saga, key, ident, version, seq, committed_at, ordinal, detail, e.kind,
    coalesce(e.target, e.saga, e.type, e.cause.type, '') AS name,
    coalesce(e.id, e.cause.id, '') AS id,
    coalesce(e.payload, e.result, e.cause.payload) AS payload, e.at AS due
FROM parsed"""
)
TRAITS = step(
    f"""
SELECT operator, timers OR scheduled, failures, attempts, answers OR sent_again,
    documents < (SELECT count(*) FROM staged_revisions)
FROM (
    SELECT coalesce(bool_or(cause_kind = 'operator'), false) AS operator,
        coalesce(bool_or(cause_kind = 'timer' OR cause_type = 'fire_timer'), false) AS timers,
        coalesce(bool_or(failed OR status IN ('failed', 'parked', 'cancelled')), false) AS failures,
        count(execution) > 0 AS attempts, coalesce(bool_or(answers <> ''), false) AS answers,
        count(*) AS documents
    FROM moved
), (
    SELECT coalesce(bool_or(kind IN ('schedule', 'unschedule')), false) AS scheduled,
        coalesce(bool_or(kind = 'send' AND {SENT_BY} <> version), false) AS sent_again
    FROM acted
)""",
    REVISIONS,
    tells=(OPERATOR, TIMERS, FAILURES, ATTEMPTS, ANSWERS, ILLEGIBLE),
)
ADD_EFFECTS = step(
    """
INSERT INTO base.effects BY NAME
SELECT saga, key, version, ordinal, seq, committed_at, coalesce(kind, '') AS kind, name, id,
    detail
FROM acted""",
    REVISIONS,
)

# --- timers: each is ended by the first thing that comes after its setting. An operator who fires
# one has fired it, unless messages wait and it was set to now instead.

ADD_TIMERS = step(
    f"""
INSERT INTO base.timers BY NAME
SELECT saga, key, id, version, name AS "type", payload, committed_at AS set_at, due AS due_at,
    'pending' AS status, ident, seq * {PLACES} + ordinal + 1 AS place
FROM acted WHERE kind = 'schedule' ORDER BY seq, ordinal""",
    TIMERS,
)
ENDS = step(
    f"""
CREATE OR REPLACE TEMP TABLE ends AS
SELECT ident, saga, key, id, NULL AS version, seq * {PLACES} + ordinal + 1 AS place,
    CASE kind WHEN 'schedule' THEN 'replaced' ELSE 'cancelled' END AS status,
    committed_at AS ended_at
FROM acted WHERE kind IN ('schedule', 'unschedule')
UNION ALL
SELECT ident, saga, key, regexp_replace(cause_id, '@[^@]*$', '') AS id, epoch AS version,
    seq * {PLACES} AS place, 'fired' AS status, cause_at AS ended_at
FROM moved WHERE cause_kind = 'timer' AND epoch > 0
UNION ALL
SELECT m.ident, m.saga, m.key, json_extract_string(m.cause_payload, '$.timer') AS id,
    NULL AS version, m.seq * {PLACES} AS place, 'fired' AS status, m.committed_at AS ended_at
FROM moved AS m
LEFT JOIN acted AS a ON a.seq = m.seq AND a.ordinal = 0 AND a.kind = 'schedule'
    AND a.id = json_extract_string(m.cause_payload, '$.timer')
WHERE m.cause_kind = 'operator' AND m.cause_type = 'fire_timer' AND a.seq IS NULL""",
    TIMERS,
)
END_TIMERS = step(
    """
UPDATE base.timers AS t
SET status = e.status, ended_at = e.ended_at, tick = getvariable('tick')
FROM (
    SELECT t.ident, t.id, t.place, arg_min(e.status, e.place) AS status,
        arg_min(e.ended_at, e.place) AS ended_at
    FROM base.timers AS t JOIN ends AS e
        ON t.ident = e.ident AND t.saga = e.saga AND t.key = e.key AND t.id = e.id
    WHERE t.status = 'pending' AND e.place > t.place
        AND (e.version IS NULL OR e.version = t.version)
    GROUP BY t.ident, t.id, t.place
) AS e
WHERE t.ident = e.ident AND t.id = e.id AND t.place = e.place""",
    TIMERS,
)

STEPS = (
    MOVED,
    ACTED,
    TRAITS,
    ADD_ILLEGIBLE,
    PRIOR,
    CHAIN,
    ADD_TRANSITIONS,
    DROP_INSTANCES,
    ADD_INSTANCES,
    ADD_EFFECTS,
    ADD_TIMERS,
    ENDS,
    END_TIMERS,
)
