"""Queries to start from: what people ask of history, as data.

The page of the docs, the list in the API and a test that runs each on real data are made of this
list. ``parameters`` are values the query can be tried with; a reader puts in others.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class Sample(Struct, frozen=True, kw_only=True):
    """One query with the question it answers; ``name`` is its short name in addresses."""

    name: str
    title: str
    question: str
    sql: str
    parameters: Mapping[str, object] = {}


_CHECKOUT = {"saga": "CheckoutSaga"}
_ONE = {"saga": "CheckoutSaga", "key": "o-1001"}

SAMPLES: tuple[Sample, ...] = (
    # --- one instance, one event
    Sample(
        name="history",
        title="History of one instance",
        question="What happened to this order, step by step, and how long did each step take?",
        sql="""\
SELECT version, committed_at, cause_kind, cause_type, status, since_previous_ms, error_message
FROM history($saga, $key)""",
        parameters=_ONE,
    ),
    Sample(
        name="state-at",
        title="One instance at a moment",
        question="What did we know about this order then?",
        sql="SELECT state_at($saga, $key, now() - INTERVAL 0 SECOND) AS state",
        parameters=_ONE,
    ),
    Sample(
        name="diff",
        title="What changed between two versions",
        question="Which fields of the state are different, and how?",
        sql="SELECT * FROM diff($saga, $key, 1, 2)",
        parameters=_ONE,
    ),
    Sample(
        name="event",
        title="What happened to an event",
        question="Which instances did this event change, and if none, why not?",
        sql="""\
SELECT e.seq, e.stored_at, e.outcome, e.reason, o.saga, o.key, o.version, o.reason AS at_instance
FROM events AS e LEFT JOIN outcomes AS o ON o.stream = 'events' AND o.seq = e.seq
WHERE e.id = $id ORDER BY e.seq""",
        parameters={"id": "order-1001"},
    ),
    Sample(
        name="messages",
        title="Everything about one key",
        question="Which events, commands and attempts belong to this order, in order of time?",
        sql="""\
SELECT stored_at AS moment, 'event' AS what, type AS name, outcome AS result
FROM events WHERE key = $key
UNION ALL SELECT sent_at, 'command', target, status FROM commands WHERE key = $key
UNION ALL SELECT started_at, 'attempt ' || attempt, target, outcome
FROM executions WHERE key = $key
ORDER BY moment""",
        parameters={"key": "o-1001"},
    ),
    # --- all instances, now and then
    Sample(
        name="funnel-by-status",
        title="Funnel by status",
        question="How many instances are in which status, as a share of all?",
        sql="""\
SELECT saga, status, count(*) AS instances,
    round(100 * count(*) / sum(count(*)) OVER (PARTITION BY saga), 1) AS percent
FROM instances GROUP BY saga, status ORDER BY saga, instances DESC""",
    ),
    Sample(
        name="funnel-by-message",
        title="Funnel by message",
        question="How many instances got how far?",
        sql="""\
SELECT cause_type AS reached, count(DISTINCT key) AS instances
FROM transitions WHERE saga = $saga GROUP BY cause_type ORDER BY instances DESC, reached""",
        parameters=_CHECKOUT,
    ),
    Sample(
        name="sagas-at",
        title="All instances at a moment",
        question="How many were in which status then?",
        sql="""\
SELECT saga, status, count(*) AS instances
FROM sagas_at(now() - INTERVAL 0 SECOND) GROUP BY ALL ORDER BY ALL""",
    ),
    Sample(
        name="stuck-longest",
        title="Open for longest",
        question="Which instances have not moved for the longest time?",
        sql="""\
SELECT saga, key, status, cause_type AS last_message, changed_at, age(now(), changed_at) AS since,
    open_commands, open_timers, backlog
FROM instances WHERE ended_at IS NULL ORDER BY changed_at LIMIT 50""",
    ),
    Sample(
        name="by-state",
        title="By a field of the state",
        question="What is the value of the orders, by their own status?",
        sql="""\
