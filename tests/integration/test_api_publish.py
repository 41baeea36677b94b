"""Goal: a publish over HTTP is stored once and tells the truth: sequence, instances, or the reason.

Method: the whole API on the memory broker with a real engine; what is stored is read back from the
stream. Bad requests are sent as a foreign program would send them, byte by byte where it matters.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from store.memory import LoseReply, MemoryBroker, ScriptedFaults, SystemClock
from tests.api_kit import Api, answer, instance_path, open_api

pytestmark = pytest.mark.asyncio

PUBLISH = "/api/v1/sagas/publish"
MANY = "/api/v1/sagas/publish-many"
JSON = {"Content-Type": "application/json"}


def _order(key: str, amount: int = 5) -> dict[str, Any]:
    return {"type": "OrderPlaced", "payload": {"orderId": key, "amount": amount}, "key": key}


async def _stored(api: Api) -> list[tuple[str, str | None, bytes]]:
    found = api.broker.events.since(0, [">"])
    return [(*api.names.parse_event(message.subject), message.data) for message in found]


async def test_a_receipt_names_the_instances(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        receipt = await api.post(PUBLISH, _order("o-1"))
        names = [{"saga": "Shop", "key": "o-1"}, {"saga": "order-saga", "key": "o-1"}]
        assert receipt == {"published": True, "seq": 1, "duplicate": False, "instances": names}
        await api.status("Shop", "o-1", "running")
        nobody = await api.post(PUBLISH, {"type": "Unheard"})
        assert nobody == {"published": True, "seq": 2, "duplicate": False, "instances": []}


async def test_the_payload_is_stored_as_it_was_sent(tmp_path: Path) -> None:
    async with open_api(tmp_path, engine=False, worker=False) as api:
        exact = b'{"b":1.10, "a":12345678901234567890,"c":"\xc3\xa9" }'
        body = b'{"type":"T","payload":' + exact + b',"key":"k/1"}'
        answer(await api.http.post(PUBLISH, content=body, headers=JSON), 200)
        assert await _stored(api) == [("T", "k/1", exact)]


async def test_an_id_is_stored_once(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        first = await api.post(PUBLISH, {**_order("o-1"), "id": "one"})
        again = await api.post(PUBLISH, {**_order("o-1"), "id": "one"})
        assert (first["duplicate"], again["duplicate"]) == (False, True)
        assert first["seq"] == again["seq"]
        assert len(await _stored(api)) == 1


async def test_an_idempotency_key_becomes_the_id(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        key = {"Idempotency-Key": "abc"}
        replies = await asyncio.gather(
            *(api.post(PUBLISH, _order("o-1"), headers=key) for _ in range(5))
        )
        assert {reply["seq"] for reply in replies} == {1}
        (stored,) = api.broker.events.since(0, [">"])
        assert stored.headers["Nats-Msg-Id"] == "abc"
        other = await api.post(PUBLISH, _order("o-1", 6), headers=key, status=422)
        assert other["type"].endswith("idempotency-key-reused")
        assert not other["published"]
        two = await api.post(PUBLISH, {**_order("o-1"), "id": "x"}, headers=key, status=400)
        assert two["type"].endswith("two-ids")


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"type": ""}, "empty"),
        ({"type": "T" * 101}, "100"),
        ({"type": "T", "key": ""}, "empty"),
        ({"type": "T", "key": "k" * 201}, "200"),
        ({"type": "T", "id": ""}, "id"),
        ({"type": "T", "id": "a\nb"}, "printable"),
        ({"type": "T", "headers": {"Nats-Rollup": "all"}}, "Nats-Rollup"),
        ({"type": "T", "headers": {"a b": "x"}}, "header"),
        ({"type": "T", "headers": {"a": "x\r\ny"}}, "printable"),
        ({"type": "T", "payload": "x" * 1_100_000}, "bytes"),
    ],
)
async def test_an_event_that_can_not_be_one(body: Any, word: str, tmp_path: Path) -> None:
    async with open_api(tmp_path, engine=False, worker=False) as api:
        problem = await api.post(PUBLISH, body, status=400)
        assert problem["type"].endswith("event-rejected")
        assert problem["published"] is False
        assert problem["retryable"] is False
        assert word in problem["reason"]
        assert await _stored(api) == []


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{", JSON, 400),
        (b"", JSON, 400),
        (b"[]", JSON, 400),
        (b"null", JSON, 400),
        (b'{"type":3}', JSON, 400),
        (b'{"type":"T","payloads":{}}', JSON, 400),
        (b'{"type":"T","payload":{"a":}}', JSON, 400),
        (b'{"type":"T","payload":"\xff"}', JSON, 400),
        (b'{"type":"T","headers":{"a":1}}', JSON, 400),
        (b'{"type":"T","headers":[]}', JSON, 400),
        (b'{"type":"T","payload":' + b"[" * 100_000 + b"}", JSON, 400),
        (b'{"type":"T"}', {"Content-Type": "text/plain"}, 415),
        (b"type=T", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (b'{"type":"T","payload":"' + b"x" * (9 * 1024 * 1024) + b'"}', JSON, 413),
    ],
)
async def test_bodies_that_are_no_request(
    content: bytes, headers: dict[str, str], status: int, tmp_path: Path
) -> None:
    async with open_api(tmp_path, engine=False, worker=False) as api:
        answer(await api.http.post(PUBLISH, content=content, headers=headers), status)
        assert await _stored(api) == []
        await api.post(PUBLISH, {"type": "T"})


async def test_a_lost_answer_is_told_as_one(tmp_path: Path) -> None:
    faults = ScriptedFaults()
    broker = MemoryBroker(clock=SystemClock(), faults=faults)
    async with open_api(tmp_path, engine=False, worker=False, broker=broker) as api:
        faults.on("door.publish", LoseReply())
        problem = await api.post(PUBLISH, {"type": "T"}, status=503)
        assert problem["published"] is False
        assert problem["retryable"] is True
        assert "may be stored" in problem["reason"]
    await broker.close()


async def test_many_at_once_share_batches(tmp_path: Path) -> None:
    async with open_api(tmp_path, engine=False, worker=False) as api:
        bad = {"type": ""}
        bodies = [bad if n == 50 else {"type": "T", "payload": n} for n in range(100)]
        responses = await asyncio.gather(*(api.http.post(PUBLISH, json=body) for body in bodies))
        assert [r.status_code for r in responses] == [400 if n == 50 else 200 for n in range(100)]
        assert sorted(int(data) for _, _, data in await _stored(api)) == [
            n for n in range(100) if n != 50
        ]
        seqs = [r.json()["seq"] for r in responses if r.status_code == 200]
        assert sorted(seqs) == list(range(1, 100))


@pytest.mark.parametrize("mode", ["sequential", "parallel"])
async def test_many_have_a_receipt_each(mode: str, tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        messages = [_order("o-1"), {"type": ""}, _order("o-2")]
        done = await api.post(MANY, {"messages": messages, "mode": mode})
        kinds = [receipt["published"] for receipt in done["receipts"]]
        assert kinds == ([True, False, False] if mode == "sequential" else [True, False, True])
        assert done["published"] == kinds.count(True)
        assert done["rejected"] == kinds.count(False)
        assert done["receipts"][0]["instances"][0] == {"saga": "Shop", "key": "o-1"}
        assert "seq" not in done["receipts"][1]
        assert done["receipts"][1]["reason"]


async def test_many_again_under_one_key(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        body = {"messages": [_order(f"o-{n}") for n in range(20)], "mode": "parallel"}
        key = {"Idempotency-Key": "many"}
        first = await api.post(MANY, body, headers=key)
        again = await api.post(MANY, body, headers=key)
        assert again == first
        assert len(await _stored(api)) == 20
        body["mode"] = "sequential"
        await api.post(MANY, body, headers=key, status=422)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": []},
        {"messages": [{"type": "T"}] * 1001},
        {"messages": [{"type": "T"}], "mode": "both"},
        {"messages": [{"typ": "T"}]},
        {"messages": {"type": "T"}},
        {"messages": [{"type": "T"}], "more": 1},
    ],
)
async def test_many_that_are_no_request(body: Any, tmp_path: Path) -> None:
    async with open_api(tmp_path, engine=False, worker=False) as api:
        await api.post(MANY, body, status=400)
        assert await _stored(api) == []


async def test_a_publish_is_seen_by_the_next_read(tmp_path: Path) -> None:
    async with open_api(tmp_path, worker=False) as api:
        for number in range(20):
            receipt = await api.post(PUBLISH, _order(f"o-{number}"))
            assert receipt["instances"]
            await api.status("Shop", f"o-{number}")
            now = await api.get(instance_path("Shop", f"o-{number}"))
            assert now["state"]["orderId"] == f"o-{number}"


async def test_a_trace_goes_on(tmp_path: Path) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with open_api(tmp_path, worker=False) as api:
        await api.post(PUBLISH, _order("o-1"), headers={"traceparent": trace})
        revision = await api.status("Shop", "o-1")
        assert revision.instance.trace[:35] == trace[:35]


@pytest.mark.parametrize(
    "body",
    [
        {"type": "OrderPlaced", "payload": {"orderId": "o-1"}, "key": "o-1"},
        {"type": "T"},
        {"type": "T", "id": "once"},
        {"type": ""},
        {"type": "T", "headers": {"Nats-X": "1"}},
        {"type": 3},
        {"typo": "T"},
        [],
    ],
)
async def test_the_quick_way_answers_as_the_other_does(body: Any, tmp_path: Path) -> None:
    """A content type with a parameter goes the framework's way."""
    plain, other = JSON, {"Content-Type": "application/json; charset=utf-8"}
    content = msgspec.json.encode(body)
    answers: list[tuple[int, Any, set[str]]] = []
    for number, headers in enumerate((plain, other)):
        async with open_api(tmp_path / str(number), worker=False) as api:
            response = await api.http.post(PUBLISH, content=content, headers=headers)
            assert response.headers["content-type"].startswith("application/")
            names = {name for name in response.headers if name != "content-length"}
            answers.append((response.status_code, response.json(), names))
            assert len(await _stored(api)) == (1 if response.status_code == 200 else 0)
    assert answers[0] == answers[1]


async def test_a_body_that_comes_in_pieces(tmp_path: Path) -> None:
    async with open_api(tmp_path, engine=False, worker=False) as api:
        whole = b'{"type":"T","payload":"' + b"x" * 300_000 + b'"}'

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(whole), 10_000):
                yield whole[start : start + 10_000]

        sized = {**JSON, "Content-Length": str(len(whole))}
        answer(await api.http.post(PUBLISH, content=pieces(), headers=sized), 200)
        answer(await api.http.post(PUBLISH, content=pieces(), headers=JSON), 200)
        assert [len(data) for _, _, data in await _stored(api)] == [300_002] * 2
