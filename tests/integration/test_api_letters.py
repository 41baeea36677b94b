"""Goal: dead letters can be sent again, put aside and put back over HTTP, each change once.

Method: the whole API on the memory broker; a real engine makes the letters.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.api_kit import Api, answer, open_api
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio


def _path(id: str, *more: str) -> str:
    return "/".join(("/api/v1/sagas/dead-letters", id, *more))


async def _letter(api: Api) -> str:
    """An event for an instance that does not exist."""
    await api.publish("OrderClosed", {"orderId": "o-1"}, "o-1")
    (letter,) = await eventually(api.client.dead_letters, what="a dead letter")
    return letter.id


async def _status(api: Api, id: str) -> str:
    found = await api.client.dead_letter(id)
    assert found is not None
    return found[0].status


async def test_a_message_is_sent_again(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        id = await _letter(api)
        await api.publish("OrderPlaced", {"orderId": "o-1", "amount": 5}, "o-1")
        await api.status("Shop", "o-1", "running")
        done = await api.post(_path(id, "redrive"), {"reason": "it is there now"})
        assert (done["id"], done["status"]) == (id, "redriven")
        stored = await api.backend.log.at("events", done["seq"])
        assert stored is not None
        await api.status("Shop", "o-1", "completed")
        assert (await api.get(_path(id)))["status"] == "redriven"
        problem = await api.post(_path(id, "redrive"), status=409)
        assert "redriven by local before" in problem["detail"]
        assert problem["currentStatus"] == "redriven"


async def test_with_another_payload(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        await api.publish("OrderPlaced", {"amount": 5}, "o-1")
        letters = await eventually(api.client.dead_letters, what="a dead letter")
        id = next(letter.id for letter in letters if letter.saga == "Shop")
        mended = {"orderId": "o-9", "amount": 5}
        await api.post(_path(id, "redrive"), {"payload": mended})
        await api.status("Shop", "o-9", "running")


async def test_put_aside_and_back(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        id = await _letter(api)
        assert (await api.post(_path(id, "discard")))["status"] == "discarded"
        assert (await api.post(_path(id, "discard"), status=409))["currentStatus"] == "discarded"
        assert (await api.post(_path(id, "redrive"), status=409))["currentStatus"] == "discarded"
        assert (await api.post(_path(id, "restore"), {"reason": "wrong"}))["status"] == "open"
        assert (await api.post(_path(id, "restore"), status=409))["currentStatus"] == "open"
        assert await _status(api, id) == "open"


async def test_the_same_key_twice(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        id = await _letter(api)
        key = {"Idempotency-Key": "l-1"}
        replies = await asyncio.gather(
            *(api.post(_path(id, "redrive"), headers=key) for _ in range(4))
        )
        assert all(reply == replies[0] for reply in replies)
        events = [m for m in api.broker.events.since(0, [">"]) if "Snorri-Redriven" in m.headers]
        assert len(events) == 1
        await api.post(_path(id, "redrive"), {"reason": "x"}, headers=key, status=422)
        await api.post(_path(id, "discard"), headers=key, status=422)


@pytest.mark.parametrize("action", ["redrive", "discard", "restore"])
async def test_what_is_no_change(action: str, tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        id = await _letter(api)
        near = await api.post(_path(id + "x", action), status=404)
        assert near["near"] == [id]
        for strange in ("..%2F..", "%00", "a" * 300, "%3E"):
            await api.post(_path(strange, action), status=(404, 400))
        bad: list[Any] = [{"reason": 1}, {"why": ""}, [], {"reason": "x" * 1001}]
        for body in bad:
            await api.post(_path(id, action), body, status=400)
        form = {"Content-Type": "text/plain"}
        answer(await api.http.post(_path(id, action), content=b"{}", headers=form), 415)
        assert await _status(api, id) == "open"