SELECT own_status, count(*) AS orders, sum((state->>'$.total')::BIGINT) AS total
FROM instances WHERE saga = $saga GROUP BY own_status ORDER BY total DESC""",
        parameters=_CHECKOUT,
    ),
    Sample(
        name="most-versions",
        title="Busiest instances",
        question="Which instances have changed most often?",
        sql="SELECT saga, key, version, status FROM instances ORDER BY version DESC, seq LIMIT 20",
    ),
    Sample(
        name="definitions",
        title="Code that is in use",
        question="Which version of the code decided the open instances last?",
        sql="""\
SELECT saga, definition, count(*) AS instances, min(changed_at) AS oldest, max(changed_at) AS newest
FROM instances GROUP BY saga, definition ORDER BY saga, newest DESC""",
    ),
    # --- how long things take
    Sample(
        name="slowest-steps",
        title="Slowest steps",
        question="Which messages do instances wait for longest?",
        sql="""\
SELECT saga, cause_type AS step, count(*) AS times,
    round(quantile_cont(since_previous_ms, 0.5)) AS p50_ms,
    round(quantile_cont(since_previous_ms, 0.95)) AS p95_ms, round(max(since_previous_ms)) AS max_ms
FROM transitions WHERE since_previous_ms IS NOT NULL
GROUP BY saga, cause_type ORDER BY p95_ms DESC LIMIT 20""",
    ),
    Sample(
        name="between",
        title="Time between two transitions",
        question="How long from the payment to the parcel?",
        sql="""\
SELECT count(*) AS orders, round(quantile_cont(ms, 0.5)) AS p50_ms,
    round(quantile_cont(ms, 0.95)) AS p95_ms, round(max(ms)) AS max_ms
FROM (
    SELECT epoch_ms(max(committed_at) FILTER (cause_type = $to))
        - epoch_ms(min(committed_at) FILTER (cause_type = $from)) AS ms
    FROM transitions WHERE saga = $saga GROUP BY key)
WHERE ms IS NOT NULL""",
        parameters={**_CHECKOUT, "from": "PaymentCompleted", "to": "ShipmentCreated"},
    ),
    Sample(
        name="duration",
        title="From start to end",
        question="How long do instances take, by how they ended?",
        sql="""\
SELECT saga, status, count(*) AS instances,
    round(quantile_cont(epoch_ms(ended_at) - epoch_ms(started_at), 0.5)) AS p50_ms,
    round(quantile_cont(epoch_ms(ended_at) - epoch_ms(started_at), 0.95)) AS p95_ms
FROM instances WHERE ended_at IS NOT NULL GROUP BY ALL ORDER BY ALL""",
    ),
    Sample(
        name="jobs",
        title="Jobs: waiting and working",
        question="Does a job wait for a worker, or is the work itself slow?",
        sql="""\
SELECT target, count(*) AS attempts, round(avg(queued_ms)) AS queued_ms,
    round(quantile_cont(duration_ms, 0.5)) AS p50_ms,
    round(quantile_cont(duration_ms, 0.95)) AS p95_ms
FROM executions GROUP BY target ORDER BY p95_ms DESC""",
    ),
    Sample(
        name="rate",
        title="Transitions by minute",
        question="How much happens, and when?",
        sql="""\
SELECT time_bucket(INTERVAL 1 MINUTE, committed_at) AS minute, count(*) AS transitions,
    count(DISTINCT (saga, key)) AS instances
FROM transitions GROUP BY minute ORDER BY minute DESC LIMIT 60""",
    ),
    # --- what goes wrong
    Sample(
        name="failures-by-hour",
        title="Failure reasons by hour",
        question="What fails, and since when?",
        sql="""\
SELECT date_trunc('hour', committed_at) AS hour, saga, error_type, error_message, count(*) AS times
FROM transitions WHERE error_type IS NOT NULL AND status IS DISTINCT FROM status_before
GROUP BY ALL ORDER BY hour DESC, times DESC""",
    ),
    Sample(
        name="retries-by-job",
        title="Retries by job",
        question="Which jobs need more than one attempt, and why?",
        sql="""\
