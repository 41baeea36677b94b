"""Goal: an action over HTTP does what it says once, answers with what it caused, or says why not.

Method: the whole API on the memory broker with a real engine; every answer is compared with the
history that the log holds.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated, Any

import pytest
from msgspec import Struct

from sagas import Message, SagaHandle, Secret, define_saga, send
from sagas.actions import ACTIONS
from server.api import idempotency
from store.memory import MemoryBroker, SystemClock
from tests.api_kit import Api, answer, instance_path, open_api
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio


async def _place(api: Api, key: str = "o-1", amount: int = 5) -> None:
    await api.publish("OrderPlaced", {"orderId": key, "amount": amount}, key)
    await api.status("Shop", key, "running", "parked")


def _path(action: str, key: str = "o-1") -> str:
    return instance_path("Shop", key, action)


async def _versions(api: Api, key: str = "o-1") -> list[Any]:
    return [revision async for revision in api.client.history("Shop", key)]


async def test_an_action_answers_with_its_transition(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        await _place(api)
        done = await api.post(_path("pause"), {"reason": "lunch"})
        assert done["kind"] == "transition"
        assert (done["done"], done["status"], done["version"]) == (True, "paused", 2)
        assert (done["by"], done["reason"]) == ("local", "lunch")
        assert done["state"]["orderId"] == "o-1"
        assert done["effects"] == []
        last = (await _versions(api))[-1]
        assert (last.seq, last.instance.cause.reason) == (done["seq"], "lunch")
        now = await api.get(instance_path("Shop", "o-1"))
        assert (now["status"], now["version"], now["seq"]) == ("paused", 2, done["seq"])
        await api.post(_path("resume"))
        await api.status("Shop", "o-1", "running")


async def test_every_action_over_its_life(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        await _place(api)
        noted = await api.post(_path("signal"), {"name": "note", "payload": {"a": 1}})
        assert noted["state"]["notes"] == ["{'a': 1}"]
        patched = await api.post(_path("patch"), {"patch": {"amount": 9}})
        assert patched["state"]["amount"] == 9
        whole = await api.post(_path("patch"), {"state": {"orderId": "o-1", "amount": 1}})
        assert whole["state"] == {"orderId": "o-1", "amount": 1, "notes": []}
        await api.publish("OrderPlaced", {"orderId": "o-1", "amount": -1}, "o-1")
        await api.status("Shop", "o-1", "parked")
        again = await api.post(_path("retry"))
        assert (again["status"], again["error"]["type"]) == ("parked", "ValueError")
        mended = await api.post(_path("retry"), {"payload": {"orderId": "o-1", "amount": 3}})
        assert (mended["status"], mended["state"]["amount"]) == ("running", 3)
        await api.publish("OrderPlaced", {"orderId": "o-1", "amount": -1}, "o-1")
        await api.status("Shop", "o-1", "parked")
        assert (await api.post(_path("skip"), {"reason": "no use"}))["status"] == "running"
        assert (await api.post(_path("cancel"), {"reason": "enough"}))["status"] == "cancelled"


async def test_a_refusal_says_where_the_instance_stands(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        await _place(api)
        problem = await api.post(_path("resume"), status=409)
        assert problem["type"].endswith("action-not-allowed")
        assert (problem["currentVersion"], problem["currentStatus"]) == (1, "running")
        assert "pause" in problem["allowed"]
        moved = await api.post(_path("pause"), {"version": 7}, status=409)
        assert moved["type"].endswith("version-conflict")
        assert moved["currentVersion"] == 1
        unknown = await api.post(_path("signal"), {"name": "nope"}, status=409)
        assert unknown["type"].endswith("action-refused")
        wrong = await api.post(_path("patch"), {"state": {"amount": "much"}}, status=409)
        assert "amount" in wrong["detail"]
        assert len(await _versions(api)) == 1


async def test_exactly_the_plan_or_nothing(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        await api.publish("OrderCreated", {"orderId": "c-1", "total": 7}, "c-1")
        await api.status("CheckoutSaga", "c-1", "running")
        await api.publish("PaymentCompleted", {"orderId": "c-1", "transactionId": "t-9"}, "c-1")

        async def paid() -> bool:
            instance = await api.client.get("CheckoutSaga", "c-1")
            return instance is not None and b"paid" in bytes(instance.state)

        await api.status("CheckoutSaga", "c-1", "running")
        path = instance_path("CheckoutSaga", "c-1", "compensate")
        await eventually(paid, what="the payment")
        plan = await api.post(path, {"dryRun": True, "reason": "fraud"})
        assert plan["kind"] == "plan"
        assert plan["statusAfter"] == "compensating"
        assert plan["sameCode"] is True
        assert [command["target"] for command in plan["commands"]] == ["refund-payment"]
        assert plan["commands"][0]["payload"] == {"orderId": "c-1", "transactionId": "t-9"}
        assert plan["inFlight"]
        before = await api.client.get("CheckoutSaga", "c-1")
        stale = {"plan": plan["hash"], "reason": "another"}
        problem = await api.post(path, stale, status=409)
        assert problem["type"].endswith("plan-outdated")
        assert await api.client.get("CheckoutSaga", "c-1") == before
        done = await api.post(path, {"plan": plan["hash"], "reason": "fraud"})
        sent = [effect for effect in done["effects"] if effect["kind"] == "send"]
        assert [(one["target"], one["payload"]) for one in sent] == [
            (one["target"], one["payload"]) for one in plan["commands"]
        ]
        assert done["state"] == plan["stateAfter"]
        await api.post(path, {"plan": plan["hash"], "reason": "fraud"}, status=409)


async def test_a_plan_of_what_is_refused(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        await _place(api)
        problem = await api.post(_path("resume"), {"dryRun": True}, status=409)
        assert problem["type"].endswith("action-not-allowed")


async def test_a_plan_needs_the_code(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False, loaded=False) as api:
        await _place(api)
        problem = await api.post(_path("pause"), {"dryRun": True}, status=409)
        assert problem["type"].endswith("definition-not-loaded")
        assert (await api.post(_path("pause")))["status"] == "paused"


async def test_the_same_key_twice_at_once(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        await _place(api)
        key = {"Idempotency-Key": "k-1"}
        body = {"name": "note", "payload": 1}
        replies = await asyncio.gather(
            *(api.post(_path("signal"), body, headers=key) for _ in range(6))
        )
        assert all(reply == replies[0] for reply in replies)
        assert len(await _versions(api)) == 2
        other = await api.post(_path("signal"), {"name": "note"}, headers=key, status=422)
        assert other["type"].endswith("idempotency-key-reused")
        elsewhere = await api.post(_path("pause"), body | {"x": 1}, headers=key, status=400)
        assert elsewhere["type"].endswith("invalid-request")
        await api.post(_path("pause"), headers=key, status=422)


async def test_a_refusal_is_remembered_too(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        await _place(api)
        key = {"Idempotency-Key": "k-1"}
        first = await api.post(_path("resume"), headers=key, status=409)
        await api.post(_path("pause"))
        assert await api.post(_path("resume"), headers=key, status=409) == first


async def test_the_same_key_after_a_restart(tmp_path: Path) -> None:
    broker = MemoryBroker(clock=SystemClock())
    key = {"Idempotency-Key": "k-1"}
    async with open_api(tmp_path / "a", worker=False, broker=broker) as api:
        await _place(api)
        first = await api.post(_path("pause"), {"reason": "x"}, headers=key)
    async with open_api(tmp_path / "b", worker=False, broker=broker) as api:
        assert await api.post(_path("pause"), {"reason": "x"}, headers=key) == first
        assert len(await _versions(api)) == 2
    await broker.close()


async def test_a_key_whose_owner_died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first process stored the action and died before it could note the reply."""
    async with open_api(tmp_path, worker=False) as api:
        await _place(api)
        monkeypatch.setattr(idempotency, "PATIENCE_S", 0.1)
        put = api.backend.meta.put

        async def dies(name: str, data: bytes, **more: Any) -> int | None:
            if b"reply" in data:
                raise SystemError("the process is gone")
            return await put(name, data, **more)

        key = {"Idempotency-Key": "k-1"}
        monkeypatch.setattr(api.backend.meta, "put", dies)
        await api.post(_path("pause"), headers=key, status=500)
        monkeypatch.setattr(api.backend.meta, "put", put)
        again = await api.post(_path("pause"), headers=key)
        assert (again["status"], again["version"]) == ("paused", 2)
        assert len(await _versions(api)) == 2


