"""The other reading routes: registry, jobs and attempts, workers, engines, dead letters, records.

Goal: each list shows what happened, filters as it says, pages without gaps, and refuses what can't
be meant. Method: a whole installation in memory where orders succeed, fail and are acted upon.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from store.masking import MASKED, Mask
from tests.api_kit import Api, answer, open_api
from tests.waiting import eventually

SAGAS = "/api/v1/sagas/sagas"
JOBS = "/api/v1/workers/jobs"
EXECUTIONS = "/api/v1/workers/executions"
LETTERS = "/api/v1/sagas/dead-letters"
TIMERS = "/api/v1/timers"
AUDIT = "/api/v1/audit"


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncGenerator[Api]:
    """An installation with the samples and the shop."""
    async with open_api(tmp_path) as opened:
        yield opened


async def _pages(api: Api, path: str, limit: int, **query: Any) -> list[dict[str, Any]]:
    """All items of a list, walked page by page."""
    items: list[dict[str, Any]] = []
    cursor = None
    while True:
        given = {"limit": limit, **query} | ({"cursor": cursor} if cursor else {})
        page = answer(await api.http.get(path, params=given), 200)
        assert len(page["items"]) <= limit
        items += page["items"]
        cursor = page["next"]
        if cursor is None:
            return items


async def _checkouts(api: Api, count: int, **more: Any) -> None:
    for n in range(count):
        order = {"orderId": f"o-{n}", "customerId": "c", "items": [], "total": 9, **more}
        await api.publish("OrderCreated", order, f"o-{n}")
    for n in range(count):
        await api.status("CheckoutSaga", f"o-{n}", "completed", "cancelled", "parked")


async def _bad_orders(api: Api, count: int) -> None:
    """Events that no instance can take: their payload is none of an order."""
    for n in range(count):
        await api.publish("OrderPlaced", {"orderId": f"bad-{n}", "amount": "much"}, f"bad-{n}")

    async def all_there() -> bool:
        letters = await api.client.dead_letters(None)
        return len({letter.key for letter in letters if letter.saga == "Shop"}) == count

    await eventually(all_there)
    await api.caught_up()


# --- registry


@pytest.mark.asyncio
async def test_the_registry(api: Api) -> None:
    """What authors declared, and how the instances stand."""
    await _checkouts(api, 2)
    await api.caught_up()

    listed = await api.get(SAGAS)
    detail = await api.get(f"{SAGAS}/CheckoutSaga")
    saga = detail["saga"]

    ids = [item["id"] for item in listed["items"]]
    assert ids == sorted(ids)
    assert {"CheckoutSaga", "Shop", "TripSaga"} <= set(ids)
    assert saga in listed["items"]
    assert saga["starting"] == ["OrderCreated"]
    assert "PaymentCompleted" in saga["types"]
    assert saga["queries"] == ["progress"]
    assert saga["counts"] == {"completed": 2}
    assert (saga["instances"], saga["engines"], saga["loaded"]) == (2, 1, True)
    assert (saga["keyRule"], saga["keyPath"]) == ("field", "orderId")
    assert (saga["retention"], saga["onUnknown"]) == ("90d", "dead_letter")
    order = detail["schemas"]["OrderCreated"]["$defs"]["OrderCreated"]
    assert order["required"] == ["orderId"]
    assert order["properties"]["total"] == {"type": "integer", "default": 0}
    nightly = next(item for item in listed["items"] if item["id"] == "NightlyReportSaga")
    assert nightly["cron"]


@pytest.mark.asyncio
async def test_unknown_sagas_and_jobs(api: Api) -> None:
    """404s with names that come near."""
    saga = await api.get(f"{SAGAS}/CheckoutSag", status=404)
    job = await api.get(f"{JOBS}/process-payments/executions", status=404)

    assert saga["near"][0] == "CheckoutSaga"
    assert job["near"][0] == "process-payment"
    assert (await api.get(f"{JOBS}/send-reminder/executions"))["items"] == []


# --- jobs


@pytest.mark.asyncio
async def test_jobs_and_their_attempts(api: Api) -> None:
    """Cards, queues, workers, and how the attempts of the last hour went."""
    await _checkouts(api, 3)
    await api.caught_up()

    jobs = {item["id"]: item for item in (await api.get(JOBS))["items"]}
    later = {item["id"]: item for item in (await api.get(JOBS, since="0s"))["items"]}
    workers = (await api.get("/api/v1/workers"))["items"]

    job = jobs["process-payment"]
    assert job["stats"]["attempts"] == job["stats"]["completed"] == 3
    assert 0 <= job["stats"]["durationP50Ms"] <= job["stats"]["durationP99Ms"]
    assert job["workers"] == [workers[0]["id"]]
    assert job["queue"]["waiting"] == job["queue"]["inFlight"] == 0
    assert job["retry"]["attemptsMax"] >= 1
    assert jobs["send-reminder"]["stats"] is None
    assert later["process-payment"]["stats"] is None
    assert "process-payment" in workers[0]["jobs"]


@pytest.mark.asyncio
async def test_attempts_page_by_page(api: Api) -> None:
    """Every attempt once, the newest first, by job, instance, command and outcome."""
    await _checkouts(api, 4)
    await api.caught_up()

    everything = await _pages(api, EXECUTIONS, 5)
    assert [item["seq"] for item in everything] == sorted(
        (item["seq"] for item in everything), reverse=True
    )
    assert len({item["seq"] for item in everything}) == len(everything) == 12
    one = await _pages(api, EXECUTIONS, 1, saga="CheckoutSaga", key="o-2")
    assert {item["target"] for item in one} == {
        "process-payment",
        "reserve-inventory",
        "create-shipment",
    }
    of_job = await _pages(api, f"{JOBS}/create-shipment/executions", 3)
    assert {item["key"] for item in of_job} == {"o-0", "o-1", "o-2", "o-3"}
    command = one[0]["command"]
    assert [i["command"] for i in await _pages(api, EXECUTIONS, 5, command=command)] == [command]
    assert await _pages(api, EXECUTIONS, 5, outcome=["failed", "retried"]) == []


@pytest.mark.asyncio
async def test_engines(api: Api) -> None:
    """Who works on which partition."""

    async def all_held() -> dict[str, Any] | None:
        found = await api.get("/api/v1/engines")
        return found if not found["orphans"] else None

    found = await eventually(all_held)

    assert found is not None
    assert found["items"][0]["partitions"] == [0, 1, 2, 3]
    assert "Shop" in found["items"][0]["sagas"]


@pytest.mark.asyncio
async def test_partitions_without_an_engine(tmp_path: Path) -> None:
    """Nobody works on them, and that is told."""
    async with open_api(tmp_path, engine=False, worker=False) as api:
        found = await api.get("/api/v1/engines")

    assert (found["items"], found["orphans"]) == ([], [0, 1, 2, 3])


# --- dead letters


@pytest.mark.asyncio
async def test_dead_letters_and_their_messages(api: Api) -> None:
    """The list by status, saga, type and words; one with its message and what can be done."""
    await _bad_orders(api, 3)

    shop = await _pages(api, LETTERS, 2, saga="Shop", status="open")
    found = await api.get(LETTERS, saga="Shop", q="BAD-1")
    letter = await api.get(f"{LETTERS}/{shop[0]['id']}")
    unknown = await api.get(f"{LETTERS}/events-99999", status=404)

    assert {item["key"] for item in shop} == {"bad-0", "bad-1", "bad-2"}
    assert [item["key"] for item in found["items"]] == ["bad-1"]
    assert await _pages(api, LETTERS, 2, saga="Shop", status="discarded") == []
    assert await _pages(api, LETTERS, 2, type="Nothing") == []
    assert letter["message"]["payload"] == {"orderId": shop[0]["key"], "amount": "much"}
    assert letter["message"]["key"] == shop[0]["key"]
    assert letter["actions"] == ["redrive", "discard"]
    assert letter["reason"] == shop[0]["reason"]
    assert "dead-letters" in unknown["next"]

    await api.client.discard(shop[0]["id"], by="anna", reason="a test")
    now = await api.get(f"{LETTERS}/{shop[0]['id']}")
    assert (now["status"], now["by"], now["note"]) == ("discarded", "anna", "a test")
    assert now["actions"] == ["restore"]


@pytest.mark.asyncio
async def test_a_message_that_is_no_json(api: Api) -> None:
    """It is shown as text."""
    await api.backend.door.publish(api.names.event("OrderPlaced", "raw"), b"not json \xff")

    async def letter_id() -> str:
        letters = await api.client.dead_letters(None)
        return next((letter.id for letter in letters if letter.type == "OrderPlaced"), "")

    letter = await api.get(f"{LETTERS}/{await eventually(letter_id)}")

    assert letter["message"]["payload"] is None
    assert letter["message"]["text"].startswith("not json")


@pytest.mark.asyncio
async def test_a_dead_letter_s_secrets(tmp_path: Path) -> None:
    """Masked in its message, shown to an admin who asks."""
    async with open_api(tmp_path, mask=Mask(["amount"])) as api:
        await _bad_orders(api, 1)
        id = (await api.get(LETTERS, saga="Shop"))["items"][0]["id"]

        masked = await api.get(f"{LETTERS}/{id}")
        shown = await api.get(f"{LETTERS}/{id}", unmask="true")

    assert masked["message"]["payload"]["amount"] == MASKED
    assert shown["message"]["payload"]["amount"] == "much"


# --- timers and operator actions


@pytest.mark.asyncio
async def test_timers(api: Api) -> None:
    """Timers by status, those due first first."""
    for n in range(3):
        cart = {"cartId": f"cart-{n}", "customerId": "c", "items": []}
        await api.publish("CartChanged", cart, f"cart-{n}")
        await api.status("CartReminderSaga", f"cart-{n}")
    await api.caught_up()

    pending = await _pages(api, TIMERS, 2, status="pending")
    one = await _pages(api, TIMERS, 2, saga="CartReminderSaga", key="cart-1")

    assert {item["key"] for item in pending} == {"cart-0", "cart-1", "cart-2"}
    assert [item["dueAt"] for item in pending] == sorted(item["dueAt"] for item in pending)
    assert [(item["key"], item["status"]) for item in one] == [("cart-1", "pending")]
    assert await _pages(api, TIMERS, 2, status="fired") == []


@pytest.mark.asyncio
async def test_operator_actions(api: Api) -> None:
    """Who did what, and what was refused."""
    await api.publish("OrderPlaced", {"orderId": "o-1", "amount": 5}, "o-1")
    await api.status("Shop", "o-1")
    done = await api.client.act("Shop", "o-1", "pause", by="anna", reason="lunch", origin="test")
    refused = await api.client.act("Shop", "o-1", "skip", by="ben")
    await api.client.act("Shop", "o-1", "resume", by="anna")
    assert (done.done, refused.done) == (True, False)
    await api.caught_up()

    audit = await _pages(api, AUDIT, 2)
    by_anna = await _pages(api, AUDIT, 5, by="anna", action="pause")
    of_ben = await _pages(api, AUDIT, 5, outcome="refused")

    assert [item["action"] for item in audit] == ["resume", "skip", "pause"]
    assert by_anna[0]["reason"] == "lunch"
    assert by_anna[0]["origin"] == "test"
    assert (by_anna[0]["outcome"], by_anna[0]["version"]) == ("done", 2)
    assert of_ben[0]["by"] == "ben"
    assert "skip is not allowed" in of_ben[0]["refusal"]


# --- bad input


@pytest.mark.asyncio
async def test_bad_input_of_every_list(api: Api) -> None:
    """Wrong types, unknown parameters, limits out of bounds, forged cursors: 400 everywhere."""
    lists = (EXECUTIONS, f"{JOBS}/charge/executions", LETTERS, TIMERS, AUDIT)
    for path in lists:
        for query, tells in (
            ("limit=0", "limit"),
            ("limit=-1", "limit"),
            ("limit=x", "limit"),
            ("limit=501", "limit"),
            ("cursor=abc", "first page"),
            ("wait_for=x", "wait_for"),
            ("wait_for=99999999999999999999", "wait_for"),
            ("colour=red", "no query parameter 'colour'"),
        ):
            problem = await api.get(f"{path}?{query}", status=400)
            assert tells in problem["detail"] + problem["next"], (path, query)
    for query in (
        f"{JOBS}?since=soon",
        f"{EXECUTIONS}?outcome=good",
        f"{EXECUTIONS}?since=soon",
        f"{LETTERS}?status=closed",
        f"{TIMERS}?status=late",
        f"{AUDIT}?outcome=maybe",
        f"{SAGAS}?saga=x",
        "/api/v1/workers?limit=1",
        "/api/v1/engines?x=",
    ):
        await api.get(query, status=400)


@pytest.mark.asyncio
async def test_text_with_signs_is_only_text(api: Api) -> None:
    """Nothing that stands in a filter is read as SQL or as a pattern."""
    await _bad_orders(api, 1)

    for text in ("'", '"; DROP TABLE instances; --', "(", "[a", "\\", "$p0", "%", "(?i)"):
        assert (await api.get(LETTERS, q=text, key=text))["items"] == []
        assert (await api.get(EXECUTIONS, saga=text, key=text, target=text))["items"] == []
        assert (await api.get(AUDIT, by=text))["items"] == []
        assert (await api.get("/api/v1/sagas/instances", q=text, saga=text))["items"] == []
    assert len((await api.get(LETTERS))["items"]) >= 1
