"""The tables behind the public relations: DDL made from ``store.projection.schema``.

Each public relation is a view over a table of the schema ``base``, which has the same columns and a
few helpers more: ``ident`` and ``hash`` are 64-bit hashes that stand for a pair of texts, so that
what a batch touches is found by scanning one narrow column, and sequences by which rows are sorted.
Every row has the ``tick`` of the batch that wrote it last, by which copies find what is new: what
updates a row must set it. There are no indexes: they cost more than the scans and forbid DuckDB to
give deleted rows back.
"""

from __future__ import annotations

from store.projection.schema import OUTCOMES, RELATIONS, Relation

BASE = "base"
TICK = ("tick", "BIGINT NOT NULL DEFAULT coalesce(getvariable('tick'), 0)")
HELPERS: dict[str, tuple[tuple[str, str], ...]] = {
    "instances": (
        ("ident", "UBIGINT"),  # hash of saga and key
    ),
    "transitions": (
        ("ident", "UBIGINT"),
        ("turn", "UTINYINT"),  # its status is new: 1 it went wrong, 2 it ended, 3 both; else 0
    ),
    "commands": (
        ("hash", "UBIGINT"),  # of its id
        ("ident", "UBIGINT"),
        ("error_seq", "BIGINT"),  # of the event that brought the error
    ),
    "executions": (("hash", "UBIGINT"),),
    "timers": (("ident", "UBIGINT"), ("place", "BIGINT")),  # place: order of setting
    "operator_actions": (("seq", "BIGINT"),),
    "dead_letters": (("cause", "VARCHAR"), ("fingerprint", "VARCHAR")),  # as those of failures
}
# Public columns that are worked out when they are read, and what is stored in their place.
COMPUTED = {
    ("effects", "payload"): (
        "",
        "coalesce(detail->'$.payload', detail->'$.result', detail->'$.cause.payload')",
    ),
    ("events", "headers"): ("VARCHAR", "headers::JSON"),
}
# How columns are compressed where DuckDB's own choice takes long and gains little: zstd for large
# JSON and for hashes, nothing for what is looked up by its value.
COMPRESSION = {
    **dict.fromkeys(("state_before", "state_after", "cause_payload", "detail"), "zstd"),
    **dict.fromkeys(("payload", "headers", "result", "request"), "zstd"),
    **dict.fromkeys(("key", "id", "cause_id", "answers", "command"), "uncompressed"),
    **dict.fromkeys(("prev", "trace"), "uncompressed"),
}
OWN = {
    # What went wrong, as ``merge_failures`` finds it; dead letters of messages are not among them.
    "failures": (
        ("kind", "VARCHAR"),  # job, parked, failed or cancelled
        ("saga", "VARCHAR"),
        ("key", "VARCHAR"),
        ("ident", "UBIGINT"),
        ("version", "INTEGER"),
        ("definition", "VARCHAR"),
        ("failed_at", "TIMESTAMPTZ"),
        ("seq", "BIGINT"),
        ("place", "VARCHAR"),  # the type of the message, of a job its target
        ("cause_kind", "VARCHAR"),
        ("cause_type", "VARCHAR"),
        ("error_type", "VARCHAR"),
        ("message", "VARCHAR"),  # null where a job's payload said no reason
        ("cause", "VARCHAR"),  # the message with everything that varies taken out
        ("command", "VARCHAR"),
        ("parked", "BOOLEAN"),
        ("counts", "BOOLEAN"),  # not what an operator's retry only repeated
        ("fingerprint", "VARCHAR"),
        TICK,
    ),
    # What could not be read, where it is and why.
    "unreadable": (
        ("stream", "VARCHAR"),
        ("seq", "BIGINT"),
        ("subject", "VARCHAR"),
        ("stored_at", "TIMESTAMPTZ"),
        ("reason", "VARCHAR"),
        TICK,
    ),
    # One row: which data these tables hold, and how much of it.
    "checkpoint": (("record", "VARCHAR"),),
}

