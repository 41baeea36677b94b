"""Goal: `snorri view` shows a backup with everything a running installation shows, and changes
nothing whatever is asked.

Method: orders, a backup, more orders, a second backup since the first one; the viewer over the
second, at its end and at a time before it, asked by HTTP: pages, lists, SQL, and every route that
writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.cli_kit import Process, dev, port_when_ready

pytestmark = pytest.mark.timeout(150)

MATRIX = Path(__file__).resolve().parents[1] / "unit" / "server" / "access" / "matrix.txt"
COUNT = "SELECT count(*) FROM instances WHERE saga = 'CheckoutSaga'"


def _publish(process: Process, number: int) -> None:
    order = json.dumps({"orderId": f"o-{number}", "total": 100})
    process.run("publish", "OrderCreated", order, "--key", f"o-{number}")

    def ended() -> bool:
        done = process.json("instances", "--status", "completed", "--saga", "CheckoutSaga")
        return len(done) == number + 1

    process.eventually(ended, "the order's end")


@pytest.fixture(scope="module")
def backups(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where ``later`` is, and a time at which there was one order less."""
    home = tmp_path_factory.mktemp("viewed")
    process = dev(home)
    try:
        _publish(process, 0)
        at = process.json("backup", "whole")["at"]
        _publish(process, 1)
        process.json("backup", "later", "--since", "whole")
    finally:
        process.close()
    return home, at


def _view(home: Path, *arguments: str) -> Process:
    process = Process(home, "view", "later", "--port", "0", *arguments)
    process.until("Ctrl-C stops")
    return process


@pytest.fixture(scope="module")
def viewed(backups: tuple[Path, str]) -> Iterator[httpx.Client]:
    """The viewer at the end of the backup."""
    process = _view(backups[0])
    try:
        port = port_when_ready(process)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            yield client
        assert process.stop() == 130
    finally:
        process.close()


def _sql(client: httpx.Client, sql: str) -> list[Any]:
    answer = client.post("/api/v1/sql", json={"sql": sql})
    assert answer.status_code == 200, answer.text
    return answer.json()["rows"]


def test_pages_lists_and_sql_show_it_and_say_what_it_is(viewed: httpx.Client) -> None:
    assert _sql(viewed, COUNT) == [[2]]
    listed = viewed.get("/api/v1/sagas/instances", params={"saga": "CheckoutSaga"}).json()
    assert len(listed["items"]) == 2
    for path in ("/", "/instances", "/instances/CheckoutSaga/o-1", "/sagas", "/system"):
        page = viewed.get(path, headers={"accept": "text/html"})
        assert page.status_code == 200, page.text
        assert re.search(r"This is the backup of [-0-9: ]+ UTC, read only", page.text), path
    assert "CheckoutSaga" in viewed.get("/sagas", headers={"accept": "text/html"}).text
    me = viewed.get("/api/v1/me").json()
    assert (me["role"], me["via"]) == ("viewer", "backup")


def _writing() -> list[tuple[str, str]]:
    """Method and path of each route that asks for more than looking."""
    lines = [line for line in MATRIX.read_text().splitlines() if not line.startswith("#")]
    found = [
        (method, path)
        for role, method, path in (line.split(maxsplit=2) for line in lines if line.strip())
        if role in ("operator", "admin")
    ]
    assert len(found) > 20
    return found


def test_every_write_is_refused_with_a_word_why(viewed: httpx.Client) -> None:
    before = _sql(viewed, "SELECT count(*), max(seq) FROM transitions")
    for method, template in _writing():
        path = re.sub(r"\{[^}]+\}", "1", template)
        answer = viewed.request(method, path, json={} if method != "GET" else None)
        assert answer.status_code == 403, (method, path, answer.text)
        if "/api/" in path:
            assert answer.json()["title"] == "This is a backup, it can only be read"
            assert "snorri restore" in answer.json()["next"]
    assert _sql(viewed, "SELECT count(*), max(seq) FROM transitions") == before


def test_at_a_time_it_is_as_it_was_then(backups: tuple[Path, str]) -> None:
    home, at = backups
    process = _view(home, "--at", at)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port_when_ready(process)}") as client:
            assert _sql(client, COUNT) == [[1]]
    finally:
        process.close()


def test_a_time_that_is_none_or_too_late_is_refused(backups: tuple[Path, str]) -> None:
    process = Process(backups[0], "version")
    process.close()
    assert "is no time" in process.run("view", "later", "--at", "noon", code=2).stderr
    told = process.run("view", "later", "--at", "2999-01-01T00:00:00Z", code=1).stderr
    assert "the backup ends at" in told
    told = process.run("view", "later", "--host", "0.0.0.0", code=2).stderr
    assert "--host" in told or "SNORRI_AUTH" in told
