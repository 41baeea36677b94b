"""Goal: who undoes a run sees before which commands will follow in which order, and what waits.

Method: the API and the pages over the memory broker; jobs written by hand stand behind the steps.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from jobs import JobContext, failure, job
from sagas import step, steps
from store.runs import Runs
from tests.api_kit import instance_path, open_api

pytestmark = pytest.mark.asyncio


async def _function(ctx: Any) -> Any:
    raise AssertionError("the jobs below answer in its place")


TRIP = steps("trip", [step(name, _function, _function) for name in ("hotel", "car", "flight")])


@job("trip.hotel")
async def hotel(ctx: JobContext[Any], payload: Any) -> Any:
    return {"output": "h-1"}


@job("trip.car")
async def car(ctx: JobContext[Any], payload: Any) -> Any:
    return {"output": "c-1"}


@job("trip.flight")
async def flight(ctx: JobContext[Any], payload: Any) -> Any:
    return {"output": "f-1"}


@job("trip.flight.undo")
async def cancel_flight(ctx: JobContext[Any], payload: Any) -> Any:
    return failure("the airline is closed")


async def test_a_plan_tells_all_undos_in_order_and_the_page_those_that_wait(
    tmp_path: Path,
) -> None:
    jobs = [hotel, car, flight, cancel_flight]
    async with open_api(tmp_path, sagas=[TRIP], jobs=jobs) as api:
        assert (await Runs(api.client).run(TRIP, {}, key="t-1")).success
        await api.caught_up()

        plan = await api.post(instance_path("trip", "t-1", "compensate"), {"dryRun": True})
        assert [one["target"] for one in plan["commands"]] == ["trip.flight.undo"]
        assert [one["target"] for one in plan["then"]] == ["trip.car.undo", "trip.hotel.undo"]

        form = await api.http.get("/instances/trip/t-1/act/compensate")
        assert form.status_code == 200
        chosen = re.findall(r'name="types" value="(\w+)" checked', form.text)
        assert chosen == ["flight", "car", "hotel"]

        await api.post(instance_path("trip", "t-1", "compensate"), {"reason": "rain"})
        parked = await api.status("trip", "t-1", "parked")
        statuses = {undo.type: undo.status for undo in parked.instance.undo}
        assert statuses == {"flight": "failed", "car": "waiting", "hotel": "waiting"}
        shown = await api.http.get("/instances/trip/t-1")
        assert shown.status_code == 200, shown.text[:500]
        assert shown.text.count(">waiting<") == 2