async def test_without_an_engine_it_is_stored_and_told(tmp_path: Path) -> None:
    broker = MemoryBroker(clock=SystemClock())
    async with open_api(tmp_path / "a", worker=False, broker=broker) as api:
        await _place(api)
    key = {"Idempotency-Key": "k-1"}
    body = {"timeoutMs": 100}
    async with open_api(tmp_path / "b", engine=False, worker=False, broker=broker) as api:
        pending = await api.post(_path("pause"), body, headers=key, status=202)
        assert pending["done"] is False
        assert pending["next"]
    async with open_api(tmp_path / "c", worker=False, broker=broker) as api:
        await api.status("Shop", "o-1", "paused")
        done = await api.post(_path("pause"), body, headers=key, status=200)
        assert (done["status"], done["version"]) == ("paused", 2)
    await broker.close()


@pytest.mark.parametrize("key", ["a/b", "ä €", "*", ">", "a.b", "%2F", "k" * 200, "a?b#c"])
async def test_keys_of_any_kind(key: str, tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        await _place(api, "other")
        await _place(api, key)
        assert (await api.post(_path("pause", key)))["key"] == key
        other = await api.client.get("Shop", "other")
        assert other is not None
        assert other.status == "running"


async def test_nobody_is_there(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        await _place(api)
        for action in ACTIONS:
            body = {"signal": {"name": "n"}, "patch": {"state": {}}}.get(action)
            nobody = await api.post(_path(action, "o-2"), body, status=404)
            assert nobody["type"].endswith("no-such-instance")
            path = instance_path("Shap", "o-1", action)
            assert (await api.post(path, body, status=404))["type"].endswith("no-such-saga")
        await api.post(_path("pause", "k" * 201), status=400)


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("pause", {"reason": 3}),
        ("pause", {"reason": "x" * 1001}),
        ("pause", {"dryrun": True}),
        ("pause", {"version": -1}),
        ("pause", {"version": "1"}),
        ("pause", {"timeoutMs": 1}),
        ("pause", {"timeoutMs": 10**9}),
        ("pause", {"payload": {}}),
        ("pause", []),
        ("signal", {}),
        ("signal", {"name": "x" * 101}),
        ("patch", {}),
        ("patch", {"state": {}, "patch": {}}),
        ("compensate", {"types": "RefundPayment"}),
        ("compensate", {"types": ["x"] * 101}),
        ("skip", {"byHand": "yes"}),
        ("retry", {"command": 1}),
    ],
)
async def test_bodies_that_are_no_action(action: str, body: Any, tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        await _place(api)
        await api.post(_path(action), body, status=400)
        assert len(await _versions(api)) == 1


async def test_other_kinds_of_bodies(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        await _place(api)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        answer(await api.http.post(_path("pause"), content=b"reason=x", headers=form), 415)
        answer(await api.http.get(_path("pause")), 405)
        answer(await api.http.post(_path("explode")), (404, 405))
        assert len(await _versions(api)) == 1


async def test_secrets_are_masked(tmp_path: Path) -> None:
    def mask(data: bytes) -> bytes:
        return data.replace(b'"x-ray"', b'"***"')

    async with open_api(tmp_path, worker=False, mask=mask) as api:
        await _place(api)
        plan = await api.post(_path("signal"), {"name": "note", "payload": "x-ray", "dryRun": True})
        assert plan["stateAfter"]["notes"] == ["***"]
        done = await api.post(_path("signal"), {"name": "note", "payload": "x-ray"})
        assert done["state"]["notes"] == ["***"]


class _Card(Struct):
    number: Annotated[str, Secret] = ""
    tries: int = 0


def _charge(saga: SagaHandle[_Card], message: Message[_Card]) -> Any:
    if message.payload.number.endswith("0"):
        raise ValueError(f"the card {message.payload.number} is blocked")
    saga.state = message.payload
    return send("charge", message.payload)


CARDS = define_saga("Cards").state(_Card()).on("Charge", _charge).build()
NUMBER = "4000-1234-0"


async def test_no_answer_quotes_a_secret(tmp_path: Path) -> None:
    """Neither as a field nor within an error: of the action, its plan, in bulk."""
    async with open_api(tmp_path, worker=False, sagas=(CARDS,)) as api:
        await api.publish("Charge", {"number": "4000-1234-5"}, "c-1")
        await api.status("Cards", "c-1", "running")
        await api.publish("Charge", {"number": NUMBER}, "c-1")
        await api.status("Cards", "c-1", "parked")
        path = instance_path("Cards", "c-1", "retry")
        plan = await api.post(path, {"dryRun": True})
        assert "is blocked" in plan["error"]
        done = await api.post(path)
        assert "is blocked" in done["error"]["message"]
        body = {"action": "retry", "keys": [{"saga": "Cards", "key": "c-1"}], "dryRun": True}
        many = await api.post("/api/v1/sagas/bulk", body)
        assert many["plans"][0]["error"]
        mended = await api.post(path, {"payload": {"number": "4000-1234-7"}})
        assert mended["status"] == "running"
        assert mended["effects"][0]["payload"]["number"] == "•••"
        for shown in (plan, done, many, mended):
            text = json.dumps(shown, ensure_ascii=False)
            assert "4000" not in text
            assert "•••" in text
