"""Goal: a job can be run by hand over HTTP, once for each request, and its result can be had.

Method: the whole API on the memory broker with a real worker that runs the sample jobs.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.api_kit import Api, answer, open_api

pytestmark = pytest.mark.asyncio

CHARGE = "/api/v1/workers/jobs/charge/trigger"


def _commands(api: Api) -> int:
    return len(list(api.broker.log.since(0, [api.names.command_filter("charge")])))


async def test_its_result_is_the_answer(tmp_path: Path) -> None:
    async with open_api(tmp_path) as api:
        done = await api.post(CHARGE, {"payload": {"amount": 7}, "wait": True}, status=200)
        assert done["result"]["outcome"] == "completed"
        assert done["result"]["payload"] == {"amount": 7}
        assert (done["job"], done["workers"]) == ("charge", 1)
        assert done["command"] == f"by-hand.{done['key']}"
        failed = await api.post(CHARGE, {"payload": {"amount": 1}, "wait": True}, status=200)
        assert failed["result"]["outcome"] == "failed"
        assert failed["result"]["error"] == "no money"
        stored = await api.backend.log.at("log", done["seq"])
        assert stored is not None
        assert stored.headers["Snorri-By"] == "local"


async def test_without_waiting(tmp_path: Path) -> None:
    async with open_api(tmp_path) as api:
        sent = await api.post(CHARGE, {"key": "a/b", "reason": "a try"}, status=202)
        assert sent["key"] == "a/b"
        assert "result" not in sent
        assert "executions" in sent["next"]


async def test_nobody_serves_it(tmp_path: Path) -> None:
    async with open_api(tmp_path) as api:
        entry = await api.backend.meta.get("job.charge")
        assert entry is not None
        card = (entry.data or b"").replace(b'"charge"', b'"idle"')
        await api.backend.meta.put("job.idle", card)
        path = "/api/v1/workers/jobs/idle/trigger"
        sent = await api.post(path, {"wait": True, "timeoutMs": 100}, status=202)
        assert sent["workers"] == 0
        assert "snorri jobs idle" in sent["next"]


async def test_the_same_key_twice(tmp_path: Path) -> None:
    async with open_api(tmp_path) as api:
        key = {"Idempotency-Key": "t-1"}
        body = {"payload": {"amount": 7}, "wait": True}
        replies = await asyncio.gather(*(api.post(CHARGE, body, headers=key) for _ in range(4)))
        assert all(reply["result"] == replies[0]["result"] for reply in replies)
        assert _commands(api) == 1
        await api.post(CHARGE, {"payload": {"amount": 8}}, headers=key, status=422)


async def test_an_unknown_job(tmp_path: Path) -> None:
    async with open_api(tmp_path) as api:
        problem = await api.post("/api/v1/workers/jobs/chorge/trigger", status=404)
        assert problem["near"] == ["charge"]


@pytest.mark.parametrize(
    "body",
    [
        {"payloads": 1},
        {"wait": 1},
        {"key": ""},
        {"key": "k" * 201},
        {"key": 1},
        {"reason": "x" * 1001},
        {"timeoutMs": 99},
        {"payload": "x" * 1_100_000},
        [],
    ],
)
async def test_bodies_that_run_nothing(body: Any, tmp_path: Path) -> None:
    async with open_api(tmp_path) as api:
        await api.post(CHARGE, body, status=400)
        form = {"Content-Type": "text/plain"}
        answer(await api.http.post(CHARGE, content=b"{}", headers=form), 415)
        assert _commands(api) == 0
