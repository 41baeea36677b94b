"""Goal: people see how far the projections follow, and may have them built anew.

Method: the API in one process over a memory broker; the rebuild is asked for, followed, repeated
under one key, and refused where there is nothing to rebuild.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from store.duck.projection import DuckProjections
from store.projection.port import WriteError
from store.projection.schema import RELATIONS
from tests.api_kit import Api, open_api
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

STATE, REBUILD = "/api/v1/projections", "/api/v1/projections/rebuild"


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """An installation with three orders."""
    async with open_api(tmp_path) as opened:
        for number in range(3):
            key = f"o-{number}"
            await opened.publish("OrderPlaced", {"orderId": key, "amount": 700}, key)
        await opened.decided()
        yield opened


async def _done(api: Api) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        state = await api.get(STATE)
        return state if state["rebuild"]["status"] != "running" else None

    found = await eventually(look, 20, "the end of the rebuild")
    assert found is not None
    return found


async def test_the_state_tells_sequences_and_lag(api: Api) -> None:
    state = await api.get(STATE)
    assert state["logSeq"] == api.broker.log.last_seq
    assert state["eventsSeq"] == api.broker.events.last_seq
    assert (state["lag"], state["partial"], state["fault"]) == (0, False, "")
    assert state["rebuild"] is None


async def test_a_rebuild_is_begun_and_shows_its_end(api: Api) -> None:
    answer = await api.http.post(REBUILD)
    assert answer.status_code == 202
    assert answer.headers["location"] == STATE
    state = await _done(api)
    rebuild = state["rebuild"]
    assert (rebuild["status"], rebuild["part"], rebuild["error"]) == ("done", 1.0, "")
    assert rebuild["seconds"] > 0
    counts = {row["table"]: (row["before"], row["after"]) for row in rebuild["counts"]}
    assert set(counts) == {relation.name for relation in RELATIONS}
    assert all(before == after for before, after in counts.values())
    assert counts["instances"][1] >= 3
    listed = await api.get("/api/v1/sagas/instances", saga="Shop")
    assert {item["key"] for item in listed["items"]} == {"o-0", "o-1", "o-2"}


async def test_one_key_begins_one_rebuild(api: Api) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await api.post(REBUILD, status=202, headers=headers)
    await _done(api)
    again = await api.post(REBUILD, status=202, headers=headers)
    assert again["startedAt"] == first["startedAt"]
    other = await api.post(REBUILD, status=202)
    assert other["startedAt"] > first["startedAt"]
    await _done(api)


async def test_a_failed_rebuild_says_why_and_leaves_what_there_was(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise WriteError("the projections can't be written: no room; check the disk")

    monkeypatch.setattr(DuckProjections, "fresh", refuse)
    await api.post(REBUILD, status=202)
    rebuild = (await _done(api))["rebuild"]
    assert rebuild["status"] == "failed"
    assert rebuild["error"].endswith("no room; check the disk")
    assert (await api.get("/api/v1/sagas/instances", saga="Shop"))["items"]


async def test_a_process_without_projections_of_its_own_refuses(api: Api) -> None:
    api.deps.projector = None
    problem = await api.post(REBUILD, status=409)
    assert problem["next"].startswith("Ask the process that runs")
    assert (await api.get(STATE))["rebuild"] is None
