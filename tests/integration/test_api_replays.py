"""Goal: the instances of a saga are replayed through the code as it is now, and what would differ
is counted whole, grouped by where it begins, and shown without secrets.

Method: orders lived through one definition; an API that has loaded another one over the same
memory broker replays them. Ending and crowding are forced by a gate in the author's code.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest
from msgspec import Struct

from sagas import Message, SagaDefinition, SagaHandle, Secret, complete, define_saga
from server import replaying
from store.memory import MemoryBroker, SystemClock
from tests.api_kit import Api, instance_path, open_api
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

REPLAYS = "/api/v1/sagas/replays"
START = "/api/v1/sagas/sagas/Till/replay"


class Order(Struct):
    """What a till is given."""

    amount: int
    card: Annotated[str, Secret] = ""


class Sum(Struct):
    """What it remembers."""

    amount: int = 0
    card: Annotated[str, Secret] = ""


def _till(limit: int, enter: Callable[[], object] = lambda: None) -> SagaDefinition:
    """A till that counts amounts up to ``limit``, and refuses those over 900 when that is small."""

    def rung(saga: SagaHandle[Sum], message: Message[Order]) -> Any:
        enter()
        order = message.payload
        if order.amount > 900 > limit:
            raise ValueError(f"card {order.card} is over the limit")
        saga.state = Sum(amount=min(order.amount, limit), card=order.card)

    return (
        define_saga("Till")
        .state(Sum())
        .on("Rung", rung, starts=True)
        .on("Closed", lambda saga, message: complete())
        .build()
    )


@asynccontextmanager
async def _replaying(folder: Path, now: SagaDefinition, amounts: list[int]) -> AsyncGenerator[Api]:
    """An API with the code of ``now`` over tills that lived through a limit of 1000."""
    broker = MemoryBroker(clock=SystemClock())
    try:
        async with open_api(folder / "then", sagas=[_till(1000)], broker=broker) as then:
            for number, amount in enumerate(amounts):
                key = f"t-{number}"
                await then.publish("Rung", {"amount": amount, "card": f"4111-{amount}"}, key)
                await then.publish("Closed", {}, key)
            await then.decided()
        async with open_api(folder / "now", sagas=[now], broker=broker, engine=False) as api:
            await api.caught_up()
            try:
                yield api
            finally:
                await api.deps.close()
    finally:
        await broker.close()


async def _ended(api: Api, id: str) -> Any:
    async def look() -> Any:
        job = await api.get(f"{REPLAYS}/{id}")
        return job if job["status"] != "running" else None

    return await eventually(look, 30.0, f"the end of replay {id}")


async def test_the_same_code_repeats_every_history(tmp_path: Path) -> None:
    async with _replaying(tmp_path, _till(1000), [5, 6, 7]) as api:
        begun = await api.post(START, status=202)
        job = await _ended(api, begun["id"])
        assert (job["status"], job["total"], job["done"]) == ("done", 3, 3)
        assert (job["same"], job["differ"], job["versions"]) == (3, 0, 6)
        assert (job["kinds"], job["first"], job["faults"]) == ([], [], [])
        assert (await api.get(REPLAYS, saga="Till"))["items"] == [job]
        assert (await api.get(REPLAYS, saga="Other"))["items"] == []


async def test_what_differs_is_counted_by_where_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "PAGE", 2)
    async with _replaying(tmp_path, _till(10), [5, 50, 500, 950, 9]) as api:
        before = api.broker.log.last_seq, api.broker.events.last_seq
        job = await _ended(api, (await api.post(START, status=202))["id"])
        assert (job["done"], job["same"], job["differ"]) == (5, 2, 3)
        kinds = {tuple(kind["differs"]): kind for kind in job["kinds"]}
        assert kinds["state",]["count"] == 2
        assert kinds["status", "state", "error"]["key"] == "t-3"
        assert [one["key"] for one in job["first"]] == ["t-1", "t-2", "t-3"]
        assert {one["version"] for one in job["first"]} == {1}
        assert (api.broker.log.last_seq, api.broker.events.last_seq) == before
        one = await api.get(job["first"][2]["location"])
        assert (one["versions"], one["changed"]) == (2, 2)
        assert one["steps"][0]["now"]["status"] == "parked"
        assert one["steps"][0]["recorded"]["status"] == "running"
        assert "4111" not in str(one) + str(job)
        short = await api.get(instance_path("Till", "t-3", "replay"), limit=1)
        assert (short["changed"], len(short["steps"])) == (2, 1)


async def test_one_at_a_time_and_cancelled_at_will(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(replaying, "PAGE", 1)
    held = threading.Event()

    async def pages(*arguments: Any) -> list[str]:
        await eventually(held.is_set, 30.0, "the test to go on")
        return await real(*arguments)

    real = replaying.page_of_keys
    monkeypatch.setattr(replaying, "page_of_keys", pages)
    async with _replaying(tmp_path, _till(10), [5, 50, 500]) as api:
        headers = {"Idempotency-Key": "once"}
        first = await api.post(START, status=202, headers=headers)
        again = await api.post(START, status=202)
        assert again["id"] == first["id"]
        assert first["status"] == "running"
        cancelled = await api.http.post(f"{REPLAYS}/{first['id']}/cancel")
        assert cancelled.status_code == 202
        held.set()
        job = await _ended(api, first["id"])
        assert (job["status"], job["done"]) == ("cancelled", 1)
        late = await api.post(f"{REPLAYS}/{first['id']}/cancel", status=409)
        assert late["type"].endswith("replay-ended")
        same = await api.post(START, status=202, headers=headers)
        assert same["id"] == first["id"]


async def test_a_process_that_ends_leaves_it_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*arguments: Any) -> list[str]:
        await eventually(lambda: False, 60.0, "nothing")
        return []

    monkeypatch.setattr(replaying, "page_of_keys", never)
    async with _replaying(tmp_path, _till(10), [5]) as api:
        begun = await api.post(START, status=202)
        await api.deps.replays.close()
        job = await api.get(f"{REPLAYS}/{begun['id']}")
        assert (job["status"], job["note"]) == (
            "interrupted",
            "the process that ran it was stopped",
        )


async def test_what_can_not_be_replayed_is_refused_with_the_next_step(tmp_path: Path) -> None:
    async with open_api(tmp_path, engine=False, worker=False, loaded=False) as api:
        refused = await api.post("/api/v1/sagas/sagas/Shop/replay", status=409)
        assert refused["type"].endswith("definition-not-loaded")
        assert (await api.get(f"{REPLAYS}/nothing", status=404))["type"].endswith("no-such-replay")
        await api.get(f"{REPLAYS}/a%2Fb", status=404)