SELECT target, count(DISTINCT command) AS commands, count(*) AS attempts,
    count(*) FILTER (outcome <> 'completed') AS went_wrong,
    mode(error) FILTER (error <> '') AS usual_error
FROM executions GROUP BY target HAVING attempts > commands ORDER BY attempts - commands DESC""",
    ),
    Sample(
        name="parked",
        title="Parked instances by cause",
        question="What has to be mended, and how many instances wait for it?",
        sql="""\
SELECT saga, error_type, error_message, count(*) AS instances, min(status_since) AS since,
    any_value(key) AS example
FROM instances WHERE status = 'parked' GROUP BY ALL ORDER BY instances DESC""",
    ),
    Sample(
        name="unhandled",
        title="Events nobody handled",
        question="Which events had no effect, and why?",
        sql="""\
SELECT type, outcome, reason, count(*) AS events, max(stored_at) AS last
FROM events WHERE outcome IN ('ignored', 'refused', 'no_saga', 'dead_letter')
GROUP BY ALL ORDER BY events DESC""",
    ),
    Sample(
        name="dead-letters",
        title="Dead letters by reason",
        question="What could make no progress, and is it still open?",
        sql="""\
SELECT status, type, reason, count(*) AS letters, min(created_at) AS first, max(created_at) AS last
FROM dead_letters GROUP BY ALL ORDER BY letters DESC""",
    ),
    Sample(
        name="compensations",
        title="Compensations",
        question="Which instances had to undo something, why, and how long did it take?",
        sql="""\
SELECT saga, key, min(committed_at) AS began, round(epoch_ms(max(committed_at))
    - epoch_ms(min(committed_at))) AS ms, arg_max(status, version) AS status,
    any_value(detail->>'$.reason') AS reason
FROM transitions LEFT JOIN effects USING (saga, key, version, seq, committed_at)
WHERE version >= (
    SELECT min(t.version) FROM transitions AS t
    WHERE t.saga = transitions.saga AND t.key = transitions.key AND t.status = 'compensating')
GROUP BY ALL ORDER BY began DESC""",
    ),
    # --- what is under way, and who stepped in
    Sample(
        name="open-commands",
        title="Commands without an answer",
        question="Which jobs owe an answer, and since when?",
        sql="""\
SELECT target, status, count(*) AS commands, min(sent_at) AS oldest, max(attempts) AS attempts
FROM commands WHERE status IN ('open', 'dead_letter') GROUP BY ALL ORDER BY oldest""",
    ),
    Sample(
        name="timers",
        title="Timers: due and late",
        question="What is due next, and what fired late?",
        sql="""\
SELECT saga, key, id, type, status, due_at,
    CASE status WHEN 'fired' THEN epoch_ms(ended_at) - epoch_ms(due_at) END AS late_ms
FROM timers ORDER BY status <> 'pending', due_at LIMIT 50""",
    ),
    Sample(
        name="operators",
        title="Who stepped in",
        question="Who did what to which instance, why, and was it possible?",
        sql="""\
SELECT requested_at, "by", action, saga, key, reason, outcome, refusal
FROM operator_actions ORDER BY requested_at DESC LIMIT 100""",
    ),
    Sample(
        name="workers",
        title="Workers",
        question="Which worker did how much?",
        sql="""\
SELECT worker, count(*) AS attempts, count(DISTINCT target) AS jobs,
    round(sum(duration_ms)) AS busy_ms, max(ended_at) AS last
FROM executions GROUP BY worker ORDER BY attempts DESC""",
    ),
    Sample(
        name="payload-sizes",
        title="Sizes of payloads",
        question="Which events take the room?",
        sql="""\
SELECT type, count(*) AS events, round(avg(bytes)) AS mean_bytes, max(bytes) AS max_bytes,
    sum(bytes) AS bytes
FROM events GROUP BY type ORDER BY bytes DESC""",
    ),
)
