"""Goal: what fails for one reason stands together, with counts, notes and what still waits.

Method: a shop on a memory broker and real projections fails in each way there is; groups and their
members are read over the API.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from sagas import Effects, Message, SagaHandle, define_saga, fail
from sagas.effects import cancel
from tests.api_kit import Api, open_api
from tests.unit.store.shop import charge, shop

pytestmark = pytest.mark.asyncio

FAILURES = "/api/v1/sagas/failures"


def _end_wanted(saga: SagaHandle[Any], message: Message[Any]) -> Effects:
    """Ends at once, mildly or not."""
    reason = f"order {saga.key} is not for us"
    return [cancel(reason) if message.payload["mild"] else fail(reason)]


ends = define_saga("Ends").state({}).on("EndWanted", _end_wanted, starts=True).build()


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncGenerator[Api]:
    """A shop whose job says no to an amount of 1 and whose handler breaks below zero."""
    async with open_api(tmp_path, sagas=[shop, ends], jobs=[charge]) as api:
        yield api


async def _place(api: Api, amount: int, *keys: str) -> None:
    for key in keys:
        await api.publish("OrderPlaced", {"orderId": key, "amount": amount})
        await api.status("Shop", key, "parked")


async def _groups(api: Api, **query: Any) -> list[Any]:
    await api.decided()
    return (await api.get(FAILURES, **query))["items"]


async def test_two_parked_by_one_defect_are_one_group(api: Api) -> None:
    await _place(api, -1, "o-1", "o-2")
    [group] = await _groups(api)
    assert (group["kind"], group["saga"], group["place"]) == ("parked", "Shop", "OrderPlaced")
    assert (group["errorType"], group["cause"]) == ("ValueError", "an amount below zero")
    assert (group["count"], group["open"], group["keys"]) == (2, 2, ["o-2", "o-1"])
    assert group["definition"] == shop.hash
    assert sum(one["count"] for one in group["overTime"]) == 2
    await api.client.act("Shop", "o-1", "skip", by="anna")
    [after] = await _groups(api)
    assert (after["fingerprint"], after["count"]) == (group["fingerprint"], 2)
    assert after["open"] == 1


async def test_a_retry_that_parks_again_is_no_new_failure(api: Api) -> None:
    await _place(api, -1, "o-1")
    reply = await api.client.act("Shop", "o-1", "retry", by="anna")
    assert reply.status == "parked"
    [group] = await _groups(api)
    assert (group["count"], group["open"]) == (1, 1)


async def test_a_job_that_failed_counts_once_although_it_parked_the_instance(api: Api) -> None:
    await _place(api, 1, "o-1")
    [group] = await _groups(api)
    assert (group["kind"], group["place"], group["cause"]) == ("job", "charge", "no money")
    assert (group["count"], group["open"]) == (1, 1)
    detail = await api.get(f"{FAILURES}/{group['fingerprint']}")
    [member] = detail["items"]
    assert (member["key"], member["id"], member["open"]) == ("o-1", "Shop.o-1.1.0", True)
    assert member["message"] == "no money"


async def test_what_fails_again_after_a_retry_is_counted_again_and_open_once(api: Api) -> None:
    await _place(api, 1, "o-1")
    before = await api.client.latest("Shop", "o-1")
    assert before is not None
    await api.client.act("Shop", "o-1", "retry", by="anna")
    await api.decided()
    await api.status("Shop", "o-1", "parked")
    [group] = await _groups(api)
    assert (group["count"], group["open"]) == (2, 1)


async def test_ends_and_dead_letters_are_failures_too(api: Api) -> None:
    for number in (1, 2):
        await api.publish("EndWanted", {"mild": False}, key=f"e-{number}")
    await api.publish("EndWanted", {"mild": True}, key="e-3")
    await api.publish("OrderClosed", {})
    found = {group["kind"]: group for group in await _groups(api)}
    assert found.keys() == {"failed", "cancelled", "dead_letter"}
    assert (found["failed"]["cause"], found["failed"]["count"]) == ("order <n> is not for us", 2)
    assert found["failed"]["open"] == found["cancelled"]["open"] == 0
    letter = found["dead_letter"]
    assert (letter["saga"], letter["place"], letter["open"]) == ("Shop", "OrderClosed", 1)
    detail = await api.get(f"{FAILURES}/{letter['fingerprint']}")
    [member] = detail["items"]
    await api.client.discard(member["id"], by="anna")
    assert {g["kind"]: g["open"] for g in await _groups(api)}["dead_letter"] == 0


async def test_an_operators_cancel_is_no_failure(api: Api) -> None:
    await api.publish("OrderPlaced", {"orderId": "o-1", "amount": 7})
    await api.status("Shop", "o-1")
    await api.client.act("Shop", "o-1", "cancel", by="anna")
    assert await _groups(api) == []


async def test_groups_and_members_come_in_pages(api: Api) -> None:
    await _place(api, -1, "o-1", "o-2", "o-3")
    await _place(api, 1, "o-4")
    await api.decided()
    first = await api.get(FAILURES, limit=1)
    second = await api.get(FAILURES, limit=1, cursor=first["next"])
    kinds = [first["items"][0]["kind"], second["items"][0]["kind"]]
    assert (kinds, second["next"]) == (["job", "parked"], None)
    path = f"{FAILURES}/{second['items'][0]['fingerprint']}"
    one = await api.get(path, limit=2)
    two = await api.get(path, limit=2, cursor=one["next"])
    keys = [member["key"] for page in (one, two) for member in page["items"]]
    assert (keys, two["next"]) == (["o-3", "o-2", "o-1"], None)
    assert await _groups(api, saga="Ends") == []
    assert await _groups(api, since="2300-01-01") == []
    await api.get(FAILURES, status=400, cursor=one["next"])


async def test_a_note_stays_with_its_group(api: Api) -> None:
    await _place(api, -1, "o-1")
    [group] = await _groups(api)
    path = f"{FAILURES}/{group['fingerprint']}/note"
    response = await api.http.put(path, json={"text": " mended in 1.4 \n"})
    assert response.status_code == 200
    assert (response.json()["text"], response.json()["by"]) == ("mended in 1.4", "local")
    [noted] = await _groups(api)
    assert noted["note"]["text"] == "mended in 1.4"
    await api.http.put(path, json={"text": ""})
    [bare] = await _groups(api)
    assert bare["note"] is None


async def test_unknown_groups_and_bad_notes_are_refused(api: Api) -> None:
    for name in ("0" * 16, "nonsense", "a" * 500):
        problem = await api.get(f"{FAILURES}/{name}", status=404)
        assert problem["title"] == "There is no such group of failures"
    response = await api.http.put(f"{FAILURES}/{'0' * 16}/note", json={"text": "x"})
    assert response.status_code == 404
    response = await api.http.put(f"{FAILURES}/{'0' * 16}/note", json={"text": "x" * 5000})
    assert response.status_code == 400


# --- the overview


async def test_the_overview_tells_what_is_wrong_and_what_moves(api: Api) -> None:
    await _place(api, -1, "o-1")
    await api.publish("EndWanted", {"mild": False}, key="e-1")
    await api.publish("OrderPlaced", {"orderId": "o-2", "amount": 7})
    await api.decided()
    seen = await api.get("/api/v1/overview")
    totals = seen["totals"]
    assert (totals["running"], totals["parked"], totals["failedSince"]) == (1, 1, 1)
    assert totals["startedSince"] == 3
    assert {one["saga"]: one["byStatus"] for one in seen["sagas"]} == {
        "Shop": {"parked": 1, "running": 1},
        "Ends": {"failed": 1},
    }
    assert {group["kind"] for group in seen["newFailures"]} == {"parked", "failed"}
    assert sum(span["transitions"] for span in seen["overTime"]) == 3
    assert sum(span["failed"] for span in seen["overTime"]) == 2
    assert all(span["waitedP95Ms"] >= span["waitedP50Ms"] >= 0 for span in seen["overTime"])


async def test_the_overview_names_jobs_that_nobody_serves(tmp_path: Path) -> None:
    async with open_api(tmp_path, sagas=[shop], jobs=[charge], worker=False) as api:
        await api.publish("OrderPlaced", {"orderId": "o-1", "amount": 1})
        await api.decided()
        [job] = (await api.get("/api/v1/overview", minutes=5))["jobs"]
        assert (job["target"], job["open"], job["workers"]) == ("charge", 1, 0)
        assert job["words"].startswith("1 command waits, the oldest for ")
        assert job["words"].endswith("no worker serves it: start one with `snorri jobs charge`")
        await api.get("/api/v1/overview", status=400, minutes=0)