# What became of messages that changed something is in the transitions and not written twice.
OUTCOMES_VIEW = """
SELECT CASE cause_kind WHEN 'event' THEN 'events' ELSE 'log' END AS stream, cause_seq AS seq,
    cause_type AS "type", cause_id AS id, saga, key, 'applied' AS outcome, version, '' AS code,
    '' AS reason, cause_by AS "by", committed_at AS recorded_at
FROM base.transitions WHERE cause_seq > 0
UNION ALL BY NAME SELECT * FROM base.outcomes
"""

# A parameter must not be called like a column; calls are by position.
MACROS = """
CREATE MACRO state_at(of_saga, of_key, moment) AS (
    SELECT arg_max(t.state_after, t.version) FROM transitions AS t
    WHERE t.saga = of_saga AND t.key = of_key AND t.committed_at <= moment);
CREATE MACRO history(of_saga, of_key) AS TABLE
    SELECT t.* FROM transitions AS t WHERE t.saga = of_saga AND t.key = of_key ORDER BY t.version;
CREATE MACRO sagas_at(moment) AS TABLE
    SELECT t.saga, t.key, max(t.version) AS version, arg_max(t.status, t.version) AS status,
        arg_max(t.state_after, t.version) AS state, min(t.committed_at) AS started_at,
        max(t.committed_at) AS changed_at
    FROM transitions AS t WHERE t.committed_at <= moment GROUP BY t.saga, t.key;
CREATE MACRO base.state_fields(of_saga, of_key, of_version) AS TABLE
    SELECT leaf.fullkey AS path, CASE leaf.type WHEN 'NULL' THEN 'null' ELSE leaf.value END AS value
    FROM (SELECT t.state_after AS state FROM transitions AS t
          WHERE t.saga = of_saga AND t.key = of_key AND t.version = of_version) AS one,
        json_tree(one.state) AS leaf
    WHERE leaf.type NOT IN ('OBJECT', 'ARRAY') OR leaf.value IN ('{}', '[]');
CREATE MACRO diff(of_saga, of_key, version_a, version_b) AS TABLE
    SELECT coalesce(a.path, b.path) AS path, a.value AS "before", b.value AS "after"
    FROM base.state_fields(of_saga, of_key, version_a) AS a
    FULL JOIN base.state_fields(of_saga, of_key, version_b) AS b ON a.path = b.path
    WHERE a.value IS DISTINCT FROM b.value ORDER BY 1;
"""


def ddl() -> str:
    """All statements that make an empty database."""
    parts = [f"CREATE SCHEMA {BASE};"]
    for relation in RELATIONS:
        columns = [
            (column.name, COMPUTED.get((relation.name, column.name), (column.type,))[0])
            for column in relation.columns
        ]
        parts.append(_table(relation.name, (*columns, *HELPERS.get(relation.name, ()), TICK)))
    parts += [_table(name, columns) for name, columns in OWN.items()]
    parts += [view(relation) for relation in RELATIONS]
    return "\n".join(parts) + MACROS


def view(relation: Relation) -> str:
    """The view that is the public face of a relation."""
    names = ", ".join(_shown(relation.name, column.name) for column in relation.columns)
    source = f"({OUTCOMES_VIEW})" if relation is OUTCOMES else f"{BASE}.{relation.name}"
    return f"CREATE VIEW {relation.name} AS SELECT {names} FROM {source};"  # noqa: S608 - our names


def _shown(relation: str, column: str) -> str:
    if (relation, column) in COMPUTED:
        return f'{COMPUTED[relation, column][1]} AS "{column}"'
    return f'"{column}"'


def _table(name: str, columns: tuple[tuple[str, str], ...]) -> str:
    body = ", ".join(_column(column, type) for column, type in columns if type)
    return f"CREATE TABLE {BASE}.{name} ({body});"


def _column(name: str, type: str) -> str:
    chosen = COMPRESSION.get(name)
    return f'"{name}" {type}' + (f" USING COMPRESSION {chosen}" if chosen else "")
