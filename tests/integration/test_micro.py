"""Goal: with the NATS tools alone one finds the API, asks it, acts, and is told what is wrong.

Method: the API of an installation in memory behind the micro service on a real server, asked with
plain nats-py as `nats micro` and `nats request` do.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import nats
import pytest
import pytest_asyncio
from nats import errors as nats_errors
from nats.aio.client import Client

from server.api.openapi import release
from server.micro import NAME, QUESTIONS, MicroApi
from store.jetstream.micro import Failure, MicroEndpoint, open_micro
from store.subjects import Names
from tests.api_kit import Api, open_api
from tests.conftest import NatsServer
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

ORDER = {"orderId": "o-1", "total": 4999}


class Asked(NamedTuple):
    """What came back: the body read as JSON, or code and text of an error."""

    body: Any
    code: str
    text: str


class Room(NamedTuple):
    """An installation, and a plain client that asks it over NATS."""

    api: Api
    client: Client
    names: Names

    async def ask(self, question: str, request: object, **headers: str) -> Asked:
        """Ask as `nats request` does."""
        body = request if isinstance(request, bytes) else json.dumps(request).encode()
        subject = f"{self.names.namespace}.api.{question}"
        reply = await self.client.request(subject, body, timeout=15, headers=headers or None)
        told = reply.headers or {}
        code = told.get("Nats-Service-Error-Code", "")
        return Asked(
            None if code else json.loads(reply.data), code, told.get("Nats-Service-Error", "")
        )


@pytest_asyncio.fixture
async def client(nats_server: NatsServer) -> AsyncIterator[Client]:
    """A plain client."""
    client = await nats.connect(nats_server.url)
    yield client
    await client.close()


@pytest_asyncio.fixture
async def room(
    nats_server: NatsServer, fresh_names: Callable[[], Names], client: Client, tmp_path: Path
) -> AsyncIterator[Room]:
    """The micro service over an API with engine and worker."""
    names = fresh_names()
    async with open_api(tmp_path) as api:
        micro = MicroApi(api.app, api.deps.access, nats_server.url, names)
        await micro.start()
        yield Room(api, client, names)
        await asyncio.gather(micro.stop(), micro.stop())
        await micro.wait()


async def _discover(client: Client, verb: str) -> dict[str, Any]:
    """The one answer of our service to a question of the protocol."""
    reply = await client.request(f"$SRV.{verb}.{NAME}", b"", timeout=5)
    found: dict[str, Any] = json.loads(reply.data)
    return found


async def test_it_is_found_as_the_tools_look_for_it(room: Room) -> None:
    ping = await _discover(room.client, "PING")
    assert (ping["name"], ping["version"]) == (NAME, release())
    assert ping["metadata"] == {"namespace": room.names.namespace, "bucket": room.names.bucket}
    assert ping["type"] == "io.nats.micro.v1.ping_response"
    info = await _discover(room.client, "INFO")
    subjects = {one["name"]: one["subject"] for one in info["endpoints"]}
    prefix = f"{room.names.namespace}.api"
    assert subjects == {question.name: f"{prefix}.{question.name}" for question in QUESTIONS}
    assert all(one["metadata"]["about"] for one in info["endpoints"])


async def test_publish_show_history_and_instances(room: Room) -> None:
    event = {"type": "OrderCreated", "key": "o-1", "payload": ORDER}
    published = await room.ask("publish", event, **{"Nats-Msg-Id": "first"})
    assert published.body["published"] is True
    again = await room.ask("publish", event, **{"Nats-Msg-Id": "first"})
    assert again.body["duplicate"] is True
    await room.api.status("CheckoutSaga", "o-1", "completed")
    shown = await room.ask("show", {"saga": "CheckoutSaga", "key": "o-1"})
    assert (shown.body["version"], shown.body["status"]) == (4, "completed")
    history = await room.ask("history", {"saga": "CheckoutSaga", "key": "o-1", "limit": 2})
    assert len(history.body["items"]) == 2
    await room.api.caught_up()
    wanted = {"saga": "CheckoutSaga", "status": ["completed", "failed"], "limit": 10}
    listed = await room.ask("instances", wanted)
    assert [one["key"] for one in listed.body["items"]] == ["o-1"]


async def test_actions_and_starts_name_who_asked(room: Room) -> None:
    started = await room.ask(
        "start", {"saga": "CheckoutSaga", "input": ORDER, "wait": True, "timeoutMs": 10_000}
    )
    assert started.body["status"] == "completed"
    cart = {"type": "CartChanged", "key": "a/b c", "payload": {"cartId": "a/b c"}}
    await room.ask("publish", cart)
    await room.api.status("CartReminderSaga", "a/b c")
    where = {"saga": "CartReminderSaga", "key": "a/b c"}
    done = await room.ask(
        "action", {**where, "action": "pause", "reason": "stocktaking"}, **{"Snorri-By": "anna"}
    )
    assert done.body["status"] == "paused", done
    shown = await room.ask("show", where)
    assert shown.body["document"]["cause"]["by"] == "nats:anna"
    refused = await room.ask("action", {**where, "action": "pause"})
    assert refused.code == "409"
    planned = await room.ask("action", {**where, "action": "resume", "dryRun": True})
    assert planned.body["hash"]


@pytest.mark.parametrize(
    ("question", "request_", "code", "says"),
    [
        ("show", b"{", "400", "no JSON object"),
        ("show", b"[1]", "400", "no JSON object"),
        ("show", b"\xff\xff", "400", "no JSON object"),
        ("show", {"saga": "CheckoutSaga"}, "400", "no 'key'"),
        ("show", {"saga": "CheckoutSaga", "key": ""}, "400", "no 'key'"),
        ("show", {"saga": "CheckoutSaga", "key": "absent"}, "404", "absent"),
        ("show", {"saga": "..", "key": "../../health"}, "404", ""),
        ("history", {"saga": "CheckoutSaga", "key": "k", "limt": 1}, "400", "limt"),
        ("instances", {"limit": -1}, "400", "limit"),
        ("publish", {"type": "", "payload": {}}, "400", ""),
        ("publish", {"type": "T", "payload": {}, "more": 1}, "400", "more"),
    ],
)
async def test_what_is_wrong_comes_as_code_and_text(
    room: Room, question: str, request_: object, code: str, says: str
) -> None:
    asked = await room.ask(question, request_)
    assert asked.code == code, asked
    assert says in asked.text
    assert "Traceback" not in asked.text


async def test_errors_are_counted_and_a_forged_name_is_refused(room: Room) -> None:
    before = {one["name"]: one for one in (await _discover(room.client, "STATS"))["endpoints"]}
    assert before["show"]["num_requests"] == 0
    await room.ask("sagas", {})
    refused = await room.ask("show", {"saga": "S", "key": "k"}, **{"Snorri-By": "ann ette"})
    assert refused.code == "400"
    after = {one["name"]: one for one in (await _discover(room.client, "STATS"))["endpoints"]}
    assert after["sagas"]["num_requests"] == 1
    assert (after["show"]["num_requests"], after["show"]["num_errors"]) == (1, 1)


async def test_a_slow_request_holds_up_nobody_and_a_large_answer_is_refused(
    nats_server: NatsServer, client: Client, fresh_names: Callable[[], Names]
) -> None:
    subject = f"{fresh_names().namespace}.api.x"
    release_slow = asyncio.Event()

    async def answer(data: bytes, headers: object) -> bytes:
        match data:
            case b"slow":
                await release_slow.wait()
                raise Failure(409, "too late\r\nNats-Forged: yes")
            case b"large":
                return b"x" * (2 * 1024 * 1024)
            case b"defect":
                raise RuntimeError("hunter2")
            case _:
                return data

    service = await open_micro(
        nats_server.url,
        [MicroEndpoint("x", subject, answer, "a test")],
        name="test",
        version="1.0.0",
        about="a test",
        metadata={},
    )
    slow = [asyncio.create_task(client.request(subject, b"slow", timeout=15)) for _ in range(20)]
    assert (await client.request(subject, b"quick", timeout=10)).data == b"quick"
    release_slow.set()
    for reply in await asyncio.gather(*slow):
        headers = reply.headers or {}
        assert headers["Nats-Service-Error-Code"] == "409"
        assert headers["Nats-Service-Error"] == "too late Nats-Forged: yes"
        assert "Nats-Forged" not in headers
    large = (await client.request(subject, b"large", timeout=10)).headers or {}
    assert large["Nats-Service-Error-Code"] == "413"
    defect = (await client.request(subject, b"defect", timeout=10)).headers or {}
    assert defect["Nats-Service-Error-Code"] == "500"
    assert "hunter2" not in defect["Nats-Service-Error"]
    await service.close()
    await service.close()


async def test_it_is_there_again_after_the_broker_was(tmp_path: Path) -> None:
    server = NatsServer(tmp_path / "nats")
    await asyncio.to_thread(server.start)
    names = Names()
    client = await nats.connect(server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    try:
        async with open_api(tmp_path / "api") as api:
            micro = MicroApi(api.app, api.deps.access, server.url, names)
            await micro.start()
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.restart)

            async def found() -> bool:
                try:
                    return bool(await _discover(client, "PING"))
                except nats_errors.Error:
                    return False

            assert await eventually(found, 20, "the micro service to be found again")
            await micro.stop()
    finally:
        await client.close()
        await asyncio.to_thread(server.stop)
