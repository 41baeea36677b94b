"""Goal: whatever SQL is sent, it gets nothing but the projections, ends in time, leaves nothing.

Method: statements that try to read, write, configure, load, find out, exhaust or confuse, each with
the codes it may be answered with; after each the service is as it was. A statement that is answered
must tell nothing of the machine. The same process asks them all, as a service would.
"""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from store.duck.console import DuckConsole
from store.projection.console import MEMORY_BYTES_MAX, Query, QueryError
from tests.console_kit import content, open_console

pytestmark = pytest.mark.asyncio(loop_scope="module")

TIME_S = 1.0  # of what is made to run wild
SPARE_S = 1.0

REFUSED, ERROR, TIME, MEMORY, SIZE = (
    "refused",
    "error",
    "time_limit",
    "memory_limit",
    "size_limit",
)

FILES = (
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd.csv'",
    "SELECT * FROM read_text('/proc/self/environ')",
    "SELECT * FROM read_blob('/proc/self/maps')",
    "SELECT * FROM read_json_auto('/etc/hostname')",
    "SELECT * FROM read_parquet('https://example.com/x.parquet')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM parquet_metadata('x.parquet')",
    "SELECT * FROM read_duckdb('/tmp/x.duckdb')",
    "ATTACH '/tmp/other.duckdb' AS other",
    "DETACH snorri",
    "COPY instances TO '/tmp/stolen.csv'",
    "COPY (SELECT 1) TO '/dev/stdout'",
    "EXPORT DATABASE '/tmp/stolen'",
    "IMPORT DATABASE '/tmp/stolen'",
    "EXPLAIN ANALYZE COPY instances TO '/tmp/stolen.csv'",
)
WRITES = (
    "INSERT INTO base.instances SELECT * FROM base.instances",
    "UPDATE base.instances SET status = 'completed'",
    "DELETE FROM base.instances",
    "DROP TABLE base.instances",
    "ALTER TABLE base.instances ADD COLUMN x INTEGER",
    "TRUNCATE base.instances",
    "CREATE TABLE mine AS SELECT 1",
    "CREATE TEMP TABLE mine AS SELECT 1",
    "CREATE OR REPLACE MACRO history(a, b) AS TABLE SELECT 1",
    "CREATE SECRET s (TYPE http, BEARER_TOKEN 'x')",
    "WITH gone AS (DELETE FROM base.instances RETURNING *) SELECT * FROM gone",
    "EXPLAIN ANALYZE DELETE FROM base.instances",
    "BEGIN TRANSACTION",
    "COMMIT",
    "CHECKPOINT",
    "VACUUM",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
)
SETTINGS = (
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "RESET memory_limit",
    "SET VARIABLE x = 1",
    "PRAGMA database_list",
    "PRAGMA memory_limit='10GB'",
    "CALL pragma_version()",
    "USE memory",
    "INSTALL httpfs",
    "LOAD httpfs",
    "UPDATE EXTENSIONS",
    "SELECT * FROM enable_logging(storage => 'file', storage_path => '/tmp/log')",
)
SECRETS = (
    "SELECT getenv('HOME')",
    "SELECT current_setting('temp_directory')",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_databases()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_extensions()",
    "SELECT path FROM duckdb_databases",
    'SELECT * FROM "duckdb_settings"()',
    "SELECT * FROM DuckDB_Settings()",
    "SELECT * FROM system.main.duckdb_settings()",
    "SELECT * FROM pragma_database_list",
    "SELECT * FROM pg_catalog.pg_settings",
    "SHOW temp_directory",
    "SHOW DATABASES",
    "SELECT (SELECT max(value) FROM duckdb_settings() WHERE name = 'temp_directory')",
)
HIDING = (
    "SELECT 1; DROP TABLE base.instances",
    "SELECT 1; SELECT 2",
    "/* harmless */ DELETE FROM base.instances -- SELECT",
    "-- SELECT 1\nATTACH '/tmp/x'",
    "SELECT * FROM query('SELECT * FROM duckdb_settings()')",
    "SELECT * FROM query_table('duckdb_settings')",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "SELECT * FROM histogram('duckdb_databases', 'path')",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELECT * FROM pandas_scan(140000000)",
    "SELECT * FROM python_map_function()",
    "SELECT * FROM/**/read_csv/**/('/etc/passwd')",
    "FROM \"read_csv\"('/etc/passwd')",
    "\uff33\uff25\uff2c\uff25\uff23\uff34 1",
    "SELECT\u202e 1 FROM instanc\u0435s",
    "SELECT '\u0000",
    "SELECT write_log('x')",
    "SELECT pg_sleep(30)",
    "SELECT __internal_compress_string_ubigint('x')",
    "",
    ";",
    "-- nothing",
    "PIVOT instances ON status USING count(*)",
)
EXHAUSTING = (
    ("SELECT repeat('x', 2000000000)", (MEMORY, ERROR)),
    ("SELECT length(repeat(repeat('x', 1000000), 100000))", (MEMORY, ERROR)),
    ("SELECT list(range) FROM range(200000000)", (MEMORY,)),
    ("SELECT range(1000000000)", (MEMORY, ERROR)),
    ("SELECT lpad('x', 2000000000, 'y')", (MEMORY, ERROR, TIME)),
    ("SELECT string_agg(md5(range::VARCHAR)) FROM range(100000000)", (MEMORY, TIME)),
    ("SELECT count(*) FROM range(1000000) a, range(1000000) b, range(1000000) c", (TIME,)),
    ("SELECT count(*) FROM instances a, instances b, instances c, instances d", (TIME,)),
    (
        "WITH RECURSIVE x AS (SELECT 1 a UNION ALL SELECT a + 1 FROM x) SELECT count(*) FROM x",
        (TIME,),
    ),
    (
        "WITH RECURSIVE x AS (SELECT [1] a UNION ALL SELECT list_concat(a, a) FROM x)"
        " SELECT max(len(a)) FROM x",
        (TIME, MEMORY),
    ),
    ("SELECT * FROM range(1000000000) ORDER BY random() DESC", (TIME, MEMORY)),
    ("SELECT count(DISTINCT md5(range::VARCHAR)) FROM range(1000000000)", (TIME, MEMORY)),
    (
        "SELECT count(*) FROM range(100000000) WHERE "
        "regexp_matches(range || repeat('a', 5000), '(a*)*b')",
        (TIME, MEMORY, ERROR),
    ),
    ("SELECT levenshtein(repeat('a', 200000), repeat('b', 200000))", (TIME, MEMORY)),
    ("SELECT 10000000000000000000::HUGEINT ** 100000, factorial(100000)", (ERROR,)),
    (f"SELECT {'(' * 5000}1{')' * 5000}", (ERROR, REFUSED)),
    (f"SELECT {'+'.join(['1'] * 20000)}", (ERROR, REFUSED)),
    (f"SELECT {'[' * 900}1{']' * 900}", (ERROR, REFUSED, MEMORY, TIME)),
    (f"SELECT '{'x' * 200_000}'", (REFUSED,)),
    ("SELECT json_array(" + ",".join(["repeat('x', 10000000)"] * 60) + ")", (MEMORY, SIZE, TIME)),
)
ATTEMPTS: list[tuple[str, tuple[str, ...], float]] = [
    *((sql, (REFUSED, ERROR), 10.0) for sql in (*FILES, *WRITES, *SETTINGS, *SECRETS, *HIDING)),
    # Whether time or memory ends first depends on the machine.
    *((sql, (TIME, *codes), TIME_S) for sql, codes in EXHAUSTING),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def console(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DuckConsole]:
    async with open_console(tmp_path_factory.mktemp("secret-place")) as opened:
        yield opened


async def test_there_are_enough_attempts() -> None:
    assert len(ATTEMPTS) == len({sql for sql, _, _ in ATTEMPTS}) > 90


@pytest.mark.parametrize(
    ("sql", "codes", "time_s"), ATTEMPTS, ids=[sql[:40] for sql, _, _ in ATTEMPTS]
)
async def test_an_attempt_fails_in_time_and_tells_nothing(
    console: DuckConsole, sql: str, codes: tuple[str, ...], time_s: float
) -> None:
    began_s = time.monotonic()
    with pytest.raises(QueryError) as refused:
        await console.ask(Query(sql=sql, time_max_s=time_s))
    assert time.monotonic() - began_s < time_s + SPARE_S
    assert refused.value.code in codes, (str(refused.value), refused.value.code)
    said = f"{refused.value} {refused.value.next}"
    for secret in ("secret-place", "/tmp", "/proc", "Traceback", os.path.expanduser("~"), "0x"):
        assert secret not in said.replace(sql, ""), said
    assert refused.value.next
    assert console.running == 0
    assert not list(_answers(console).iterdir())


def _answers(console: DuckConsole) -> Path:
    return console._answers


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT version(), current_database(), current_schema(), user, current_query()",
        "SELECT * FROM information_schema.tables",
        "SHOW ALL TABLES",
        "DESCRIBE instances",
        "SUMMARIZE instances",
        "EXPLAIN ANALYZE SELECT * FROM instances",
        "EXPLAIN (FORMAT json) FROM instances",
    ],
)
async def test_what_is_answered_tells_nothing_of_the_machine(
    console: DuckConsole, sql: str
) -> None:
    body = content(await console.ask(Query(sql=sql))).decode()
    for secret in ("secret-place", "/tmp", "/proc", os.path.expanduser("~")):
        assert secret not in body


async def test_the_service_does_not_feel_queries_that_run_wild(console: DuckConsole) -> None:
    wild = [
        "SELECT count(*) FROM range(1000000) a, range(1000000) b",
        "SELECT list(range) FROM range(200000000)",
        "SELECT repeat('x', 2000000000)",
        "SELECT * FROM range(1000000000) ORDER BY random()",
    ]
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    asked = [asyncio.create_task(console.ask(Query(sql=sql, time_max_s=TIME_S))) for sql in wild]
    delays_s: list[float] = []
    while not all(task.done() for task in asked):
        began_s = time.monotonic()
        await asyncio.wait(asked, timeout=0.01)
        delays_s.append(time.monotonic() - began_s - 0.01)
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(result, QueryError) for result in results), results
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    assert grown_kb * 1024 < MEMORY_BYTES_MAX // 16
    assert sorted(delays_s)[len(delays_s) // 2] < 0.05
    assert console.running == 0
