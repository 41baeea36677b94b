"""Goal: a store that is nearly full takes no new sagas and says so everywhere, before anything
stops; when there is room again it goes on by itself.

Method: `snorri dev` with a budget of four megabytes, filled up by a stream of somebody else's that
is removed again; publishing and starting by HTTP and by the command line, health, overview and
dashboard in between.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import nats
import pytest

from tests.integration.cli_kit import dev, nats_url, port_when_ready
from tests.waiting import eventually_sync

pytestmark = pytest.mark.timeout(120)

BUDGET = 4_000_000
FILLER = "filler"
ORDER = {"orderId": "o-1", "total": 100}


async def _fill(url: str) -> None:
    client = await nats.connect(url)
    await client.jetstream().add_stream(name=FILLER, subjects=[FILLER])
    for _ in range(4):
        await client.jetstream().publish(FILLER, bytes(910_000), timeout=10)
    await client.close()


async def _empty(url: str) -> None:
    client = await nats.connect(url)
    await client.jetstream().delete_stream(FILLER)
    await client.close()


def test_nearly_full_is_told_everywhere_and_passes_by_itself(tmp_path: Path) -> None:
    process = dev(tmp_path, "--store-bytes-max", str(BUDGET))
    try:
        port = port_when_ready(process)
        url = nats_url(tmp_path / ".snorri")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as api:
            assert api.get("/api/v1/overview").json()["refusing"] == ""
            asyncio.run(_fill(url))
            refusing = eventually_sync(
                lambda: api.get("/api/v1/overview").json()["refusing"], 20, "the refusal"
            )
            assert "new sagas are refused" in refusing

            event = {"type": "OrderCreated", "payload": ORDER, "key": "o-1"}
            answer = api.post("/api/v1/sagas/publish", json=event)
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            problem = answer.json()
            assert (problem["published"], problem["retryable"]) == (False, True)
            assert "new sagas are refused" in problem["reason"]
            body = {"input": ORDER, "key": "o-2"}
            started = api.post("/api/v1/sagas/sagas/CheckoutSaga/start", json=body)
            assert started.status_code >= 400
            assert "new sagas are refused" in started.text
            told = process.run("publish", "OrderCreated", json.dumps(ORDER), code=3).stderr
            assert "new sagas are refused" in told

            ready = api.get("/health/ready")
            assert ready.status_code == 200
            assert "new sagas are refused" in ready.text
            for path in ("/", "/instances", "/sagas/CheckoutSaga"):
                assert "New sagas are refused" in api.get(path).text, path

            asyncio.run(_empty(url))
            eventually_sync(
                lambda: api.get("/api/v1/overview").json()["refusing"] == "", 20, "room again"
            )
            assert api.post("/api/v1/sagas/publish", json=event).status_code == 200
            assert "New sagas are refused" not in api.get("/instances").text
    finally:
        process.close()
