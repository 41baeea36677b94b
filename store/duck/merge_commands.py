"""Merging commands: a row comes from the revision that sent it; its message, its answer, a dead
letter, an action that dropped it and the attempts at it follow, in the same batch or a later one.

``sent`` are the commands new in a batch, ``messages`` and ``said`` what the batch tells about any
command: where it was stored last, and its last status. Errors carry the sequence of the event that
brought them, so that the last one stands whichever stream is read first.
"""

from __future__ import annotations

from store.duck.step import step
from store.projection.staged import (
    COMMANDS,
    EXECUTIONS,
    LETTERS,
    SENDS,
    STILL_OPEN,
    TRANSITIONS,
)

SENT = step(
    """
CREATE OR REPLACE TEMP TABLE sent AS
SELECT id, hash(id) AS hash, target, saga, key, hash(saga, key) AS ident, version, seq AS sent_seq,
    committed_at AS sent_at, TRY_CAST(payload AS JSON) AS payload
FROM staged_sends WHERE again = 0
QUALIFY row_number() OVER (PARTITION BY id ORDER BY seq) = 1""",
    SENDS,
    COMMANDS,
    TRANSITIONS,
)
MESSAGES = step(
    """
CREATE OR REPLACE TEMP TABLE messages AS
SELECT id, max(seq) AS seq, arg_max(sends, seq) AS sends,
    TRY_CAST(arg_max(payload, seq) AS JSON) AS payload,
    TRY_CAST(nullif(arg_max(deadline, seq), '') AS TIMESTAMPTZ) AS deadline,
    arg_max(trace, seq) AS trace
FROM staged_commands GROUP BY id""",
    SENDS,
    COMMANDS,
)
SAID = step(
    """
CREATE OR REPLACE TEMP TABLE said AS
SELECT id, arg_max(status, seq) AS status, max(answered_at) AS answered_at,
    arg_max(error, error_seq) AS error, max(error_seq) AS error_seq
FROM (
    SELECT answers AS id, seq, CASE WHEN failed = 1 THEN 'failed' ELSE 'completed' END AS status,
        cause_at AS answered_at,
        CASE WHEN failed = 1 THEN cause_payload->>'$.reason' END AS error,
        CASE WHEN failed = 1 THEN cause_seq END AS error_seq
    FROM moved WHERE answers <> ''
    UNION ALL BY NAME
    SELECT id, seq, 'open' AS status FROM staged_sends WHERE again = 1
    UNION ALL BY NAME
    SELECT command AS id, log_seq AS seq, 'dead_letter' AS status
    FROM staged_letters WHERE command <> '' AND status = 'open' AND "by" = '')
GROUP BY id""",
    SENDS,
    TRANSITIONS,
    LETTERS,
)
ADD = step(
    """
INSERT INTO base.commands BY NAME
SELECT s.id, s.target, s.saga, s.key, s.version, coalesce(m.sends, 1) AS sends, m.seq,
    s.sent_at, coalesce(m.payload, s.payload) AS payload, m.deadline,
    'open' AS status, coalesce(e.attempts, 0) AS attempts, nullif(e.error, '') AS error,
    coalesce(m.trace, '') AS trace, s.hash, s.ident, coalesce(e.seq, 0) AS error_seq
FROM sent AS s LEFT JOIN messages AS m ON m.id = s.id
LEFT JOIN (
    SELECT command, count(*) AS attempts, arg_max(error, seq) AS error, max(seq) AS seq
    FROM base.executions WHERE hash IN (SELECT hash FROM sent) GROUP BY command
) AS e ON e.command = s.id
ORDER BY s.sent_seq""",
    SENDS,
)
MOVE = step(
    """
UPDATE base.commands AS c
SET seq = m.seq, sends = m.sends, payload = m.payload, deadline = m.deadline, trace = m.trace
FROM messages AS m
WHERE c.hash = hash(m.id) AND c.id = m.id AND m.id NOT IN (SELECT id FROM sent)""",
    COMMANDS,
)
SETTLE = step(
    """
UPDATE base.commands AS c
SET status = f.status,
    answered_at = CASE WHEN f.status <> 'open' THEN coalesce(f.answered_at, c.answered_at) END,
    total_ms = CASE WHEN f.status <> 'open' THEN
        (epoch_us(coalesce(f.answered_at, c.answered_at)) - epoch_us(c.sent_at)) / 1000 END,
    error = CASE WHEN f.error_seq > c.error_seq THEN f.error ELSE c.error END,
    error_seq = greatest(c.error_seq, coalesce(f.error_seq, 0))
FROM said AS f WHERE c.hash = hash(f.id) AND c.id = f.id""",
    SENDS,
    TRANSITIONS,
    LETTERS,
)
DROP = step(
    """
UPDATE base.commands AS c SET status = 'dropped'
FROM (SELECT saga, key, max(version) AS version FROM staged_still_open GROUP BY saga, key) AS i
WHERE c.ident = hash(i.saga, i.key) AND c.saga = i.saga AND c.key = i.key AND c.status = 'open'
    AND c.version <= i.version
    AND (c.saga, c.key, c.id) NOT IN (
        SELECT o.saga, o.key, o.id FROM staged_still_open AS o
        WHERE o.version = (SELECT max(l.version) FROM staged_still_open AS l
            WHERE l.saga = o.saga AND l.key = o.key))""",
    STILL_OPEN,
)
ADD_EXECUTIONS = step(
    """
INSERT INTO base.executions BY NAME
SELECT seq, command, target, saga, key, worker, attempt,
    TRY_CAST(queued AS TIMESTAMPTZ) AS queued_at, TRY_CAST(started AS TIMESTAMPTZ) AS started_at,
    TRY_CAST(ended AS TIMESTAMPTZ) AS ended_at,
    (epoch_us(started_at) - epoch_us(queued_at)) / 1000 AS queued_ms,
    (epoch_us(ended_at) - epoch_us(started_at)) / 1000 AS duration_ms, outcome, error,
    hash(command) AS hash
FROM staged_executions""",
    EXECUTIONS,
)
COUNT_ATTEMPTS = step(
    """
UPDATE base.commands AS c
SET attempts = c.attempts + e.attempts,
    error = CASE WHEN e.seq >= c.error_seq THEN nullif(e.error, '') ELSE c.error END,
    error_seq = greatest(c.error_seq, e.seq)
FROM (SELECT command, count(*) AS attempts, arg_max(error, seq) AS error, max(seq) AS seq
      FROM staged_executions GROUP BY command) AS e
WHERE c.hash = hash(e.command) AND c.id = e.command""",
    EXECUTIONS,
)

STEPS = (SENT, MESSAGES, SAID, ADD, MOVE, SETTLE, DROP, ADD_EXECUTIONS, COUNT_ATTEMPTS)
