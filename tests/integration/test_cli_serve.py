"""Goal: the API comes up with `snorri dev` and as `snorri serve`, survives what processes survive,
and goes down in order while clients hang on.

Method: real processes in temporary folders, asked over HTTP.
"""

from __future__ import annotations

import re
import shlex
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx

from server.datadir import holder_of
from tests.integration.cli_kit import Process, Snorri, dev, nats_url
from tests.waiting import eventually_sync

INSTANCES = "/api/v1/sagas/instances"
ORDER = {"type": "OrderCreated", "key": "o-1", "payload": {"orderId": "o-1", "total": 4999}}


def _api(process: Process) -> str:
    found = re.search(r"http://[^\s/]+", process.output)
    assert found is not None, process.output
    return found.group(0)


def _port(url: str) -> str:
    return url.rpartition(":")[2]


def _status(url: str, saga: str, key: str) -> str | None:
    answer = httpx.get(f"{url}{INSTANCES}/{saga}/{key}")
    return None if answer.status_code == 404 else str(answer.json()["status"])


def _keys(url: str, **query: Any) -> list[str]:
    answer = httpx.get(f"{url}{INSTANCES}", params=query)
    if answer.status_code == 503:  # while the tables are being opened
        assert answer.json()["retryable"], answer.text
        return []
    assert answer.status_code == 200, answer.text
    return [one["key"] for one in answer.json()["items"]]


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_the_curl_line_of_dev_works(tmp_path: Path) -> None:
    process = dev(tmp_path)
    try:
        url = _api(process)
        line = next(found for found in re.findall(r"^ +curl (.*)$", process.output, re.MULTILINE))
        done = subprocess.run(
            ["curl", *shlex.split(line)], capture_output=True, text=True, timeout=30
        )
        assert '"published":true' in done.stdout
        eventually_sync(lambda: _status(url, "CheckoutSaga", "o-1001") == "completed")
        eventually_sync(lambda: _keys(url, status="completed") == ["o-1001"])
        assert httpx.get(f"{url}/schema").json()["info"]["title"] == "Snorri"
    finally:
        process.close()


def test_it_stops_soon_with_streams_open_and_starts_again_at_once(tmp_path: Path) -> None:
    port = _free_port()
    first = dev(tmp_path, "--port", port)
    try:
        url = _api(first)
        assert _port(url) == port
        httpx.post(f"{url}/api/v1/sagas/publish", json=ORDER).raise_for_status()
        eventually_sync(lambda: _status(url, "CheckoutSaga", "o-1") == "completed")
        with socket.create_connection(("127.0.0.1", int(port))) as stalled:
            stalled.sendall(b"GET /api/v1/sagas/subscribe HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert stalled.recv(100).startswith(b"HTTP/1.1 200")
            began = time.monotonic()
            assert first.stop() == 130
            assert time.monotonic() - began < 10
    finally:
        first.close()
    assert "Traceback" not in first.output
    assert "leaked" not in first.output  # what DuckDB says of objects that nobody took back
    again = dev(tmp_path, "--port", port)
    try:
        assert _api(again) == url
        eventually_sync(lambda: _keys(url) == ["o-1"])
    finally:
        again.close()


def test_after_kill_9_the_lists_are_as_they_were(tmp_path: Path) -> None:
    port = _free_port()
    first = dev(tmp_path, "--port", port)
    try:
        url = _api(first)
        expected = sorted(f"o-{number}" for number in range(20))
        for key in expected:
            body = {**ORDER, "key": key, "payload": {"orderId": key}}
            httpx.post(f"{url}/api/v1/sagas/publish", json=body).raise_for_status()
        for key in expected:  # a job that runs when its worker dies takes 30 s to come again
            eventually_sync(lambda key=key: _status(url, "CheckoutSaga", key) == "completed")
        first.process.kill()
        first.process.wait(20)
    finally:
        first.close()
    again = dev(tmp_path, "--port", port)
    try:
        eventually_sync(lambda: sorted(_keys(url, status="completed")) == expected)
    finally:
        again.close()


def test_a_taken_port_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        told = Snorri(tmp_path).fail("dev", "--nats-port", "0", "--port", port, code=1)
        assert f"port {port} of 127.0.0.1 can't be used" in told
        assert holder_of(tmp_path / ".snorri") is None
        told = Snorri(tmp_path).fail("serve", "--port", port, code=1)
        assert "--port with another number" in told


def test_serve_beside_dev_has_projections_of_its_own(tmp_path: Path) -> None:
    host = dev(tmp_path)
    serves: list[Process] = []
    try:
        where = ("--nats-url", nats_url(tmp_path / ".snorri"), "--port", "0")
        told = Snorri(tmp_path).fail("serve", *where, code=1)  # the data directory of dev
        assert "in use by another process" in told
        assert "--data DIR" in told
        for name in ("one", "two"):
            serve = Process(tmp_path, "serve", *where, "--data", name)
            serves.append(serve)
            serve.until("Ctrl-C stops")
        urls = [_api(host), *map(_api, serves)]
        httpx.post(f"{urls[1]}/api/v1/sagas/publish", json=ORDER).raise_for_status()
        for url in urls:
            eventually_sync(lambda url=url: _keys(url, status="completed") == ["o-1"])
        assert serves[0].stop(signal.SIGTERM) == 0
        assert serves[1].stop() == 130
        assert _keys(urls[0]) == ["o-1"]
    finally:
        for process in (*serves, host):
            process.close()


def test_serve_waits_for_an_engine_to_make_the_streams(tmp_path: Path) -> None:
    host = dev(tmp_path)  # brings the server, under other names
    serve = engine = None
    try:
        where = ("--nats-url", nats_url(tmp_path / ".snorri"), "--bucket", "B", "--namespace", "b")
        serve = Process(tmp_path, "serve", *where, "--port", "0", "--data", "s")
        serve.until("waiting up to")
        engine = Process(tmp_path, "engine", *where)
        serve.until("Ctrl-C stops")
        assert _keys(_api(serve)) == []
    finally:
        for process in (engine, serve, host):
            if process is not None:
                process.close()
