"""Goal: everything the contract promises to other languages works with a plain NATS client.

Method: an engine runs as a process of its own; the tests use nats-py and nothing of ours: they
publish events, read and watch the bucket, and do the work of a job with a consumer written by hand.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import APIError, KeyNotFoundError, NoStreamResponseError
from nats.js.kv import KeyValue

from tests.chaos.processes import world
from tests.waiting import eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]

ORDER = {"order": "o-1001", "fate": "good"}


@pytest_asyncio.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    """A plain connection to an installation with an engine and no worker."""
    async with world(tmp_path) as home:
        engine = home.process(
            *("-m", "server", "engine", "--app", "tests.chaos.app"),
            *("--nats-url", home.server.url),
            name="engine",
        )
        await engine.start("Ctrl-C stops")
        client = await nats.connect(home.server.url)
        yield client
        await client.close()


async def _state(bucket: KeyValue, key: str, version: int) -> dict[str, Any]:
    """The value of a key as soon as it has that version."""

    async def look() -> dict[str, Any] | None:
        try:
            value = json.loads((await bucket.get(key)).value or b"{}")
        except KeyNotFoundError:
            return None
        return value if value["version"] >= version else None

    found = await eventually(look, 10, f"{key} having version {version}")
    assert found is not None
    return found


async def test_an_event_by_plain_publish_is_a_revision_in_the_bucket(client: Client) -> None:
    await client.publish("saga.events.OrderCreated.o-1001", json.dumps(ORDER).encode())
    bucket = await client.jetstream().key_value("SAGA")
    state = await _state(bucket, "i.ChaosOrder.o-1001", 1)
    assert state["saga"] == "ChaosOrder"
    assert state["key"] == "o-1001"
    assert state["status"] == "running"
    assert state["v"] == 1
    (effect,) = state["effects"]
    assert (effect["kind"], effect["target"]) == ("send", "reserve")


async def test_an_event_without_a_key_and_one_with_an_id(client: Client) -> None:
    stream = client.jetstream()
    ack = await stream.publish(
        "saga.events.OrderCreated", json.dumps(ORDER).encode(), headers={"Nats-Msg-Id": "e-1"}
    )
    assert (ack.stream, ack.duplicate) == ("SAGA_EVENTS", None)
    again = await stream.publish(
        "saga.events.OrderCreated", json.dumps(ORDER).encode(), headers={"Nats-Msg-Id": "e-1"}
    )
    assert again.duplicate
    bucket = await stream.key_value("SAGA")
    assert (await _state(bucket, "i.ChaosOrder.o-1001", 1))["version"] == 1


@pytest.mark.parametrize("key", ["*", ">"])
async def test_an_ordering_key_that_looks_like_a_wildcard_is_read(client: Client, key: str) -> None:
    """The server stores it where it was published, since its transform takes literal tokens."""
    stream = client.jetstream()
    await stream.publish(f"saga.events.OrderCreated.{key}", json.dumps(ORDER).encode())
    bucket = await stream.key_value("SAGA")
    assert (await _state(bucket, "i.ChaosOrder.o-1001", 1))["cause"]["type"] == "OrderCreated"


async def test_history_and_watch_show_every_version(client: Client) -> None:
    stream = client.jetstream()
    bucket = await stream.key_value("SAGA")
    watcher = await bucket.watch("i.ChaosOrder.*")
    for n in range(4):
        body = json.dumps({**ORDER, "n": n}).encode()
        type = "OrderCreated" if n == 0 else "Viewed"
        await stream.publish(f"saga.events.{type}.o-1001", body)
    seen: list[int] = []
    while len(seen) < 4:
        entry = await watcher.updates(timeout=10)
        if isinstance(entry, KeyValue.Entry):  # others say that the present values are through
            seen.append(json.loads(entry.value or b"{}")["version"])
    await watcher.stop()
    history = await bucket.history("i.ChaosOrder.o-1001")
    versions = [json.loads(entry.value or b"{}") for entry in history]
    assert seen == [one["version"] for one in versions] == [1, 2, 3, 4]
    assert versions[0]["prev"] == ""
    assert len({one["prev"] for one in versions}) == 4


async def test_a_job_in_another_language(client: Client) -> None:
    """A durable pull consumer; the result carries the command's id; then the ack."""
    stream = client.jetstream()
    await stream.publish("saga.events.OrderCreated.o-1001", json.dumps(ORDER).encode())
    results = {"reserve": "Reserved", "charge": "Charged"}
    ids: list[str] = []
    for target, result in results.items():
        config = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, ack_wait=30, max_ack_pending=100)
        commands = await stream.pull_subscribe(
            f"saga.commands.{target}.>",
            durable=f"foreign-{target}",
            stream="KV_SAGA",
            config=config,
        )
        (command,) = await commands.fetch(1, timeout=10)
        headers = command.headers or {}
        assert json.loads(command.data)["order"] == "o-1001"
        assert (headers["Snorri-Saga"], headers["Snorri-Key"]) == ("ChaosOrder", "o-1001")
        assert headers["traceparent"].startswith("00-")
        ids.append(headers["Snorri-Command-Id"])
        answer = {"Snorri-Cause": ids[-1], "Nats-Msg-Id": f"result-{ids[-1]}"}
        await stream.publish(f"saga.events.{result}.o-1001", b"{}", headers=answer)
        await command.ack()
        await commands.unsubscribe()
    state = await _state(await stream.key_value("SAGA"), "i.ChaosOrder.o-1001", 3)
    assert state["status"] == "completed"
    assert len(set(ids)) == 2


async def test_what_strangers_may_not_do_is_refused_by_the_server(client: Client) -> None:
    """More tokens than an event has reach no stream; a rollup header is no way to erase events."""
    stream = client.jetstream()
    with pytest.raises(NoStreamResponseError):
        await stream.publish("saga.events.OrderCreated.o-1.more", b"{}")
    with pytest.raises(APIError) as refused:
        await stream.publish("saga.events.Viewed.o-1", b"{}", headers={"Nats-Rollup": "all"})
    assert refused.value.err_code == 10111
