"""The reading routes of instances over the API: lists, now, then, history, differences, queries.

Goal: what an instance did can be read at once and exactly, and bad input gets the right status with
the next step. Method: a whole installation in memory, real projections, requests to the app.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio

from server.access.roles import ROLES, Identity
from server.api.problems import Problem
from server.api.shown import shower
from store.masking import MASKED, Mask
from store.port import Outgoing
from tests.api_kit import Api, instance_path, open_api

LIST = "/api/v1/sagas/instances"
ODD_KEYS = ("a/b", "ü 日本/☃", "...", "%2F", "//", "a=b&c#?;+", "x" * 200, "=2F", "line\nbreak")

BAD_LISTS = (
    ("stats=running", "unknown-parameter", "Did you mean status?"),
    ("status=runing", "bad-filter", "use running"),
    ("limit=0", "invalid-request", "limit"),
    ("limit=-5", "invalid-request", "limit"),
    ("limit=501", "invalid-request", "limit"),
    ("limit=99999999999999999999999", "invalid-request", "limit"),
    ("limit=many", "invalid-request", "limit"),
    ("order=sideways", "invalid-request", "order"),
    ("include=everything", "invalid-request", "include"),
    ("since=yesterday", "bad-filter", "no time"),
    ("state.total", "bad-filter", "no comparison"),
    ("where=total>5", "bad-filter", "must begin with state."),
    ("wait_for=-1", "invalid-request", "wait_for"),
    ("search_ms=60000", "invalid-request", "search_ms"),
    ("cursor=", "bad-cursor", "first page"),
    ("cursor=abc", "bad-cursor", "first page"),
    ("cursor=%F0%9F%98%80", "bad-cursor", "first page"),
    ("cursor=" + "A" * 2000, "invalid-request", "cursor"),
    ("q=%00", "bad-filter", "NUL"),
)
BAD_TAILS = (
    ("/at/9", 404, "versions 1 to 1"),
    ("/at/0", 404, "versions 1 to 1"),
    ("/at/99999999999999999999", 400, "no time"),
    ("/at/1d", 404, "began at"),
    ("/at/soon", 400, "no time"),
    ("/diff?from=1&to=5", 404, "versions 1 to 1"),
    ("/diff?from=0", 400, "from"),
    ("/diff?from=x", 400, "from"),
    ("/transitions?after=-1", 400, "after"),
    ("/transitions?limit=501", 400, "limit"),
    ("/transitions?page=2", 400, "no query parameter 'page'"),
    ("?unmask=perhaps", 400, "unmask"),
    ("/nonsense", 404, ""),
)


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncGenerator[Api]:
    """An installation with the samples and the shop."""
    async with open_api(tmp_path) as opened:
        yield opened


async def _order(api: Api, key: str, amount: int = 5) -> None:
    await api.publish("OrderPlaced", {"orderId": key, "amount": amount}, key)
    await api.status("Shop", key)


# --- the list


@pytest.mark.asyncio
async def test_the_list_and_its_pages(api: Api) -> None:
    """Newest first, page by page, each instance once; items say how each stands."""
    for n in range(7):
        await _order(api, f"o-{n}")
    await api.caught_up()

    pages = [await api.get(LIST, saga="Shop", limit=3)]
    while pages[-1]["next"]:
        pages.append(await api.get(LIST, saga="Shop", limit=3, cursor=pages[-1]["next"]))

    keys = [item["key"] for page in pages for item in page["items"]]
    assert keys == [f"o-{n}" for n in reversed(range(7))]
    item = pages[0]["items"][0]
    assert (item["status"], item["version"], item["cause"]["type"]) == ("running", 1, "OrderPlaced")
    assert item["seq"] > pages[0]["items"][1]["seq"]
    assert "state" not in item
    assert pages[0]["projection"]["lag"] == 0
    assert pages[0]["searched"]["complete"]


@pytest.mark.asyncio
async def test_filters_in_the_query(api: Api) -> None:
    """Repeated names, prefixes, words, fields of the state in every way they can be written."""
    for n, amount in enumerate((5, 1000, 2000, -1)):
        await _order(api, f"o-{n}", amount)
    await api.caught_up()

    async def keys(query: str) -> set[str]:
        page = await api.get(f"{LIST}?saga=Shop&{query}")
        return {item["key"] for item in page["items"]}

    assert await keys("status=parked&status=completed") == {"o-3"}
    assert await keys("key=o-1") == {"o-1"}
    assert await keys("key=o-*") == {"o-0", "o-1", "o-2", "o-3"}
    assert await keys("state.amount>=1000") == {"o-1", "o-2"}
    assert await keys("state.amount%3E%3D1000") == {"o-1", "o-2"}
    assert await keys("state.amount<1000&state.amount>0") == {"o-0"}
    assert await keys("state.amount%3C1000=&state.amount%3E0=") == {"o-0"}
    assert await keys("where=state.amount%21%3D5&where=state.orderId~O-") == {"o-1", "o-2"}
    assert await keys("q=o-2+2000") == {"o-2"}
    assert await keys("since=1h") == {"o-0", "o-1", "o-2", "o-3"}
    assert await keys("until=1h") == set()


@pytest.mark.asyncio
async def test_states_on_demand_and_reading_one_s_writes(api: Api) -> None:
    """``include=state`` shows states; ``wait_for`` a sequence makes the list have it."""
    await _order(api, "o-1")
    seq = (await api.get(instance_path("Shop", "o-1")))["seq"]

    page = await api.get(LIST, saga="Shop", include="state", wait_for=seq)

    assert page["items"][0]["state"]["orderId"] == "o-1"
    assert page["projection"]["seq"] >= seq


@pytest.mark.asyncio
async def test_bad_input(api: Api) -> None:
    """What can't be meant is a 400 that names the parameter and the next step."""
    for query, type, tells in BAD_LISTS:
        problem = await api.get(f"{LIST}?{query}", status=400)

        assert problem["type"] == f"urn:snorri:problem:{type}", query
        assert tells in problem["detail"] + problem["next"], query


