"""Goal: ages and windows of time are right in the API and the dashboard when the clock of their
machine is not.

Method: a broker whose clock is two minutes behind this machine's, or two before it; what has just
happened there must be seconds old, and lie within a window of the last minute.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from sagas import define_saga, send
from store.memory import MemoryBroker, SystemClock
from tests.api_kit import Api, open_api

pytestmark = pytest.mark.asyncio

saga = define_saga("Parcel").state({}).correlate("parcel")
saga.on("ParcelWanted", lambda saga, message: send("ship", {"parcel": saga.key}))
saga.on("ParcelGone", lambda saga, message: None)
parcel = saga.build()


class _OtherClock(SystemClock):
    """The clock of another machine, off by some time."""

    def __init__(self, off: timedelta) -> None:
        self._off_ns = round(off.total_seconds() * 1e9)

    def now_ns(self) -> int:
        """Nanoseconds since 1970, UTC."""
        return time.time_ns() + self._off_ns


@pytest_asyncio.fixture(params=[-2, 2], ids=["behind", "before"])
async def api(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Api]:
    """An installation whose broker's clock is some minutes off, with an open command."""
    off = timedelta(minutes=request.param)
    broker = MemoryBroker(clock=_OtherClock(off))
    async with open_api(
        tmp_path,
        sagas=[parcel],
        jobs=[],
        worker=False,
        broker=broker,
        now=lambda: datetime.now(UTC) + off,
    ) as api:
        await api.publish("ParcelWanted", {"parcel": "p-1"})
        await api.publish("Nobody", {})
        await api.decided()
        yield api
    await broker.close()


@pytest.mark.parametrize("path", ["/api/v1/sagas/events", "/api/v1/sagas/events/unmatched"])
async def test_the_last_minute_is_the_brokers(api: Api, path: str) -> None:
    found: Any = await api.get(path, since="1m")
    assert any(one["type"] == "Nobody" for one in found["items"])
    assert (await api.get(path, since="0s"))["items"] == []


async def test_instances_of_the_last_minute_have_waited_for_seconds(api: Api) -> None:
    found = await api.get("/api/v1/sagas/instances", since="1m", include="waits")
    [row] = found["items"]
    assert row["waitsFor"].startswith("ship ")
    assert " min" not in row["waitsFor"]
    assert (await api.get("/api/v1/sagas/instances", since="0s"))["items"] == []
    [wait] = (await api.get("/api/v1/sagas/instances/Parcel/p-1"))["waitsFor"]
    assert " min" not in wait["words"]


async def test_the_overview_speaks_of_the_brokers_hour(api: Api) -> None:
    overview = await api.get("/api/v1/overview", minutes=1)
    assert sum(span["started"] for span in overview["overTime"]) == 1
    [job] = overview["jobs"]
    assert "the oldest for " in job["words"]
    assert " min" not in job["words"]


async def test_the_dashboard_tells_ages_by_the_brokers_clock(api: Api) -> None:
    page = await api.http.get("/instances?since=1m")
    assert page.status_code == 200
    assert "p-1" in page.text
    assert "2 min" not in page.text
    assert "p-1" not in (await api.http.get("/instances?since=0s")).text
