"""Goal: the writing routes keep their promises on a real server: once, in batches, after a kill -9.

Method: `snorri dev` as a process with the sample sagas, asked over HTTP by many clients at once;
what it did is read back from NATS past it.
"""

from __future__ import annotations

import asyncio
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from store.client import SagaClient
from store.jetstream.backend import connect
from store.subjects import Names
from tests.integration.cli_kit import Process, dev, nats_url
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

SAGAS = "/api/v1/sagas"
ORDERS = f"{SAGAS}/instances/order-saga"
BULK = 600


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A `snorri dev` for the tests of this module."""
    process = dev(tmp_path_factory.mktemp("writes"))
    yield process
    process.close()


@asynccontextmanager
async def _http(process: Process) -> AsyncIterator[httpx.AsyncClient]:
    found = re.search(r"http://[^\s/]+", process.output)
    assert found is not None, process.output
    async with httpx.AsyncClient(base_url=found.group(0), timeout=30.0) as client:
        yield client


@asynccontextmanager
async def _past_it(process: Process) -> AsyncIterator[SagaClient]:
    backend = await connect(nats_url(process.cwd / ".snorri"), Names())
    try:
        yield SagaClient(backend, Names())
    finally:
        await backend.close()


async def _post(
    http: httpx.AsyncClient, path: str, body: Any = None, status: int = 200, key: str = ""
) -> Any:
    headers = {"Idempotency-Key": key} if key else None
    answer = await http.post(path, json=body, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


async def _placed(http: httpx.AsyncClient, prefix: str, count: int) -> list[str]:
    """Orders that have begun; their keys."""
    keys = [f"{prefix}-{number}" for number in range(count)]
    messages = [{"type": "OrderPlaced", "key": k, "payload": {"orderId": k}} for k in keys]
    for start in range(0, count, 500):
        body = {"messages": messages[start : start + 500], "mode": "parallel"}
        done = await _post(http, f"{SAGAS}/publish-many", body)
        assert done["rejected"] == 0, done

    async def begun() -> bool:
        answer = await http.get(f"{ORDERS}/{keys[-1]}")
        return answer.status_code == 200 and answer.json()["version"] >= 2

    await eventually(begun, 30.0, "the last order being paid")
    return keys


async def test_publishes_of_many_clients(running: Process) -> None:
    async with _http(running) as http, _past_it(running) as client:
        bodies = [{"type": "Crowd", "key": f"k{n}", "payload": n} for n in range(300)]
        receipts = await asyncio.gather(*(_post(http, f"{SAGAS}/publish", b) for b in bodies))
        assert len({receipt["seq"] for receipt in receipts}) == 300
        refused = await _post(http, f"{SAGAS}/publish", {"type": ""}, 400)
        assert refused["retryable"] is False
        same = await asyncio.gather(
            *(_post(http, f"{SAGAS}/publish", {"type": "Once"}, key="one") for _ in range(10))
        )
        assert len({receipt["seq"] for receipt in same}) == 1
        await _post(http, f"{SAGAS}/publish", {"type": "Other"}, 422, key="one")
        assert await client.get("order-saga", "nobody") is None


async def test_an_action_is_taken_once_and_seen(running: Process) -> None:
    async with _http(running) as http, _past_it(running) as client:
        (key,) = await _placed(http, "act", 1)
        body = {"reason": "a look", "timeoutMs": 20000}
        replies = await asyncio.gather(
            *(_post(http, f"{ORDERS}/{key}/pause", body, key="p-1") for _ in range(5))
        )
        assert all(reply == replies[0] for reply in replies)
        now = (await http.get(f"{ORDERS}/{key}")).json()
        assert (now["status"], now["seq"]) == ("paused", replies[0]["seq"])
        causes = [r.instance.cause async for r in client.history("order-saga", key)]
        assert [cause.reason for cause in causes if cause.kind == "operator"] == ["a look"]
        plan = await _post(http, f"{ORDERS}/{key}/cancel", {"dryRun": True})
        done = await _post(http, f"{ORDERS}/{key}/cancel", {"plan": plan["hash"]})
        assert done["status"] == plan["statusAfter"] == "cancelled"


async def test_a_start_and_its_end(running: Process) -> None:
    async with _http(running) as http:
        path = f"{SAGAS}/sagas/CheckoutSaga/start"
        body = {"input": {"orderId": "c-1", "total": 7}, "wait": True, "timeoutMs": 20000}
        first, second = await asyncio.gather(
            *(_post(http, path, body, key="s-1") for _ in range(2))
        )
        assert first == second
        assert (first["status"], first["settled"]) == ("completed", True)
        assert first["result"]["transactionId"]
        again = await _post(http, path, body, 409)
        assert again["type"].endswith("instance-exists")


async def test_a_job_by_hand(running: Process) -> None:
    async with _http(running) as http:
        path = "/api/v1/workers/jobs/process-payment/trigger"
        body = {"payload": {"orderId": "x", "amount": 1}, "wait": True, "timeoutMs": 20000}
        runs = await asyncio.gather(*(_post(http, path, body, key="j-1") for _ in range(3)))
        assert all(run["result"] == runs[0]["result"] for run in runs)
        assert runs[0]["result"]["payload"]["orderId"] == "x"
        declined = {"payload": {"orderId": "x", "simulate": "decline"}, "wait": True, "key": "a/b"}
        failed = await _post(http, path, declined)
        assert (failed["result"]["outcome"], failed["key"]) == ("failed", "a/b")
        letters = (await http.get(f"{SAGAS}/dead-letters")).json()["items"]
        assert [one for one in letters if "by-hand" in one["command"]] == []


async def test_a_dead_letter_there_and_back(running: Process) -> None:
    async with _http(running) as http, _past_it(running) as client:
        await _post(http, f"{SAGAS}/publish", {"type": "OrderFulfilled", "payload": {}, "key": "k"})

        async def letter() -> str:
            found = [one.id for one in await client.dead_letters() if one.type == "OrderFulfilled"]
            return found[0] if found else ""

        path = f"{SAGAS}/dead-letters/{await eventually(letter, what='a dead letter')}"
        assert (await _post(http, f"{path}/discard"))["status"] == "discarded"
        assert (await _post(http, f"{path}/restore"))["status"] == "open"
        (key,) = await _placed(http, "letter", 1)
        sent = await _post(http, f"{path}/redrive", {"payload": {"orderId": key}}, key="l-1")
        assert (
            await _post(http, f"{path}/redrive", {"payload": {"orderId": key}}, key="l-1") == sent
        )

        async def ended() -> bool:
            return (await http.get(f"{ORDERS}/{key}")).json()["status"] == "completed"

        await eventually(ended, what="the order being fulfilled")


async def test_a_bulk_job_outlives_a_killed_process(tmp_path: Path) -> None:
    process = dev(tmp_path)
    try:
        async with _http(process) as http:
            keys = await _placed(http, "bulk", BULK)
            targets = [{"saga": "order-saga", "key": key} for key in keys]
            body = {"action": "pause", "keys": targets, "reason": "maintenance"}
            made = await _post(http, f"{SAGAS}/bulk", body, 202)

            async def begun() -> bool:
                async with _past_it(process) as client:
                    instance = await client.get("order-saga", keys[60])
                    return instance is not None and instance.status == "paused"

            await eventually(begun, 20.0, "some being paused")
        process.stop(signal.SIGKILL)
        process = dev(tmp_path)
        async with _http(process) as http:
            path = f"{SAGAS}/bulk/{made['id']}"

            async def interrupted() -> bool:
                return (await http.get(path)).json()["status"] == "interrupted"

            await eventually(interrupted, 20.0, "the job being shown as interrupted")
            await _post(http, f"{path}/resume", None, 202)

            async def done() -> Any:
                job = (await http.get(path)).json()
                return job if job["status"] == "done" else None

            job = await eventually(done, 60.0, "the job being done")
            assert (job["done"], job["refused"], job["remaining"]) == (BULK, 0, 0)
        async with _past_it(process) as client:
            pauses: Counter[int] = Counter()
            for key in keys:
                causes = [r.instance.cause async for r in client.history("order-saga", key)]
                pauses[sum(1 for cause in causes if cause.reason == "maintenance")] += 1
            assert pauses == {1: BULK}
    finally:
        process.close()