@pytest.mark.asyncio
async def test_cursors_belong_to_their_list(api: Api) -> None:
    """A cursor that was changed or taken from another list is refused."""
    for n in range(3):
        await _order(api, f"o-{n}")
    await api.caught_up()
    cursor = (await api.get(LIST, saga="Shop", limit=1))["next"]

    await api.get(LIST, saga="Shop", limit=2, cursor=cursor)
    await api.get(LIST, limit=1, cursor=cursor, status=400)
    await api.get(LIST, saga="Shop", order="oldest", limit=1, cursor=cursor, status=400)
    await api.get("/api/v1/timers", cursor=cursor, status=400)
    for place in range(len(cursor)):
        forged = cursor[:place] + ("A" if cursor[place] != "A" else "B") + cursor[place + 1 :]
        await api.get(LIST, saga="Shop", limit=1, cursor=forged, status=400)


@pytest.mark.asyncio
async def test_a_sequence_that_does_not_come(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting ends with a 503 that says how far the projections are."""
    monkeypatch.setattr("server.api.lists.WAIT_S", 0.05)

    problem = await api.get(LIST, wait_for=10**9, status=503)

    assert problem["type"].endswith(":projection-behind")
    assert problem["projection"]["seq"] < 10**9


# --- one instance


@pytest.mark.asyncio
async def test_an_instance_now(api: Api) -> None:
    """State, document, what may be done with it, what it waits for: right after the write."""
    await api.publish("OrderPlaced", {"orderId": "o-1", "amount": 7}, "o-1")
    revision = await api.status("Shop", "o-1")

    shown = await api.get(instance_path("Shop", "o-1"))
    brief = await api.get(instance_path("Shop", "o-1"), waits="false")

    assert shown["state"] == {"orderId": "o-1", "amount": 7, "notes": []}
    assert (shown["version"], shown["status"], shown["seq"]) == (1, "running", revision.seq)
    assert shown["hash"] == revision.hash
    assert shown["document"]["cause"]["payload"] == {"orderId": "o-1", "amount": 7}
    assert "pause" in shown["actions"]
    assert "resume" not in shown["actions"]
    assert "OrderClosed" in shown["waitsFor"][0]["words"]
    assert brief["waitsFor"] == []


@pytest.mark.asyncio
async def test_any_key_can_be_asked_for(api: Api) -> None:
    """Slashes, unicode, dots, signs and 200 bytes: each names its instance and no other."""
    for key in ODD_KEYS:
        await _order(api, key)
    await api.caught_up()

    for key in ODD_KEYS:
        shown = await api.get(instance_path("Shop", key))
        history = await api.get(instance_path("Shop", key, "transitions"))
        then = await api.get(instance_path("Shop", key, "at", "1"))
        page = await api.get(LIST, key=key, saga="Shop")

        assert shown["key"] == history["key"] == then["key"] == key
        assert [item["key"] for item in page["items"]] == [key]


@pytest.mark.asyncio
async def test_what_is_not_there(api: Api) -> None:
    """Unknown sagas and keys are 404s with names that come near; impossible names are 400s."""
    await _order(api, "order-1001")
    await api.caught_up()

    near = await api.get(instance_path("Shop", "order-101"), status=404)
    saga = await api.get(instance_path("Shp", "order-1001"), status=404)
    long = await api.get(instance_path("Shop", "x" * 201), status=400)

    assert near["near"] == ["order-1001"]
    assert "Did you mean 'order-1001'?" in near["next"]
    assert saga["type"].endswith(":no-such-saga")
    assert saga["near"] == ["Shop"]
    assert "201 bytes" in long["detail"]
    for more in (["transitions"], ["at", "1"], ["diff"], ["query", "total"]):
        await api.get(instance_path("Shop", "nobody", *more), status=404)


@pytest.mark.asyncio
async def test_history_then_and_differences(api: Api) -> None:
    """Every version with what it changed; the state at a version and at a time."""
    await api.publish(
        "OrderCreated", {"orderId": "o-1", "customerId": "c", "items": [], "total": 9}, "o-1"
    )
    await api.status("CheckoutSaga", "o-1", "completed")
    path = instance_path("CheckoutSaga", "o-1")

    history = await api.get(f"{path}/transitions")
    rest = await api.get(f"{path}/transitions", after=1, limit=2)
    items: list[dict[str, Any]] = history["items"]

    assert [item["version"] for item in items] == [1, 2, 3, 4]
    assert history["next"] is None
    assert [item["version"] for item in rest["items"]] == [2, 3]
    assert rest["next"] == 3
    assert rest["items"] == items[1:3]
    assert items[0]["effects"][0]["target"] == "process-payment"
    assert items[1]["statusBefore"] == "running"
    assert items[1]["sincePreviousMs"] >= 0
    assert {"path": "status", "kind": "changed", "before": "payment_pending", "after": "paid"} in (
        items[1]["changes"]
    )
    assert [item["document"]["prev"] for item in items[1:]] == [i["hash"] for i in items[:-1]]

    second = await api.get(f"{path}/at/2")
    assert second["state"] == items[1]["document"]["state"]
    assert second["actions"] == []
    at_time = await api.get(f"{path}/at/{items[2]['at']}")
    assert at_time["version"] >= 3
    assert (await api.get(f"{path}/at/0s"))["version"] == 4

    last = await api.get(f"{path}/diff")
    whole = await api.get(f"{path}/diff", **{"from": 1, "to": 4})
    assert (last["fromVersion"], last["toVersion"]) == (3, 4)
    assert last["changes"] == items[3]["changes"]
    assert {one["path"] for one in whole["changes"]} == {
        "status",
        "transactionId",
        "trackingNumber",
    }
    assert (whole["fromStatus"], whole["toStatus"]) == ("running", "completed")


@pytest.mark.asyncio
async def test_bad_input_of_one_instance(api: Api) -> None:
    """Versions and times that are none, and misspelt parameters."""
    await _order(api, "o-1")

    for tail, status, tells in BAD_TAILS:
        problem = await api.get(instance_path("Shop", "o-1") + tail, status=status)

        assert tells in problem["detail"] + problem["next"], tail


@pytest.mark.asyncio
async def test_a_damaged_history_is_told_and_never_shown(api: Api) -> None:
    """A revision that does not continue the one before it is found by whoever reads past it."""
    await _order(api, "o-1")
    revision = await api.client.latest("Shop", "o-1")
    assert revision is not None
    subject = api.names.instance("Shop", "o-1")
    stored = await api.backend.log.read(subject)
    assert stored is not None
    await api.backend.log.commit(
        [Outgoing(subject, stored.data.replace(b'"amount":5', b'"amount":6'))]
    )

    problem = await api.get(instance_path("Shop", "o-1", "transitions"), status=500)

    assert problem["type"].endswith(":history-broken")
    assert "snorri verify" in problem["next"]


# --- declared queries


@pytest.mark.asyncio
async def test_declared_queries(api: Api) -> None:
    """Arguments are query parameters: numbers where they are, checked against the function."""
    await _order(api, "o-1", 5)
    path = instance_path("Shop", "o-1", "query")

    assert (await api.get(f"{path}/total"))["result"] == 5
    assert (await api.get(f"{path}/total", factor=3))["result"] == 15
    unknown = await api.get(f"{path}/totl", status=404)
    argument = await api.get(f"{path}/total", factr=3, status=400)
    failed = await api.get(f"{path}/total", factor="{}", status=422)

    assert "Did you mean total?" in unknown["next"]
    assert "factor" in argument["next"]
    assert "unsupported operand" in failed["detail"]


@pytest.mark.asyncio
async def test_queries_need_the_code(tmp_path: Path) -> None:
    """A process that has not loaded the saga says how to."""
    async with open_api(tmp_path, loaded=False) as api:
        await _order(api, "o-1")

        problem = await api.get(instance_path("Shop", "o-1", "query", "total"), status=409)

    assert "--app" in problem["next"]


# --- secrets


@pytest.mark.asyncio
async def test_secrets_are_masked_unless_an_admin_asks(tmp_path: Path) -> None:
    """Nowhere in any answer; an admin may ask for them, a viewer may not."""
    async with open_api(tmp_path, mask=Mask(["orderId"])) as api:
        await _order(api, "o-secret-1")
        path = instance_path("Shop", "o-secret-1")
        for tail in ("", "/transitions", "/at/1"):
            masked = await api.get(path + tail, waits="false" if not tail else None)
            shown = await api.get(path + tail, unmask="true")
            body = masked["items"][0] if tail == "/transitions" else masked
            full = shown["items"][0] if tail == "/transitions" else shown

            assert body["document"]["state"]["orderId"] == MASKED
            assert full["document"]["state"]["orderId"] == "o-secret-1"
            assert body["document"]["cause"]["payload"]["orderId"] == MASKED


@pytest.mark.asyncio
async def test_only_admins_may_unmask(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """Everyone else is told whom to ask; an admin's look is on record."""
    caplog.set_level(logging.INFO, "snorri.audit")
    looks: dict[str, Any] = {
        role: SimpleNamespace(
            user=Identity(name=role, role=role, via="token"), auth=SimpleNamespace(address="here")
        )
        for role in ROLES
    }

    for role in ("viewer", "operator"):
        assert shower(looks[role], api.deps, False, "Shop/o-1") is api.deps.mask
        with pytest.raises(Problem, match="needs the role admin") as refused:
            shower(looks[role], api.deps, True, "Shop/o-1")
        assert refused.value.status == 403
    assert caplog.records == []

    shower(looks["admin"], api.deps, True, "Shop/o-1")
    assert [vars(record)["shown"] for record in caplog.records] == ["Shop/o-1"]
