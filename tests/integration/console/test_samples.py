"""Goal: each sample query answers its question: it runs as it stands and finds something.

Method: an installation with orders that went well and badly, timers, retries, operators and dead
letters; every sample with its own parameters, through the console as people would ask.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from store.projection.console import Query
from store.projection.samples import SAMPLES, Sample
from tests.api_kit import Api, open_api
from tests.console_kit import content
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    async with open_api(tmp_path_factory.mktemp("samples")) as opened:
        await _fill(opened)
        yield opened


async def _fill(api: Api) -> None:
    ways = {"o-1001": "", "o-1002": "decline", "o-1003": "no-stock", "o-1004": "flaky"}
    for key, way in ways.items():
        order = {"orderId": key, "customerId": "c-7", "total": 4999, "simulate": way}
        await api.publish("OrderCreated", order, key, id=f"order-{key[2:]}")
    await api.publish("CartChanged", {"cartId": "c-1"}, "c-1")
    await api.publish("OrderPlaced", {"orderId": "bad", "amount": -1}, "bad")
    await api.publish("OrderPlaced", {"orderId": "worse", "amount": "many"}, "worse")
    await api.publish("Nobody", {"x": 1}, "n-1")
    await api.status("Shop", "bad", "parked")
    await api.client.act("Shop", "bad", "cancel", by="ann", reason="a typo")
    await api.publish("OrderPlaced", {"orderId": "bad-2", "amount": -1}, "bad-2")
    await api.status("Shop", "bad-2", "parked")
    await api.status("CheckoutSaga", "o-1001", "completed")
    await api.status("CheckoutSaga", "o-1003", "cancelled")
    await eventually(lambda: _retried(api), 30.0, "an attempt that was repeated")
    await api.publish("OrderPlaced", {"orderId": "unpaid", "amount": 1}, "unpaid")
    await api.status("Shop", "unpaid", "parked")
    await api.caught_up()


async def _retried(api: Api) -> bool:
    await api.caught_up()
    return bool((await _ask(api, "FROM executions WHERE attempt > 1"))[1])


async def _ask(api: Api, sql: str, parameters: Any = None) -> tuple[list[str], list[list[Any]]]:
    assert api.deps.console is not None
    answer = await api.deps.console.ask(Query(sql=sql, parameters=parameters))
    return [column.name for column in answer.columns], json.loads(content(answer))


async def test_samples_are_two_dozen_with_names_of_their_own() -> None:
    assert len({sample.name for sample in SAMPLES}) == len(SAMPLES) >= 24


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.name for sample in SAMPLES])
async def test_a_sample_finds_something(api: Api, sample: Sample) -> None:
    names, rows = await _ask(api, sample.sql, dict(sample.parameters) or None)
    assert rows, sample.name
    assert len(set(names)) == len(names)
    for index, name in enumerate(names):
        # A column that is always empty would be a mistake in the query.
        may_be_empty = {"error_message", "reason", "at_instance", "late_ms", "refusal"}
        assert name in may_be_empty or any(row[index] is not None for row in rows), name


async def test_answers_are_right(api: Api) -> None:
    samples = {sample.name: sample for sample in SAMPLES}

    async def rows(name: str, **parameters: object) -> list[dict[str, Any]]:
        sample = samples[name]
        given = {**sample.parameters, **parameters}
        names, found = await _ask(api, sample.sql, given or None)
        return [dict(zip(names, row, strict=True)) for row in found]

    steps = [row["cause_type"] for row in await rows("history")]
    assert steps == ["OrderCreated", "PaymentCompleted", "InventoryReserved", "ShipmentCreated"]
    [state] = await rows("state-at")
    assert state["state"]["status"] == "completed"
    [event] = await rows("event")
    assert (event["outcome"], event["saga"], event["key"]) == ("applied", "CheckoutSaga", "o-1001")
    [between] = await rows("between")
    assert between["orders"] >= 1
    assert {row["path"] for row in await rows("diff")} == {"$.status", "$.transactionId"}
    undone = await rows("compensations")
    assert [(row["key"], row["status"]) for row in undone] == [("o-1003", "cancelled")]
    assert undone[0]["reason"] == "out of stock"
    assert "process-payment" in {row["target"] for row in await rows("retries-by-job")}
    assert {row["outcome"] for row in await rows("unhandled")} >= {"no_saga", "ignored"}
    [acted] = await rows("operators")
    assert (acted["by"], acted["action"], acted["outcome"]) == ("ann", "cancel", "done")
    funnel = {row["reached"]: row["instances"] for row in await rows("funnel-by-message")}
    assert funnel["OrderCreated"] >= 4
    assert sum(
        row["percent"] for row in await rows("funnel-by-status") if row["saga"] == "Shop"
    ) == (pytest.approx(100, abs=0.2))
