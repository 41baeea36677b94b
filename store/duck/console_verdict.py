"""Which statements the console runs: one question over the projections, and nothing else.

The verdict is taken on DuckDB's own syntax tree, so comments, quotes and letters of odd alphabets
hide nothing. Functions that read tables are allowed by name, since some of DuckDB's take addresses
of memory or run text as SQL; of the others only those are refused that tell about the machine.
This is the inner fence: the process around it has no rights to lose (see ``console_child``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias, cast

import duckdb
import msgspec

Kind: TypeAlias = Literal["select", "explain"]

TABLE_FUNCTIONS = frozenset(
    {
        *("range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree"),
        *("state_at", "history", "diff", "sagas_at", "pg_timezone_names", "icu_calendar_names"),
    }
)
FUNCTIONS_REFUSED = frozenset(
    {
        *("getenv", "current_setting", "getvariable", "write_log", "query", "query_table"),
        *("pg_sleep", "sleep_ms", "pg_conf_load_time", "pg_postmaster_start_time"),
        *("inet_client_addr", "inet_client_port", "inet_server_addr", "inet_server_port"),
        *("json_execute_serialized_sql", "json_serialize_plan", "parse_duckdb_log_message"),
    }
)
CATALOG_PREFIXES = ("duckdb_", "pragma_", "pg_", "sqlite_")
QUERY_NODES = frozenset(
    {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE", "STATEMENT_NODE"}
)
SHOW_LISTS = frozenset({'"tables"', "__show_tables_expanded"})

_ONE = "Send one statement: SELECT, FROM, WITH, VALUES, DESCRIBE, SUMMARIZE or EXPLAIN."
_SCHEMA = "SHOW TABLES lists what there is; GET /api/v1/sql/schema says what it means."


class Refused(Exception):
    """A statement the console does not run; ``next`` says what can be sent instead."""

    def __init__(self, message: str, next: str) -> None:
        super().__init__(message)
        self.next = next


def judge(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[Kind, str]:
    """What kind of question ``sql`` is, and its text with nothing around that separates statements.

    Every character keeps its place. Raises Refused, and duckdb.Error when it can't be read.
    """
    kind, question = _question(connection, sql)
    found = connection.execute("SELECT json_serialize_sql(?)", [question]).fetchone()
    assert found is not None
    try:
        tree = msgspec.json.decode(found[0])
    except RecursionError:
        deep = "The statement is nested too deeply."
        raise Refused(deep, "Write it with fewer levels.") from None
    if tree["error"]:
        raise Refused(f"The statement can't be examined: {tree['error_message']}", _ONE)
    relations = {
        str(row[0]).lower()
        for row in connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main'"
        ).fetchall()
    }
    for node in _nodes(tree):
        _check(node, relations)
    return kind, _alone(sql)


def _alone(sql: str) -> str:
    """One statement without its semicolons, so that it can stand within another."""
    data = bytearray(sql.encode())
    for at, kind in duckdb.tokenize(sql):
        if kind == duckdb.token_type.operator and data[at] == ord(";"):
            data[at] = ord(" ")
    return data.decode()


def _question(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[Kind, str]:
    """The kind and the text of the SELECT within ``sql``."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        what = "There is no statement." if not statements else "There are several statements."
        raise Refused(what, _ONE)
    match _type(statements[0]):
        case duckdb.StatementType.SELECT:
            return "select", sql
        case duckdb.StatementType.EXPLAIN:
            for rest in _after_explain(_alone(sql)):
                if _is_select(connection, rest):
                    return "explain", rest
            raise Refused("Only a question can be explained.", "EXPLAIN a SELECT.")
        case duckdb.StatementType.MULTI:
            raise Refused(
                "PIVOT without a list of values makes several statements.",
                "Name the values: PIVOT … ON column IN ('a', 'b') USING count(*).",
            )
        case None:
            raise Refused("This is not a question.", _ONE)
        case other:
            raise Refused(f"{other.name} is not a question.", _ONE)


def _type(statement: duckdb.Statement) -> duckdb.StatementType | None:
    """What it is, None for what DuckDB's Python has no name for."""
    try:
        return statement.type
    except ValueError:
        return None


def _after_explain(sql: str) -> Iterator[str]:
    """What may be the statement after EXPLAIN: with ANALYZE and options still there, or skipped."""
    data = sql.encode()
    tokens = duckdb.tokenize(sql)
    ends = [*(at for at, _ in tokens[1:]), len(data)]
    words = [
        (at, data[at:end].decode(errors="replace").strip().lower())
        for (at, kind), end in zip(tokens, ends, strict=True)
        if kind != duckdb.token_type.comment
    ]
    rest = words[1:]
    yield _text_from(data, rest)
    if rest and rest[0][1] in ("analyze", "analyse"):
        rest = rest[1:]
        yield _text_from(data, rest)
    if rest and rest[0][1] == "(":
        closing = [index for index, (_, word) in enumerate(rest) if word == ")"]
        if closing:
            yield _text_from(data, rest[closing[0] + 1 :])


def _text_from(data: bytes, words: Sequence[tuple[int, str]]) -> str:
    return data[words[0][0] :].decode() if words else ""


def _is_select(connection: duckdb.DuckDBPyConnection, sql: str) -> bool:
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error:
        return False
    return [_type(one) for one in statements] == [duckdb.StatementType.SELECT]


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """All objects of the tree; their members depend on the node."""
    open_nodes: list[Any] = [tree]
    while open_nodes:
        node = open_nodes.pop()
        if isinstance(node, dict):
            found = cast("dict[str, Any]", node)
            yield found
            open_nodes.extend(found.values())
        elif isinstance(node, list):
            open_nodes.extend(cast("list[Any]", node))


def _check(node: dict[str, Any], relations: set[str]) -> None:
    kind = str(node.get("type", ""))
    if kind.endswith("_NODE") and kind not in QUERY_NODES:
        raise Refused("The statement does more than ask.", _ONE)
    match kind:
        case "TABLE_FUNCTION":
            name = str(node["function"].get("function_name", "")).lower()
            if name not in TABLE_FUNCTIONS:
                raise Refused(f"The table function {name} is not available here.", _SCHEMA)
        case "BASE_TABLE":
            _check_table(node)
        case "SHOW_REF":
            _check_show(node, relations)
        case _:
            pass
    function = str(node.get("function_name", "")).lower()
    if function in FUNCTIONS_REFUSED or function.startswith(("__internal", *CATALOG_PREFIXES[:2])):
        raise Refused(f"The function {function} is not available here.", _SCHEMA)


def _check_table(node: dict[str, Any]) -> None:
    parts = [node.get("catalog_name"), node.get("schema_name"), node.get("table_name")]
    path = node.get("qualified_name", {}).get("path", [])
    for part in (str(part).strip('"').lower() for part in [*parts, *path]):
        if part.startswith(CATALOG_PREFIXES):
            raise Refused(f"{part} is not one of the projections.", _SCHEMA)


def _check_show(node: dict[str, Any], relations: set[str]) -> None:
    name, form = str(node.get("table_name", "")), str(node.get("show_type"))
    of_question = not name and form in ("DESCRIBE", "SUMMARY", "SHOW")
    of_relation = form == "SHOW" and name.lower() in relations
    if of_question or of_relation or (form == "SHOW_SPECIAL" and name in SHOW_LISTS):
        return
    raise Refused("SHOW tells of tables only.", _SCHEMA)
