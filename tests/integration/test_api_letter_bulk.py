"""Goal: many dead letters are sent again or put aside by one job, and what fails again stops it.

Method: the whole API on the memory broker with a real engine, which makes the letters; the cause is
mended between two attempts by starting the instances that they are for.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.api_kit import Api, open_api
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

LETTERS = "/api/v1/sagas/dead-letters"
BULK = "/api/v1/sagas/bulk"


@asynccontextmanager
async def _open(folder: Path) -> AsyncGenerator[Api]:
    async with open_api(folder, worker=False) as api:
        try:
            yield api
        finally:
            await api.deps.close()


async def _letters(api: Api, count: int) -> list[str]:
    """Events for orders that do not exist; the ids of their letters."""
    for number in range(count):
        await api.publish("OrderClosed", {"orderId": f"o-{number}"}, f"o-{number}")

    async def all_there() -> list[Any] | None:
        found = await api.client.dead_letters()
        return found if len(found) == count else None

    await eventually(all_there, what=f"{count} dead letters")
    await api.caught_up()
    return sorted(letter.id for letter in await api.client.dead_letters())


async def _settled(api: Api, id: str) -> Any:
    async def look() -> Any:
        job = await api.get(f"{BULK}/{id}")
        return job if job["status"] != "running" else None

    return await eventually(look, 30.0, f"the end of bulk job {id}")


async def _statuses(api: Api, ids: list[str]) -> list[str]:
    found = [await api.client.dead_letter(id) for id in ids]
    return [one[0].status for one in found if one is not None]


async def test_what_fails_again_stops_and_goes_on_once_it_is_mended(tmp_path: Path) -> None:
    async with _open(tmp_path) as api:
        ids = await _letters(api, 3)
        body = {"action": "redrive", "ids": ids[:1], "watchMs": 5000, "stopAfterFailures": 1}
        made = await api.post(LETTERS, body, status=202)
        assert made["location"] == f"{BULK}/{made['id']}"
        job = await _settled(api, made["id"])
        assert (job["status"], job["action"]) == ("stopped", "redrive")
        assert (job["done"], job["refused"]) == (0, 1)
        assert "given up again" in job["refusals"][0]["reason"]
        for number in range(3):
            await api.publish("OrderPlaced", {"orderId": f"o-{number}", "amount": 5})
            await api.status("Shop", f"o-{number}")
        await api.caught_up()
        body = {"action": "redrive", "filter": {"type": ["OrderClosed"]}, "reason": "there now"}
        job = await _settled(api, (await api.post(LETTERS, body, status=202))["id"])
        assert (job["status"], job["refused"], job["remaining"]) == ("done", 0, 0)
        assert job["reason"] == "there now"
        assert await _statuses(api, ids) == ["redriven"] * 3


async def test_a_preview_changes_nothing(tmp_path: Path) -> None:
    async with _open(tmp_path) as api:
        ids = await _letters(api, 3)
        await api.client.discard(ids[0], by="anna")
        body = {"action": "discard", "ids": [*ids, ids[0], "nothing"], "dryRun": True}
        plan = await api.post(LETTERS, body, status=200)
        assert (plan["kind"], plan["total"]) == ("plan", 4)
        assert (plan["wouldChange"], plan["wouldRefuse"]) == (2, 2)
        told = {one["key"]: one["reason"] for one in plan["refusals"]}
        assert told == {ids[0]: "it is discarded", "nothing": "there is no such dead letter"}
        assert await _statuses(api, ids) == ["discarded", "open", "open"]


async def test_a_filter_means_open_ones_and_a_key_makes_one_job(tmp_path: Path) -> None:
    async with _open(tmp_path) as api:
        ids = await _letters(api, 4)
        await api.client.redrive(ids[0], by="anna")
        await api.decided()
        body = {"action": "discard", "filter": {"saga": ["Shop"], "key": "o-2"}}
        key = {"Idempotency-Key": "l-1"}
        made = [await api.post(LETTERS, body, headers=key, status=202) for _ in range(2)]
        assert made[0]["id"] == made[1]["id"]
        job = await _settled(api, made[0]["id"])
        assert (job["total"], job["done"]) == (1, 1)
        [changed] = [id for id in ids if (await _statuses(api, [id])) == ["discarded"]]
        found = await api.client.dead_letter(changed)
        assert found is not None
        assert (found[0].key, found[0].by) == ("o-2", "local")


@pytest.mark.parametrize(
    "body",
    [
        {"action": "redrive"},
        {"action": "redrive", "filter": {}},
        {"action": "redrive", "ids": []},
        {"action": "redrive", "ids": [""]},
        {"action": "redrive", "ids": ["a"], "filter": {"key": "o-1"}},
        {"action": "restore", "ids": ["a"]},
        {"action": "discard", "ids": ["a"], "watchMs": 5},
        {"action": "redrive", "ids": ["a"], "watchMs": -1},
        {"action": "redrive", "filter": {"since": "yesterday-ish"}},
    ],
)
async def test_bodies_that_mean_nothing(body: Any, tmp_path: Path) -> None:
    async with _open(tmp_path) as api:
        problem = await api.post(LETTERS, body, status=400)
        assert problem["next"]


async def test_instances_that_fail_again_are_told(tmp_path: Path) -> None:
    async with _open(tmp_path) as api:
        await api.publish("OrderPlaced", {"orderId": "o-1", "amount": -1})
        await api.status("Shop", "o-1", "parked")
        keys = [{"saga": "Shop", "key": "o-1"}]
        made = await api.post(BULK, {"action": "retry", "keys": keys, "watchMs": 5000}, status=202)
        job = await _settled(api, made["id"])
        assert (job["done"], job["refused"]) == (0, 1)
        assert "failed again" in job["refusals"][0]["reason"]
        body = {"action": "pause", "keys": keys, "watchMs": 5000}
        problem = await api.post(BULK, body, status=400)
        assert "pause takes no `watchMs`" in problem["detail"]
