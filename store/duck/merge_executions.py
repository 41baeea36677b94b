"""Merging attempts of jobs: the records that results carry, and revisions where the engine ran a
step itself.

``ran`` are the attempts of a batch; what they say of their commands is merged with all else that
is, after the commands that are new have counted the attempts of former batches.
"""

from __future__ import annotations

from store import codec
from store.duck.merge_commands import SETTLING
from store.duck.step import LAST_WORD, of, shape, step
from store.projection.staged import ATTEMPTS

NO_RECORD = "no record"  # a header that should be the record of an attempt is none

_EXECUTION = shape(
    command=of("VARCHAR"),
    target=of("VARCHAR"),
    worker=of("VARCHAR"),
    attempt=of("INTEGER"),
    queued=of("TIMESTAMPTZ"),
    started=of("TIMESTAMPTZ"),
    ended=of("TIMESTAMPTZ"),
    outcome=of("VARCHAR"),
    error=of("VARCHAR"),
)
# A call of a step has the id of the step's command and a word more.
_COMMAND = r"[^.]+\.[^.]+\.[0-9]{1,15}\.[0-9]{1,15}(\.(call|send)-[0-9a-f]{32})?"


def _token(place: int) -> str:
    """What a token of a command's id stands for, empty when it can't be read."""
    return f"coalesce(TRY(url_decode(replace(tokens[{place}], '=', '%'))), '')"


RAN = step(
    f"""
CREATE OR REPLACE TEMP TABLE ran AS
WITH parsed AS MATERIALIZED (
    SELECT *, CASE WHEN regexp_full_match(x.command, '{_COMMAND}')
        THEN string_split(x.command, '.') END AS tokens
    FROM (SELECT stream, seq, TRY(from_json(execution, {_EXECUTION})) AS x FROM (
        SELECT 'events' AS stream, seq, execution FROM staged_events WHERE execution <> ''
        UNION ALL
        SELECT 'log' AS stream, seq, execution FROM moved WHERE execution IS NOT NULL)))
SELECT stream, seq, CASE stream WHEN 'log' THEN {LAST_WORD} + seq ELSE seq END AS error_seq,
    x.command, coalesce(x.target, '') AS target, {_token(1)} AS saga,
    {_token(2)} AS key, coalesce(x.worker, '') AS worker, x.attempt, x.queued AS queued_at,
    x.started AS started_at, x.ended AS ended_at,
    (epoch_us(x.started) - epoch_us(x.queued)) / 1000 AS queued_ms,
    (epoch_us(x.ended) - epoch_us(x.started)) / 1000 AS duration_ms, x.outcome,
    coalesce(x.error, '') AS error, hash(x.command) AS hash
FROM parsed
WHERE x.command IS NOT NULL AND x.attempt > 0 AND x.outcome IS NOT NULL""",
    *SETTLING,
)
TRAITS = step(
    """
SELECT (SELECT count(*) FROM staged_events WHERE execution <> '')
    > (SELECT count(*) FROM ran WHERE stream = 'events')""",
    ATTEMPTS,
    tells=(NO_RECORD,),
)
ADD_ILLEGIBLE = step(
    f"""
INSERT INTO base.unreadable BY NAME
SELECT 'events' AS stream, seq, type AS subject, stored_at,
    'its header {codec.EXECUTION} is no record of an attempt' AS reason
FROM staged_events WHERE execution <> ''
    AND seq NOT IN (SELECT seq FROM ran WHERE stream = 'events')""",
    NO_RECORD,
)
ADD = step(
    """
INSERT INTO base.executions BY NAME
SELECT * EXCLUDE (error_seq) FROM ran""",
    ATTEMPTS,
)

STEPS = (RAN, TRAITS, ADD_ILLEGIBLE)
AFTER_COMMANDS = (ADD,)
