"""Goal: an action on many reaches each of them once, and what was refused is told with reasons.

Method: the whole API on the memory broker with a real engine and projections; a job is interrupted
by ending its runner between two outcomes, as the death of its process would.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest
from msgspec import Struct

from sagas import Message, SagaHandle, Secret, define_saga
from server import bulk, bulk_steps
from store.bulk import CHUNK_TARGETS
from store.memory import MemoryBroker, SystemClock
from tests.api_kit import Api, open_api
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

BULK = "/api/v1/sagas/bulk"


@asynccontextmanager
async def _open(folder: Path, **more: Any) -> AsyncGenerator[Api]:
    async with open_api(folder, worker=False, **more) as api:
        try:
            yield api
        finally:
            await api.deps.close()


async def _place(api: Api, count: int, amount: int = 5) -> list[dict[str, str]]:
    """Orders o-0, o-1 …; their names."""
    events = [("OrderPlaced", {"orderId": f"o-{n}", "amount": amount}) for n in range(count)]
    for type, payload in events:
        await api.publish(type, payload, str(payload["orderId"]))
    for number in range(count):
        await api.status("Shop", f"o-{number}")
    await api.caught_up()
    return [{"saga": "Shop", "key": f"o-{number}"} for number in range(count)]


async def _settled(api: Api, id: str, *statuses: str) -> Any:
    wanted = statuses or ("done", "stopped", "cancelled", "interrupted")

    async def look() -> Any:
        job = await api.get(f"{BULK}/{id}")
        return job if job["status"] in wanted else None

    return await eventually(look, 30.0, f"bulk job {id} being {wanted}")


async def _statuses(api: Api, names: list[dict[str, str]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for name in names:
        instance = await api.client.get(name["saga"], name["key"])
        found[instance.status if instance else "none"] += 1
    return found


async def _versions(api: Api, names: list[dict[str, str]]) -> Counter[int]:
    found: Counter[int] = Counter()
    for name in names:
        instance = await api.client.get(name["saga"], name["key"])
        found[instance.version if instance else 0] += 1
    return found


async def test_five_hundred_and_those_that_refuse(tmp_path: Path) -> None:
    async with _open(tmp_path) as api:
        names = await _place(api, 520)
        for number in range(20):
            assert (await api.client.act("Shop", f"o-{number}", "cancel", by="ann")).done
        body = {
            "action": "pause",
            "keys": [*names, {"saga": "Shop", "key": "nobody"}],
            "reason": "r",
        }
        response = await api.http.post(BULK, json=body)
        assert response.status_code == 202
        made = response.json()
        assert made["kind"] == "job"
        assert response.headers["location"] == made["location"]
        job = await _settled(api, made["id"])
        assert (job["status"], job["done"], job["refused"]) == ("done", 500, 21)
        assert (job["total"], job["remaining"]) == (521, 0)
        assert sum(one["count"] for one in job["reasons"]) == 21
        assert {one["count"] for one in job["reasons"]} == {20, 1}
        assert all("o-" not in one["reason"] for one in job["reasons"])
        assert {one["key"] for one in job["refusals"]} == {"nobody", *(f"o-{n}" for n in range(20))}
        assert await _statuses(api, names) == {"paused": 500, "cancelled": 20}
        revision = await api.client.latest("Shop", "o-300")
        assert revision is not None
        assert (revision.instance.cause.by, revision.instance.cause.reason) == ("local", "r")
        listed = await api.get(BULK)
        assert [one["id"] for one in listed["items"]] == [made["id"]]


async def test_a_filter_means_what_the_list_shows(tmp_path: Path) -> None:
    async with _open(tmp_path) as api:
        names = await _place(api, 30)
        await _place_more(api)
        await api.client.act("Shop", "o-3", "pause", by="ann")
        await api.caught_up()
        body = {
            "action": "cancel",
            "filter": {"saga": ["Shop"], "status": ["running"], "where": ["state.amount=5"]},
        }
        plan = await api.post(BULK, {**body, "dryRun": True, "plans": 2}, status=200)
        assert (plan["kind"], plan["total"], plan["wouldChange"]) == ("plan", 29, 29)
        assert plan["exact"] is True
        assert [group["statusAfter"] for group in plan["groups"]] == ["cancelled"]
        assert len(plan["plans"]) == 2
        assert await _statuses(api, names) == {"running": 29, "paused": 1}
        made = await api.post(BULK, body, status=202)
        job = await _settled(api, made["id"])
        assert (job["status"], job["done"], job["refused"]) == ("done", 29, 0)
        assert job["filter"]["where"] == ["state.amount=5"]
        assert await _statuses(api, names) == {"cancelled": 29, "paused": 1}
        other = await api.client.get("Shop", "big")
        assert other is not None
        assert other.status == "running"


async def _place_more(api: Api) -> None:
    await api.publish("OrderPlaced", {"orderId": "big", "amount": 900}, "big")
    await api.status("Shop", "big")


async def test_a_preview_tells_who_would_refuse(tmp_path: Path) -> None:
    async with _open(tmp_path) as api:
        names = await _place(api, 5)
        await api.client.act("Shop", "o-1", "pause", by="ann")
        keys = [*names, {"saga": "Shop", "key": "nobody"}, names[0]]
        body = {"action": "pause", "keys": keys, "dryRun": True}
        plan = await api.post(BULK, body, status=200)
        assert (plan["total"], plan["wouldChange"], plan["wouldRefuse"]) == (6, 4, 2)
        assert {one["key"] for one in plan["refusals"]} == {"o-1", "nobody"}
        assert plan["groups"] == [
            {
                "saga": "Shop",
                "status": "running",
                "statusAfter": "paused",
                "commands": [],
                "count": 4,
            }
        ]
        assert await _versions(api, names) == {1: 4, 2: 1}


async def test_a_preview_without_the_code_says_so(tmp_path: Path) -> None:
    async with _open(tmp_path, loaded=False) as api:
        names = await _place(api, 3)
        await api.client.act("Shop", "o-1", "pause", by="ann")
        plan = await api.post(BULK, {"action": "resume", "keys": names, "dryRun": True}, status=200)
        assert plan["exact"] is False
        assert (plan["wouldChange"], plan["wouldRefuse"]) == (1, 2)
        assert plan["plans"] == []


async def test_too_many_refusals_stop_it(tmp_path: Path) -> None:
    async with _open(tmp_path) as api:
        names = await _place(api, 60)
        body = {"action": "resume", "keys": names, "stopAfterFailures": 5}
        made = await api.post(BULK, body)
        job = await _settled(api, made["id"])
        assert job["status"] == "stopped"
        assert 5 <= job["refused"] < 60
        assert job["remaining"] == 60 - job["refused"]
        assert job["actions"] == ["resume"]
        refused = job["refused"]
        for name in names:
            await api.client.act("Shop", name["key"], "pause", by="ann")
        await api.post(f"{BULK}/{made['id']}/resume", status=202)
        job = await _settled(api, made["id"], "done")
        # What was decided stays so: the same action is never taken twice.
        assert (job["done"], job["refused"]) == (60 - refused, refused)


@pytest.mark.parametrize("through", ["the same process", "another process"])
async def test_an_interrupted_job_goes_on(
    through: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "SAVE_EVERY_S", 0.0)
    broker = MemoryBroker(clock=SystemClock())
    async with _open(tmp_path / "a", broker=broker) as api:
        names = await _place(api, 120)
        body = {"action": "signal", "name": "note", "payload": "x", "keys": names}
        made = await api.post(BULK, body)

        async def begun() -> bool:
            job = await api.get(f"{BULK}/{made['id']}")
            return 0 < job["done"] < 120

        await eventually(begun, what="some being done")
        await api.deps.bulk.close()
        job = await api.get(f"{BULK}/{made['id']}")
        assert job["status"] == "interrupted"
        assert job["actions"] == ["resume", "cancel"]
        if through == "the same process":
            await api.post(f"{BULK}/{made['id']}/resume", status=202)
            job = await _settled(api, made["id"])
            assert await _versions(api, names) == {2: 120}
    if through == "another process":
        async with _open(tmp_path / "b", broker=broker) as api:
            again = await api.get(f"{BULK}/{made['id']}")
            assert again["status"] == "interrupted"
            await api.post(f"{BULK}/{made['id']}/resume", status=202)
            job = await _settled(api, made["id"])
            assert await _versions(api, names) == {2: 120}
    assert (job["status"], job["done"], job["refused"]) == ("done", 120, 0)
    await broker.close()


async def test_a_job_can_be_cancelled_and_go_on(tmp_path: Path) -> None:
    async with _open(tmp_path) as api:
        names = await _place(api, 200)
        made = await api.post(BULK, {"action": "pause", "keys": names})
        path = f"{BULK}/{made['id']}"
        await api.post(f"{path}/cancel", status=202)
        job = await _settled(api, made["id"])
        assert job["status"] == "cancelled"
        assert job["remaining"] > 0
        await api.post(f"{path}/cancel", status=202)
        await api.post(f"{path}/resume", status=202)
        job = await _settled(api, made["id"], "done")
        assert job["done"] == 200
        await api.post(f"{path}/resume", status=409)
        await api.post(f"{path}/cancel", status=409)
        assert await _versions(api, names) == {2: 200}


async def test_without_an_engine_it_waits_to_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_steps, "OUTCOME_S", 0.1)
    broker = MemoryBroker(clock=SystemClock())
    async with _open(tmp_path / "a", broker=broker) as api:
        names = await _place(api, 20)
    async with _open(tmp_path / "b", engine=False, broker=broker) as api:
        made = await api.post(BULK, {"action": "pause", "keys": names})
        job = await _settled(api, made["id"])
        assert job["status"] == "interrupted"
        assert "no engine" in job["note"]
    monkeypatch.setattr(bulk_steps, "OUTCOME_S", 30.0)
    async with _open(tmp_path / "c", broker=broker) as api:
        await api.post(f"{BULK}/{made['id']}/resume", status=202)
        job = await _settled(api, made["id"], "done")
        assert (job["done"], job["refused"]) == (20, 0)
        assert await _versions(api, names) == {2: 20}
    await broker.close()


async def test_the_same_key_makes_one_job(tmp_path: Path) -> None:
    async with _open(tmp_path) as api:
        names = await _place(api, 10)
        key = {"Idempotency-Key": "b-1"}
        body = {"action": "pause", "keys": names}
        made = await asyncio.gather(*(api.post(BULK, body, headers=key) for _ in range(4)))
        assert len({one["id"] for one in made}) == 1
        await _settled(api, made[0]["id"], "done")
        assert (await api.post(BULK, body, headers=key))["status"] == "done"
        assert len((await api.get(BULK))["items"]) == 1
        await api.post(BULK, {**body, "action": "cancel"}, headers=key, status=422)


async def test_a_long_list_has_several_chunks(tmp_path: Path) -> None:
    async with _open(tmp_path) as api:
        names = [{"saga": "Shop", "key": f"none-{n}"} for n in range(2 * CHUNK_TARGETS + 10)]
        made = await api.post(BULK, {"action": "pause", "keys": names})
        job = await _settled(api, made["id"])
        assert (job["status"], job["refused"]) == ("done", len(names))
        assert len(job["refusals"]) == 100
        assert len(job["reasons"]) == 1


class _Card(Struct):
    number: Annotated[str, Secret] = ""

    def __post_init__(self) -> None:
        if self.number.endswith("0"):
            raise ValueError(f"the card {self.number} is blocked")


def _charge(saga: SagaHandle[_Card], message: Message[_Card]) -> None:
    saga.state = message.payload


async def test_refusals_quote_no_secret(tmp_path: Path) -> None:
    cards = define_saga("Cards").state(_Card()).on("Charge", _charge).build()
    async with _open(tmp_path, sagas=(cards,)) as api:
        await api.publish("Charge", {"number": "4000-1234-5"}, "c-1")
        await api.status("Cards", "c-1")
        keys = [{"saga": "Cards", "key": "c-1"}]
        body = {"action": "patch", "keys": keys, "state": {"number": "4000-1234-0"}}
        plan = await api.post(BULK, {**body, "dryRun": True})
        job = await _settled(api, (await api.post(BULK, body))["id"])
        for shown in (plan, job):
            (refusal,) = shown["refusals"]
            assert "is blocked" in refusal["reason"]
            assert "4000" not in json.dumps(shown)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"action": "pause"},
        {"action": "explode", "filter": {"saga": ["Shop"]}},
        {"action": "pause", "filter": {}},
        {"action": "pause", "filter": {"saga": "Shop"}},
        {"action": "pause", "filter": {"sagas": ["Shop"]}},
        {"action": "pause", "filter": {"status": ["bad"]}},
        {"action": "pause", "filter": {"where": ["drop table"]}},
        {"action": "pause", "filter": {"since": "yesterday-ish"}},
        {"action": "pause", "keys": []},
        {"action": "pause", "keys": [{"saga": "Shop"}]},
        {"action": "pause", "keys": [{"saga": "Shop", "key": ""}]},
        {"action": "pause", "keys": [{"saga": "s" * 101, "key": "k"}]},
        {"action": "pause", "keys": [{"saga": "S", "key": "k"}], "filter": {"saga": ["Shop"]}},
        {"action": "pause", "keys": [{"saga": "S", "key": "k"}], "payload": 1},
        {"action": "pause", "keys": [{"saga": "S", "key": "k"}], "plans": -1},
        {"action": "signal", "keys": [{"saga": "S", "key": "k"}]},
        {"action": "patch", "keys": [{"saga": "S", "key": "k"}]},
        {"action": "pause", "keys": [{"saga": "S", "key": "k"}], "version": 1},
        {"action": "pause", "keys": [{"saga": "S", "key": "k"}] * 10_001},
        {"action": "pause", "filter": {"saga": ["Shop"]}, "waitFor": -1},
    ],
)
async def test_bodies_that_mean_nothing(body: Any, tmp_path: Path) -> None:
    async with _open(tmp_path) as api:
        await api.post(BULK, body, status=400)
        assert (await api.get(BULK))["items"] == []


@pytest.mark.parametrize("id", ["nothing", "a.b", "*", "%3E", "x" * 65])
async def test_unknown_jobs(id: str, tmp_path: Path) -> None:
    async with _open(tmp_path) as api:
        assert (await api.http.get(f"{BULK}/{id}")).status_code in (404, 400)
        await api.post(f"{BULK}/{id}/cancel", status=(404, 400))
        await api.post(f"{BULK}/{id}/resume", status=(404, 400))
