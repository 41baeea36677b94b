"""Projections of 200,000 instances for the benchmark of pages, written by SQL.

The last hour is as full as it gets: all instances began and changed within it. One in twenty went
wrong, each with a message of its own, for forty causes. All is in the file, as the projector leaves
it.
"""

from __future__ import annotations

import asyncio

from store.duck.projection import DuckProjections
from store.fingerprints import fingerprint_sql, normalise_sql
from store.projection.checkpoint import Streams
from tests.benchmarks.asking import COMMANDS, EVENTS, HISTORY, VERSIONS
from tests.benchmarks.lists import BEGAN, FILL, SAGAS, STATUSES

INSTANCES = 200_000

_ERROR = """
    error_type = CASE WHEN status IN ('failed', 'parked') THEN 'ValueError' END,
    error_message = CASE WHEN status IN ('failed', 'parked')
        THEN 'the shelf of kind ' || chr(65 + (hash(key) % 40)::INT) || ' is empty for ' || key END
"""
# The last change is now.
NOW = f"""
UPDATE base.instances SET tick = 1, changed_at = changed_at + (now() - newest),
    started_at = started_at + (now() - newest), status_since = status_since + (now() - newest),
    status = CASE WHEN status IN ('failed', 'parked') AND hash(key, 1) % 5 <> 0
        THEN 'completed' ELSE status END
FROM (SELECT max(changed_at) AS newest FROM base.instances);
UPDATE base.instances SET {_ERROR},
    ended_at = CASE WHEN status IN ('completed', 'failed', 'compensated') THEN changed_at END;
"""
STORIES = f"""
UPDATE base.transitions SET tick = 1,
    cause_type = ['OrderCreated', 'PaymentCompleted', 'ShipmentCreated'][version],
    status = CASE WHEN version = {VERSIONS} THEN status ELSE 'running' END,
    status_before = CASE WHEN version > 1 THEN 'running' END,
    waited_ms = hash(key, version) % 9000 / 100;
UPDATE base.transitions SET {_ERROR}, turn = CASE WHEN status = coalesce(status_before, '') THEN 0
    WHEN status = 'parked' THEN 1 WHEN status = 'failed' THEN 3
    WHEN status = 'running' THEN 0 ELSE 2 END;
"""
FAILURES = f"""
INSERT INTO base.failures BY NAME
SELECT *, {fingerprint_sql("kind", "saga", "definition", "place", "error_type", "cause")}
    AS fingerprint
FROM (
    SELECT status AS kind, saga, key, ident, version, definition, committed_at AS failed_at, seq,
        cause_type AS place, cause_kind, cause_type, error_type, error_message AS message,
        {normalise_sql("error_type", "error_message")} AS cause, '' AS command,
        status = 'parked' AS parked, true AS counts, 1 AS tick
    FROM base.transitions WHERE status IN ('failed', 'parked') ORDER BY seq
)"""
EXECUTIONS = """
INSERT INTO base.executions BY NAME
SELECT seq, id AS command, target, saga, key, 'worker-1' AS worker, 1 AS attempt,
    sent_at AS queued_at, sent_at AS started_at, answered_at AS ended_at,
    hash(id) % 900 / 100 AS queued_ms, hash(id, 1) % 90000 / 100 AS duration_ms,
    CASE hash(id) % 20 WHEN 0 THEN 'failed' WHEN 1 THEN 'retried' ELSE 'completed' END AS outcome,
    CASE hash(id) % 20 WHEN 0 THEN 'the bank says no to ' || key ELSE '' END AS error, hash
FROM base.commands ORDER BY seq"""
TIMERS = """
INSERT INTO base.timers BY NAME
SELECT saga, key, 'reminder' AS id, 1 AS version, 'CheckoutExpired' AS type, state AS payload,
    started_at AS set_at, started_at + INTERVAL 1 DAY AS due_at,
    CASE WHEN ended_at IS NULL THEN 'pending' ELSE 'cancelled' END AS status, ended_at, ident,
    seq AS place
FROM base.instances ORDER BY seq"""
LETTERS = """
INSERT INTO base.dead_letters BY NAME
SELECT 'events-' || seq || '-' || saga AS id, 'open' AS status, 'PaymentCompleted' AS type, saga,
    key, '' AS command, 'its payload does not fit' AS reason, 'events' AS stream, seq,
    changed_at AS created_at, changed_at, '' AS by, '' AS note,
    'its payload does not fit' AS cause, left(sha256(saga), 16) AS fingerprint
FROM base.instances WHERE status = 'running' ORDER BY seq LIMIT 1000"""
# One event in a hundred found nobody.
OUTCOMES = """
INSERT INTO base.outcomes BY NAME
SELECT 'events' AS stream, seq, type, id, '' AS saga, '' AS key, 'no_saga' AS outcome,
    'no_saga' AS code, 'no saga handles ' || type AS reason, '' AS by, stored_at AS recorded_at
FROM base.events WHERE hash(seq) % 100 = 0 ORDER BY seq;
UPDATE base.events SET outcome = 'no_saga', instances = 0 WHERE hash(seq) % 100 = 0;
"""
ALL = (NOW, HISTORY, STORIES, FAILURES, EVENTS, COMMANDS, EXECUTIONS, TIMERS, LETTERS, OUTCOMES)


async def fill(projections: DuckProjections) -> None:
    """Open them with all rows in their file."""
    await projections.open()
    tables = await projections.reset(Streams(events=BEGAN, log=BEGAN))

    def filled() -> None:
        with tables.file.cursor() as cursor:
            cursor.execute("SET VARIABLE tick = 1")
            values = {"sagas": SAGAS, "statuses": STATUSES, "from": 0, "to": INSTANCES}
            cursor.execute(FILL, values)
            for sql in ALL:
                cursor.execute(sql)
            cursor.execute("CHECKPOINT projections")

    await asyncio.to_thread(filled)
    await tables.finish()
