"""Goal: the routes of the SQL console do what their documents say, for good and bad requests.

Method: an installation in one process, asked over HTTP; a client that goes away is played at the
level of ASGI, where it can be told exactly when.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import duckdb
import nanoarrow
import pytest
import pytest_asyncio
from nanoarrow import ipc

from server.access.roles import ROLE
from server.api import sql
from store.duck.console import DuckConsole
from store.projection.console import MEDIA_TYPES, ROWS_MAX
from store.projection.samples import SAMPLES
from store.projection.schema import MACROS, RELATIONS
from tests.api_kit import Api, open_api
from tests.console_kit import children_of
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

SQL = "/api/v1/sql"
ENDLESS = "SELECT count(*) FROM range(1000000) a, range(1000000) b"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    async with open_api(tmp_path_factory.mktemp("secret-place")) as opened:
        for number in range(3):
            key = f"o-{number}"
            await opened.publish("OrderPlaced", {"orderId": key, "amount": number + 5}, key)
            await opened.status("Shop", key, "running")
        await opened.caught_up()
        yield opened


async def test_rows_come_as_json_with_what_was_read(api: Api) -> None:
    body = {"sql": "SELECT key, version FROM instances WHERE saga = $s", "params": {"s": "Shop"}}
    found = await api.post(SQL, body, status=200)
    assert found["columns"] == [
        {"name": "key", "type": "VARCHAR"},
        {"name": "version", "type": "INTEGER"},
    ]
    assert sorted(found["rows"]) == [["o-0", 1], ["o-1", 1], ["o-2", 1]]
    assert (found["rowCount"], found["truncated"], found["truncatedBy"]) == (3, False, None)
    assert found["projection"]["seq"] > 0
    assert 0 <= found["projection"]["lagSeconds"] < 5
    assert found["elapsedMs"] > 0


async def test_a_limit_that_cuts_is_told(api: Api) -> None:
    found = await api.post(SQL, {"sql": "FROM range(10)", "limit": 4}, status=200)
    assert found["rows"] == [[0], [1], [2], [3]]
    assert (found["truncated"], found["truncatedBy"], found["limit"]) == (True, "rows", 4)


async def test_every_format_is_sent_as_asked_for(api: Api, tmp_path: Path) -> None:
    bodies: dict[str, bytes] = {}
    for name, media_type in MEDIA_TYPES.items():
        query = {"sql": "SELECT 1 AS a, '=x' AS b", "limit": 1}
        answer = await api.http.post(SQL, json=query, headers={"accept": media_type})
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith(media_type)
        assert answer.headers["snorri-rows"] == "1"
        assert answer.headers["snorri-truncated"] == "no"
        assert int(answer.headers["content-length"]) == len(answer.content)
        bodies[name] = answer.content
    assert json.loads(bodies["json"])["rows"] == [[1, "=x"]]
    assert list(csv.reader(io.StringIO(bodies["csv"].decode()))) == [["a", "b"], ["1", "'=x"]]
    path = tmp_path / "x.parquet"
    path.write_bytes(bodies["parquet"])
    with duckdb.connect() as reader:
        assert reader.execute(f"FROM '{path}'").fetchall() == [(1, "=x")]
    stream: Any = nanoarrow.ArrayStream(ipc.InputStream.from_readable(io.BytesIO(bodies["arrow"])))
    assert stream.read_all().to_pylist() == [{"a": 1, "b": "=x"}]


@pytest.mark.parametrize("accept", ["*/*", "application/*", "text/html, */*;q=0.1"])
async def test_json_is_what_any_client_gets(api: Api, accept: str) -> None:
    answer = await api.http.post(SQL, json={"sql": "SELECT 1"}, headers={"accept": accept})
    assert answer.headers["content-type"].startswith("application/json")


async def test_a_format_there_is_not_is_refused_with_those_there_are(api: Api) -> None:
    problem = await api.post(SQL, {"sql": "SELECT 1"}, status=406, headers={"accept": "text/html"})
    assert problem["available"] == list(MEDIA_TYPES.values())


async def test_an_error_names_its_place(api: Api) -> None:
    problem = await api.post(SQL, {"sql": "SELECT 1,\n  foo FROM instances"}, status=400)
    assert problem["type"] == "urn:snorri:problem:sql-error"
    assert (problem["line"], problem["column"], problem["offset"]) == (2, 3, 12)
    assert "foo" in problem["detail"]


@pytest.mark.parametrize(
    ("body", "status", "type"),
    [
        ({"sql": "DROP VIEW instances"}, 422, "sql-refused"),
        ({"sql": "SELECT * FROM read_csv('/etc/passwd')"}, 422, "sql-refused"),
        ({"sql": ENDLESS, "timeoutMs": 300}, 422, "sql-time-limit"),
        ({"sql": "SELECT list(range) FROM range(200000000)"}, 422, "sql-memory-limit"),
        ({"sql": "SELECT $1"}, 400, "sql-error"),
        ({"sql": "SELECT $1", "params": [1, 2]}, 400, "sql-error"),
        ({"sql": "SELECT $1", "params": [1] * 101}, 422, "sql-refused"),
        ({}, 400, "invalid-request"),
        ({"sql": ""}, 400, "invalid-request"),
        ({"sql": "x" * 100_001}, 400, "invalid-request"),
        ({"sql": "SELECT 1", "limit": 0}, 400, "invalid-request"),
        ({"sql": "SELECT 1", "limit": -1}, 400, "invalid-request"),
        ({"sql": "SELECT 1", "limit": ROWS_MAX + 1}, 400, "invalid-request"),
        ({"sql": "SELECT 1", "timeoutMs": 10**9}, 400, "invalid-request"),
        ({"sql": "SELECT 1", "more": True}, 400, "invalid-request"),
        ({"sql": ["SELECT 1"]}, 400, "invalid-request"),
    ],
)
async def test_what_is_refused_says_why_and_what_next(
    api: Api, body: dict[str, Any], status: int, type: str
) -> None:
    problem = await api.post(SQL, body, status=status)
    assert problem["type"] == f"urn:snorri:problem:{type}"
    assert problem["next"]
    assert "secret-place" not in json.dumps(problem)


async def test_too_many_at_once_are_told_to_come_back(api: Api) -> None:
    console = api.deps.console
    assert isinstance(console, DuckConsole)
    query = {"sql": ENDLESS, "timeoutMs": 3000}
    asked = [asyncio.create_task(api.http.post(SQL, json=query)) for _ in range(4)]
    await eventually(lambda: console.running == 4, 5.0, "four queries running")
    answer = await api.http.post(SQL, json={"sql": "SELECT 1"})
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["retryable"] is True
    assert {found.status_code for found in await asyncio.gather(*asked)} == {422}


async def test_a_query_sees_what_was_written_before_it(api: Api) -> None:
    for number in range(3):
        key = f"w-{number}"
        await api.publish("OrderPlaced", {"orderId": key, "amount": 7}, key)
        revision = await api.status("Shop", key, "running")
        body = {"sql": "FROM instances WHERE saga = 'Shop' AND key = $1", "params": [key]}
        found = await api.post(f"{SQL}?wait_for={revision.seq}", body, status=200)
        assert found["rowCount"] == 1
        assert found["projection"]["seq"] >= revision.seq


async def test_every_query_is_on_record(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "snorri.audit"):
        await api.post(SQL, {"sql": "SELECT 4711"}, status=200)
        await api.post(SQL, {"sql": "SELECT nothing4711"}, status=400)
    found = [record for record in caplog.records if "4711" in getattr(record, "sql", "")]
    assert [vars(record)["outcome"] for record in found] == ["answered", "error"]
    assert vars(found[0])["who"] == "local"
    assert vars(found[0])["rows"] == 1
    assert vars(found[0])["ms"] >= 0


async def test_the_schema_and_the_samples_are_all_there(api: Api) -> None:
    schema = await api.get(f"{SQL}/schema")
    assert [one["name"] for one in schema["relations"]] == [one.name for one in RELATIONS]
    for given, relation in zip(schema["relations"], RELATIONS, strict=True):
        assert [c["name"] for c in given["columns"]] == [c.name for c in relation.columns]
        assert all(c["doc"] and c["type"] for c in given["columns"])
    assert {one["name"] for one in schema["macros"]} == {macro.name for macro in MACROS}
    assert schema["limits"]["rowsMax"] == ROWS_MAX
    queries = await api.get(f"{SQL}/queries")
    assert [one["name"] for one in queries["items"]] == [one.name for one in SAMPLES]


async def test_each_route_asks_for_the_role_of_a_viewer() -> None:
    assert [route.opt[ROLE] for route in sql.ROUTES] == ["viewer"] * 3


async def test_a_client_that_goes_away_ends_its_query(api: Api) -> None:
    sent: list[Any] = []
    gone = asyncio.Event()
    body = json.dumps({"sql": ENDLESS, "timeoutMs": 30_000}).encode()
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Any:
        for message in messages:
            return message
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": SQL,
        "raw_path": SQL.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-type", b"application/json"), (b"host", b"127.0.0.1:8092")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8092),
    }
    before = set(children_of(os.getpid()))
    asked = asyncio.ensure_future(api.app(scope, receive, send))
    console = api.deps.console
    assert isinstance(console, DuckConsole)
    await eventually(lambda: console.running == 1, 5.0, "the query running")
    await eventually(lambda: _busy(before), 10.0, "its child at work")
    gone.set()
    await asyncio.wait_for(asked, 2.0)
    assert console.running == 0
    assert not _busy(before)
    assert sent[0]["status"] == 499


def _busy(before: set[int]) -> list[int]:
    """Children that have worked for half a second."""
    found: list[int] = []
    for pid in children_of(os.getpid()):
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if int(stat[11]) + int(stat[12]) > 60:
            found.append(pid)
    return found
