"""Goal: an instance started over HTTP begins once, under the right key, and its end can be had.

Method: the whole API on the memory broker with a real engine, a worker where an end is awaited.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from sagas import Message, SagaHandle, complete, define_saga
from store.memory import MemoryBroker, SystemClock
from tests.api_kit import Api, answer, open_api

pytestmark = pytest.mark.asyncio


def _path(saga: str) -> str:
    return f"/api/v1/sagas/sagas/{saga}/start"


def _begin(saga: SagaHandle[dict[str, Any]], message: Message[Any]) -> Any:
    return complete({"got": message.payload})


ANY_KEY = define_saga("AnyKey").state({}).on("Begin", _begin).build()
BY_CODE = (
    define_saga("ByCode")
    .state({})
    .correlate(lambda message: message.payload["who"]["id"])
    .on("Begin", _begin)
    .build()
)


async def _count(api: Api, saga: str) -> int:
    return len(await api.client.keys(saga))


async def test_a_start_takes_the_key_from_its_input(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        body = {"input": {"orderId": "o/1", "amount": 5}}
        response = await api.http.post(_path("Shop"), json=body)
        started = answer(response, 201)
        assert (started["key"], started["status"], started["version"]) == ("o/1", "running", 1)
        assert started["settled"] is False
        assert started["next"]
        assert response.headers["location"] == "/api/v1/sagas/instances/Shop/o%2F1"
        now = await api.get(response.headers["location"])
        assert now["document"]["cause"]["by"] == "local"
        assert now["seq"] == started["seq"]


async def test_its_end_is_the_answer(tmp_path: Path) -> None:
    async with open_api(tmp_path) as api:
        order = {"orderId": "c-1", "customerId": "c", "items": [], "total": 7}
        done = await api.post(
            _path("CheckoutSaga"), {"input": order, "wait": True, "timeoutMs": 20000}, status=200
        )
        assert (done["settled"], done["status"], done["error"]) == (True, "completed", None)
        assert done["result"]["transactionId"]
        declined = {"input": {**order, "orderId": "c-2", "simulate": "decline"}, "wait": True}
        ended = await api.post(_path("CheckoutSaga"), declined, status=200)
        assert (ended["settled"], ended["status"]) == (True, "cancelled")
        assert "payment failed" in ended["error"]["message"]
        assert "result" not in ended


async def test_what_does_not_end_in_time_goes_on(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        body = {"input": {"orderId": "o-1"}, "wait": True, "timeoutMs": 300}
        waiting = await api.post(_path("Shop"), body, status=202)
        assert (waiting["settled"], waiting["status"], waiting["version"]) == (False, "running", 1)
        assert waiting["location"]


async def test_an_instance_is_started_once(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        body = {"input": {"orderId": "o-1", "amount": 5}}
        await api.post(_path("Shop"), body, status=201)
        problem = await api.post(_path("Shop"), body, status=409)
        assert problem["type"].endswith("instance-exists")
        assert problem["currentStatus"] == "running"


async def test_the_same_key_twice(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False, sagas=(ANY_KEY,)) as api:
        key = {"Idempotency-Key": "s-1"}
        body = {"input": [1], "wait": True}
        replies = await asyncio.gather(
            *(api.post(_path("AnyKey"), body, headers=key) for _ in range(4))
        )
        assert all(reply == replies[0] for reply in replies)
        assert replies[0]["result"] == {"got": [1]}
        assert await _count(api, "AnyKey") == 1
        await api.post(_path("AnyKey"), {"input": [2], "wait": True}, headers=key, status=422)
        await api.post(_path("AnyKey"), body)
        assert await _count(api, "AnyKey") == 2


async def test_a_start_that_had_no_engine(tmp_path: Path) -> None:
    broker = MemoryBroker(clock=SystemClock())
    key = {"Idempotency-Key": "s-1"}
    body = {"input": {"orderId": "o-1"}, "timeoutMs": 100}
    async with open_api(tmp_path / "a", worker=False, broker=broker):
        pass
    async with open_api(tmp_path / "b", engine=False, worker=False, broker=broker) as api:
        pending = await api.post(_path("Shop"), body, headers=key, status=202)
        assert "version" not in pending
    async with open_api(tmp_path / "c", worker=False, broker=broker) as api:
        await api.status("Shop", "o-1", "running")
        done = await api.post(_path("Shop"), body, headers=key, status=201)
        assert (done["version"], done["status"]) == (1, "running")
    await broker.close()


async def test_keys_by_a_function(tmp_path: Path) -> None:
    async with open_api(tmp_path / "a", worker=False, sagas=(BY_CODE,)) as api:
        body = {"input": {"who": {"id": "w-1"}}, "wait": True}
        assert (await api.post(_path("ByCode"), body))["key"] == "w-1"
        assert (await api.post(_path("ByCode"), {"input": {}}, status=400))["type"].endswith(
            "no-key"
        )
    async with open_api(tmp_path / "b", worker=False, sagas=(BY_CODE,), loaded=False) as api:
        problem = await api.post(_path("ByCode"), body, status=400)
        assert "by a function" in problem["detail"]
        named = await api.post(_path("ByCode"), {**body, "key": "mine"})
        assert named["key"] == "mine"


@pytest.mark.parametrize(
    "body",
    [
        {"input": {}},
        {"input": {"orderId": {}}},
        {"input": {"orderId": "k" * 201}},
        {"input": {"orderId": "o"}, "key": ""},
        {"input": {"orderId": "o"}, "key": "k" * 201},
        {"input": {"orderId": "o"}, "key": 3},
        {"inputs": {}},
        {"input": {"orderId": "o"}, "wait": "yes"},
        {"input": {"orderId": "o"}, "timeoutMs": 0},
        [],
    ],
)
async def test_bodies_that_start_nothing(body: Any, tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        await api.post(_path("Shop"), body, status=400)
        assert await _count(api, "Shop") == 0


async def test_an_unknown_saga(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        problem = await api.post(_path("Shopp"), {"input": {}}, status=404)
        assert problem["near"] == ["Shop"]


async def test_input_that_does_not_fit_begins_nothing(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        body = {"input": {"orderId": "o-1", "amount": "much"}}
        problem = await api.post(_path("Shop"), body, status=409)
        assert "does not fit Shop: Expected `int`" in problem["detail"]
        assert await api.client.get("Shop", "o-1") is None
