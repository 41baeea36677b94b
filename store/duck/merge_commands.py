"""Merging commands: a row comes from the revision that sent it; its message, its answer, a dead
letter, an action that dropped it and the attempts at it follow, in the same batch or a later one.

``sent`` are the commands new in a batch, ``ran`` (of ``merge_executions``) its attempts. Messages
and what is said tell of any command: where it was stored last, and its last status. Errors carry
the sequence of the event that brought them, so that the last one stands whichever stream is read
first.
"""

from __future__ import annotations

from store.duck.merge_instances import ANSWERS, OPERATOR, SENT_BY
from store.duck.step import LAST_WORD, Need, Step, step
from store.projection.staged import ATTEMPTS, COMMANDS, LETTERS, RESENT, REVISIONS

SENDS = "sends"  # a trait: the batch has a command that is new
SETTLING = (ANSWERS, LETTERS, ATTEMPTS)  # any of them changes commands that were sent

SENT = step(
    f"""
CREATE OR REPLACE TEMP TABLE sent AS
SELECT id, hash(id) AS hash, name AS target, saga, key, ident, version, seq AS sent_seq,
    committed_at AS sent_at, payload
FROM acted WHERE kind = 'send' AND {SENT_BY} = version""",
    REVISIONS,
    COMMANDS,
    tells=(SENDS,),
)


def oldest(ids: str, *needs: Need) -> Step:
    """Note before which row no command of these ids stands.

    One narrow column is read for that; an update without such a bound reads all that it needs of
    every command there ever was.
    """
    return step(
        f"""
SET VARIABLE oldest_command = (
    SELECT coalesce(min(rowid), {2**63 - 1}) FROM base.commands
    WHERE hash IN (SELECT hash(id) FROM ({ids})))""",
        *needs,
    )


_MESSAGES = """
    SELECT id, seq, sends, TRY_CAST(payload AS JSON) AS payload,
        TRY_CAST(nullif(deadline, '') AS TIMESTAMPTZ) AS deadline, trace
    FROM staged_commands QUALIFY row_number() OVER (PARTITION BY id ORDER BY seq DESC) = 1"""
_SAID = f"""
    SELECT id, arg_max(status, seq) AS status, max(answered_at) AS answered_at,
        arg_max(error, error_seq) AS error, max(error_seq) AS error_seq,
        count(ran_seq) AS attempts, arg_max(ran_error, ran_seq) AS ran_error,
        max(ran_seq) AS ran_seq
    FROM (
        SELECT answers AS id, seq, CASE WHEN failed THEN 'failed' ELSE 'completed' END AS status,
            cause_at AS answered_at,
            CASE WHEN failed THEN cause_payload->>'$.reason' END AS error,
            CASE WHEN failed THEN
                CASE cause_seq WHEN 0 THEN {LAST_WORD} + seq ELSE cause_seq END END AS error_seq
        FROM moved WHERE answers <> ''
        UNION ALL BY NAME
        SELECT id, seq, 'open' AS status FROM acted
        WHERE kind = 'send' AND {SENT_BY} <> version
        UNION ALL BY NAME
        SELECT command AS id, log_seq AS seq, 'dead_letter' AS status
        FROM staged_letters WHERE command <> '' AND status = 'open' AND "by" = ''
        UNION ALL BY NAME
        SELECT command AS id, error AS ran_error, error_seq AS ran_seq FROM ran)
    GROUP BY id"""
ADD = step(
    f"""
INSERT INTO base.commands BY NAME
SELECT s.id, s.target, s.saga, s.key, s.version, coalesce(m.sends, 1) AS sends, m.seq,
    s.sent_at, coalesce(m.payload, s.payload) AS payload, m.deadline,
    'open' AS status, coalesce(e.attempts, 0) AS attempts, nullif(e.error, '') AS error,
    coalesce(m.trace, '') AS trace, s.hash, s.ident, coalesce(e.seq, 0) AS error_seq
FROM sent AS s LEFT JOIN ({_MESSAGES}) AS m ON m.id = s.id
LEFT JOIN (
    SELECT command, count(*) AS attempts, arg_max(error, seq) AS error, max(seq) AS seq
    FROM base.executions WHERE stream = 'events'
        AND rowid IN (SELECT rowid FROM base.executions WHERE hash IN (SELECT hash FROM sent))
    GROUP BY command
) AS e ON e.command = s.id""",
    SENDS,
)
MOVED_SINCE = oldest("SELECT id FROM staged_commands", RESENT)
MOVE = step(
    f"""
UPDATE base.commands AS c
SET seq = m.seq, sends = m.sends, payload = m.payload, deadline = m.deadline, trace = m.trace,
    tick = getvariable('tick')
FROM ({_MESSAGES}) AS m
WHERE c.rowid >= getvariable('oldest_command') AND c.hash = hash(m.id) AND c.id = m.id
    AND m.id NOT IN (SELECT id FROM sent)""",
    RESENT,
)
SETTLED_SINCE = oldest(
    """
    SELECT answers AS id FROM moved UNION ALL SELECT id FROM acted WHERE kind = 'send'
    UNION ALL SELECT command AS id FROM staged_letters UNION ALL SELECT command AS id FROM ran""",
    *SETTLING,
)
SETTLE = step(
    f"""
UPDATE base.commands AS c
SET status = coalesce(f.status, c.status),
    answered_at = CASE WHEN coalesce(f.status, c.status) <> 'open'
        THEN coalesce(f.answered_at, c.answered_at) END,
    total_ms = CASE WHEN coalesce(f.status, c.status) <> 'open' THEN
        (epoch_us(coalesce(f.answered_at, c.answered_at)) - epoch_us(c.sent_at)) / 1000 END,
    attempts = c.attempts + f.attempts,
    error = CASE WHEN f.ran_seq >= greatest(c.error_seq, coalesce(f.error_seq, 0))
            THEN nullif(f.ran_error, '')
        WHEN f.error_seq > c.error_seq THEN f.error ELSE c.error END,
    error_seq = greatest(c.error_seq, f.error_seq, f.ran_seq), tick = getvariable('tick')
FROM ({_SAID}) AS f
WHERE c.rowid >= getvariable('oldest_command') AND c.hash = hash(f.id) AND c.id = f.id""",
    *SETTLING,
)
DROP = step(
    """
UPDATE base.commands AS c SET status = 'dropped', tick = getvariable('tick')
FROM (SELECT ident, saga, key, max(version) AS version, arg_max(commands, version) AS still_open
      FROM moved WHERE cause_kind = 'operator' GROUP BY ident, saga, key) AS i
WHERE c.ident = i.ident AND c.saga = i.saga AND c.key = i.key AND c.status = 'open'
    AND c.version <= i.version AND NOT coalesce(list_contains(i.still_open, c.id), false)""",
    OPERATOR,
)
STEPS = (SENT, ADD, MOVED_SINCE, MOVE, SETTLED_SINCE, SETTLE, DROP)
